"""What generated pictures are worth beside real ones, in numbers named as torch-fidelity names them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grn.errors import UsageError
from grn.evaluation.coverage import NEIGHBOURS, precision_and_recall
from grn.evaluation.frechet import Statistics, frechet_distance, gather_moments
from grn.evaluation.kernel import SUBSET_SIZE, SUBSETS, kernel_distance
from grn.evaluation.rows import mapped_rows
from grn.features.efficientnet import FeatureNetwork

METRICS = ("fid", "isc", "kid", "prc")
SPLITS = 10
_ROWS = 4096  # features in memory at a time


@dataclass(frozen=True)
class Features:
    """Of a set of pictures under one network: statistics; each picture's features [N, D] where they were kept; mean and
    deviation of the Inception score where the network tells classes.
    """

    statistics: Statistics
    features: Tensor | None = None
    inception_score: tuple[float, float] | None = None


def scores(generated: Features, reference: Features, metrics: tuple[str, ...]) -> dict[str, float]:
    """Compute the figures of each metric asked for, of `METRICS`.

    fid: Frechet distance. isc: Inception score. kid: kernel distance. prc: precision and recall. Raises UsageError where
    the reference has statistics only and kid or prc is asked for, and for too few pictures.
    """
    classes = generated.inception_score is not None
    pictures = 0 if reference.features is None else len(reference.features)
    check_metrics(metrics, pictures, classes, generated.statistics.count)
    found: dict[str, float] = {}
    if "isc" in metrics and generated.inception_score is not None:
        mean, deviation = generated.inception_score
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


def settings_of(metrics: tuple[str, ...], generated: int, reference: int) -> dict[str, int]:
    """With what the figures of sets of so many pictures are made, beside the network: parts, subsets and neighbours."""
    found: dict[str, int] = {}
    if "isc" in metrics:
        found["inception_score_splits"] = SPLITS
    if "kid" in metrics:
        whole = max(generated, reference) <= SUBSET_SIZE
        found["kernel_inception_distance_subsets"] = 1 if whole else SUBSETS
        found["kernel_inception_distance_subset_size"] = min(SUBSET_SIZE, generated, reference)
    if "prc" in metrics:
        found["precision_recall_neighbours"] = NEIGHBOURS
    return found


def check_metrics(metrics: tuple[str, ...], pictures: int, has_classes: bool, count: int) -> None:
    """Raises UsageError for a metric that cannot be had, before anything is generated for it.

    pictures: of the reference; 0: it holds statistics only. has_classes: the network tells classes. count: of generated
    pictures.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(f"metric {metric!r} is not known (expected some of {', '.join(METRICS)})")
        if metric in ("kid", "prc") and not pictures:
            raise UsageError(f"metric {metric} needs the reference's pictures, and it holds statistics only")
        fewest = {"kid": 2, "prc": NEIGHBOURS + 1}.get(metric, 0)
        if min(pictures, count) < fewest:
            raise UsageError(
                f"metric {metric} needs at least {fewest} pictures on each side, found {min(pictures, count)}"
            )
        if metric == "isc" and not has_classes:
            raise UsageError("metric isc needs a network that tells classes, as Inception does")
        if metric == "isc" and count < SPLITS:
            raise UsageError(f"metric isc needs at least {SPLITS} generated pictures, found {count}")


@torch.inference_mode()
def features_of(batches: Iterable[Tensor], network: FeatureNetwork, preparation: str = "") -> Features:
    """Of all pictures of the batches [B, 3, H, W], which were prepared in this way; every picture's are kept, in a mapped
    file.
    """
    rows = mapped_rows(network(pixels) for pixels in batches)
    moments = gather_moments(rows.split(_ROWS), network.dim)
    return Features(moments.statistics(network.name, preparation), rows)


def inception_score(parts: Iterable[Tensor], count: int, splits: int = SPLITS) -> tuple[float, float]:
    """Compute the Inception score: mean and standard deviation over `splits` parts of exp(mean KL(p(y|x) || p(y))).

    parts: class probabilities [B, classes] of `count` pictures in all, one after the other. Raises UsageError for fewer
    pictures than splits.
    """
    if count < splits:
        raise UsageError(f"an Inception score in {splits} parts needs at least {splits} pictures, found {count}")
    sizes = [len(numbers) for numbers in np.array_split(np.arange(count), splits)]
    ends = np.cumsum(sizes)
    own, marginal, seen = [0.0] * splits, [torch.zeros(())] * splits, 0
    for part in parts:
        p = part.double().clamp_min(1e-16)
        places = torch.from_numpy(np.searchsorted(ends, np.arange(seen, seen + len(p)), side="right"))
        for split in places.unique().tolist():
            rows = p[places == split]
            own[split] += float((rows * rows.log()).sum())
            marginal[split] = marginal[split] + rows.sum(0)
        seen += len(p)
    assert seen == count, f"{seen} pictures, not {count}"
    found = [
        np.exp(own[i] / size - float((marginal[i] / size * (marginal[i] / size).log()).sum()))
        for i, size in enumerate(sizes)
    ]
    return float(np.mean(found)), float(np.std(found))
