"""Scores by torch-fidelity's names; what cannot be had is refused before anything is generated."""

import pytest
import torch

from grn.errors import UsageError
from grn.evaluation.frechet import frechet_distance
from grn.evaluation.kernel import kernel_distance
from grn.evaluation.scores import METRICS, Features, check_metrics, features_of, of_features, scores


def made(seed: int, count: int = 20) -> Features:
    return of_features(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), "net", "squares")


def test_every_metric_has_its_published_name() -> None:
    real, generated = made(0), made(1)
    found = scores(generated, real, METRICS, torch.full((20, 5), 0.2))
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
    assert found["inception_score_mean"] == pytest.approx(1)
    assert list(scores(generated, Features(real.statistics), ("fid",))) == ["frechet_inception_distance"]


def test_features_do_not_depend_on_the_batches() -> None:
    class MeanColour:
        name, dim = "mean colour", 3

        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean((2, 3))

    pixels = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole, parts = features_of([pixels], MeanColour()), features_of(pixels.split(2), MeanColour())
    torch.testing.assert_close(whole, parts, atol=0, rtol=0)
    assert of_features(whole, "net").statistics.count == 9


@pytest.mark.parametrize(
    ("metrics", "pictures", "classes", "count", "message"),
    [
        (("fid", "lpips"), True, True, 20, "metric 'lpips' is not known"),
        (("kid",), False, True, 20, "metric kid needs the reference's pictures"),
        (("prc",), False, True, 20, "metric prc needs the reference's pictures"),
        (("isc",), True, False, 20, "needs a network that tells classes"),
        (("isc",), True, True, 9, "at least 10 generated pictures, found 9"),
    ],
)
def test_what_cannot_be_had_is_refused(
    metrics: tuple[str, ...], pictures: bool, classes: bool, count: int, message: str
) -> None:
    check_metrics(("fid",), pictures, classes, count)
    with pytest.raises(UsageError, match=message):
        check_metrics(metrics, pictures, classes, count)
