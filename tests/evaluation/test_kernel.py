"""The kernel distance against torchmetrics and a plain double loop."""

import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from grn.errors import UsageError
from grn.evaluation.kernel import kernel_distance


def features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)) + shift


def plain(x: torch.Tensor, y: torch.Tensor) -> float:
    """By the definition, pair by pair."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a.double() @ b.double() / len(a) + 1) ** 3)

    def mean(one: torch.Tensor, other: torch.Tensor, same: bool) -> float:
        found = [kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(other) if not same or i != j]
        return sum(found) / len(found)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_it_equals_the_definition_and_torchmetrics() -> None:
    x, y = features(20, 0), features(30, 1, 0.5)
    found, deviation = kernel_distance(x, y)
    assert found == pytest.approx(plain(x, y), rel=1e-9)
    assert deviation == 0
    same_size = features(20, 2, 0.5)
    theirs = float(poly_mmd(x.double(), same_size.double()))
    assert kernel_distance(x, same_size)[0] == pytest.approx(theirs, rel=1e-3)


def test_order_does_not_matter_subsets_or_not() -> None:
    x, y = features(60, 0), features(50, 1, 0.5)
    for size in (10, 1000):
        once = kernel_distance(x, y, subsets=20, subset_size=size)
        again = kernel_distance(x.flip(0), y[torch.randperm(50)], subsets=20, subset_size=size)
        assert once == pytest.approx(again, rel=1e-9)
    some, deviation = kernel_distance(x, y, subsets=400, subset_size=25)
    assert deviation > 0
    assert some == pytest.approx(kernel_distance(x, y)[0], rel=0.1)


def test_sets_that_are_alike_are_near_nothing() -> None:
    assert kernel_distance(features(40, 0), features(40, 0).flip(0))[0] < 1e-6
    alike, apart = (kernel_distance(features(300, 0), features(300, 1, shift))[0] for shift in (0, 1))
    assert abs(alike) < 0.05 < apart


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 pictures on each side, found 1"):
        kernel_distance(features(1, 0), features(5, 1))
