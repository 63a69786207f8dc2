"""Precision and recall of sets whose manifolds are known, and against a plain loop."""

import pytest
import torch

from grn.errors import UsageError
from grn.evaluation.coverage import precision_and_recall


def features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift


def plain(centres: torch.Tensor, rows: torch.Tensor, neighbours: int) -> float:
    """The share of rows inside the balls around the centres."""
    radii = [sorted(float((c - other).double().norm()) for other in centres)[neighbours] for c in centres]
    inside = [
        any(float((r - c).double().norm()) <= radius for c, radius in zip(centres, radii, strict=True)) for r in rows
    ]
    return sum(inside) / len(inside)


def test_it_equals_a_plain_loop_in_any_order() -> None:
    real, made = features(40, 0), features(30, 1, 0.7)
    for neighbours in (1, 3):
        found = precision_and_recall(real, made, neighbours)
        assert found.precision == plain(real, made, neighbours)
        assert found.recall == plain(made, real, neighbours)
        assert found == precision_and_recall(real.flip(0), made.flip(0), neighbours)
    assert 0 < found.recall < 1
    assert found.f_score == pytest.approx(2 / (1 / found.precision + 1 / found.recall))


def test_the_same_set_is_covered_and_one_far_away_is_not() -> None:
    real = features(40, 0)
    same, far = precision_and_recall(real, real), precision_and_recall(real, real + 100)
    assert (same.precision, same.recall, same.f_score) == (1, 1, 1)
    assert (far.precision, far.recall, far.f_score) == (0, 0, 0)


def test_one_picture_again_and_again_is_precise_and_recalls_little() -> None:
    real = features(200, 0)
    repeated = real[:1] + 1e-3 * features(50, 1)
    found = precision_and_recall(real, repeated)
    assert found.precision == 1
    assert found.recall < 0.1


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4 pictures on each side, found 3"):
        precision_and_recall(features(3, 0), features(9, 1))
