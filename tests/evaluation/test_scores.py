"""Scores by torch-fidelity's names; what cannot be had is refused before anything is generated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grn.errors import UsageError
from grn.evaluation.frechet import frechet_distance
from grn.evaluation.kernel import kernel_distance
from grn.evaluation.scores import METRICS, Features, check_metrics, features_of, inception_score, scores, settings_of


class MeanColour:
    name = "net"

    def __init__(self, dim: int = 3) -> None:
        self.dim = dim

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))


def made(seed: int, count: int = 20) -> Features:
    return features_of(
        torch.randn(count, 6, 1, 1, generator=torch.Generator().manual_seed(seed)).split(7), MeanColour(6), "squares"
    )


def test_every_metric_has_its_published_name() -> None:
    real, generated = made(0), made(1)
    found = scores(replace(generated, inception_score=(1.5, 0.25)), real, METRICS)
    assert set(found) == {
        "inception_score_mean",
        "inception_score_std",
        "frechet_inception_distance",
        "kernel_inception_distance_mean",
        "kernel_inception_distance_std",
        "precision",
        "recall",
        "f_score",
    }
    assert found["frechet_inception_distance"] == frechet_distance(generated.statistics, real.statistics)
    assert found["kernel_inception_distance_mean"] == kernel_distance(generated.features, real.features)[0]
    assert (found["inception_score_mean"], found["inception_score_std"]) == (1.5, 0.25)
    assert list(scores(generated, Features(real.statistics), ("fid",))) == ["frechet_inception_distance"]


def test_settings_are_those_of_the_metrics_asked_for() -> None:
    assert settings_of(("fid",), 5000, 0) == {}
    assert settings_of(METRICS, 5000, 700) == {
        "inception_score_splits": 10,
        "kernel_inception_distance_subsets": 100,
        "kernel_inception_distance_subset_size": 700,
        "precision_recall_neighbours": 3,
    }


def test_features_do_not_depend_on_the_batches() -> None:
    pixels = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole, parts = features_of([pixels], MeanColour()), features_of(pixels.split(2), MeanColour())
    assert whole.features is not None
    assert parts.features is not None
    torch.testing.assert_close(whole.features, parts.features, atol=0, rtol=0)
    torch.testing.assert_close(whole.statistics.covariance, parts.statistics.covariance, atol=1e-12, rtol=0)
    assert whole.statistics.count == 9


def test_the_inception_score_is_the_definition_whatever_the_parts() -> None:
    logits = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
    p = (2 * logits).softmax(1).double()
    plain = []
    for split in p.tensor_split(4):
        plain.append(float((split * (split / split.mean(0)).log()).sum(1).mean().exp()))
    for size in (23, 7, 1):
        mean, deviation = inception_score(p.split(size), 23, 4)
        assert mean == pytest.approx(float(np.mean(plain)), rel=1e-12)
        assert deviation == pytest.approx(float(np.std(plain)), rel=1e-9)
    with pytest.raises(UsageError, match="at least 10 pictures, found 9"):
        inception_score([p[:9]], 9)


@pytest.mark.parametrize(
    ("metrics", "pictures", "classes", "count", "message"),
    [
        (("fid", "lpips"), 20, True, 20, "metric 'lpips' is not known"),
        (("kid",), 0, True, 20, "metric kid needs the reference's pictures"),
        (("prc",), 0, True, 20, "metric prc needs the reference's pictures"),
        (("fid", "prc"), 3, True, 20, "metric prc needs at least 4 pictures on each side, found 3"),
        (("kid",), 20, True, 1, "metric kid needs at least 2 pictures on each side, found 1"),
        (("isc",), 20, False, 20, "needs a network that tells classes"),
        (("isc",), 20, True, 9, "at least 10 generated pictures, found 9"),
    ],
)
def test_what_cannot_be_had_is_refused(
    metrics: tuple[str, ...], pictures: int, classes: bool, count: int, message: str
) -> None:
    check_metrics(("fid",), pictures, classes, count)
    with pytest.raises(UsageError, match=message):
        check_metrics(metrics, pictures, classes, count)
