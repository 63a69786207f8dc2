"""What generated pictures are worth beside real ones, in numbers named as torch-fidelity names them."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from grn.errors import UsageError
from grn.evaluation.coverage import precision_and_recall
from grn.evaluation.frechet import Moments, Statistics, frechet_distance, inception_score
from grn.evaluation.kernel import kernel_distance
from grn.features.efficientnet import FeatureNetwork

METRICS = ("fid", "isc", "kid", "prc")
SPLITS = 10


@dataclass(frozen=True)
class Features:
    """Of a set of pictures under one network: statistics, and each picture's features [N, D] where they were kept."""

    statistics: Statistics
    features: Tensor | None = None


def scores(
    generated: Features, reference: Features, metrics: tuple[str, ...], probabilities: Tensor | None = None
) -> dict[str, float]:
    """The figures of each metric asked for, of `METRICS`.

    fid: Frechet distance. isc: Inception score, of class probabilities [N, classes]. kid: kernel distance. prc:
    precision and recall. Raises UsageError where the reference has statistics only and kid or prc is asked for, and for
    too few pictures.
    """
    check_metrics(metrics, reference.features is not None, probabilities is not None, generated.statistics.count)
    found: dict[str, float] = {}
    if "isc" in metrics and probabilities is not None:
        mean, deviation = inception_score(probabilities, SPLITS)
        found |= {"inception_score_mean": mean, "inception_score_std": deviation}
    if "fid" in metrics:
        found["frechet_inception_distance"] = frechet_distance(generated.statistics, reference.statistics)
    if generated.features is not None and reference.features is not None:
        if "kid" in metrics:
            mean, deviation = kernel_distance(generated.features, reference.features)
            found |= {"kernel_inception_distance_mean": mean, "kernel_inception_distance_std": deviation}
        if "prc" in metrics:
            coverage = precision_and_recall(reference.features, generated.features)
            found |= {"precision": coverage.precision, "recall": coverage.recall, "f_score": coverage.f_score}
    return found


def check_metrics(metrics: tuple[str, ...], has_pictures: bool, has_classes: bool, count: int) -> None:
    """Raises UsageError for a metric that cannot be had, before anything is generated for it.

    has_pictures: the reference is of pictures, not of statistics. has_classes: the network tells classes. count: of
    generated pictures.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(f"metric {metric!r} is not known (expected some of {', '.join(METRICS)})")
        if metric in ("kid", "prc") and not has_pictures:
            raise UsageError(f"metric {metric} needs the reference's pictures, and it holds statistics only")
        if metric == "isc" and not has_classes:
            raise UsageError("metric isc needs a network that tells classes, as Inception does")
        if metric == "isc" and count < SPLITS:
            raise UsageError(f"metric isc needs at least {SPLITS} generated pictures, found {count}")


@torch.inference_mode()
def features_of(batches: Iterable[Tensor], network: FeatureNetwork) -> Tensor:
    """Features float32 [N, D] of all pictures of the batches [B, 3, H, W]."""
    return torch.cat([network(pixels).float().cpu() for pixels in batches])


def of_features(features: Tensor, network: str, preparation: str = "") -> Features:
    """Statistics of features [N, D], which are kept."""
    moments = Moments(features.shape[1])
    for part in torch.split(features, 4096):
        moments.add(part)
    return Features(moments.statistics(network, preparation), features)
