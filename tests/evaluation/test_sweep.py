"""Which settings a sweep tries, and what it makes of their figures."""

import math

import pytest
import torch

from grn.errors import UsageError
from grn.evaluation.sweep import curves, grid, spread_of, values_of


def test_values() -> None:
    assert values_of("1.5:3:0.25") == [1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0]
    assert values_of("0:0.3:0.1") == [0, 0.1, 0.2, 0.3]
    assert values_of("50:10:-20") == [50, 30, 10]
    assert values_of("1,2.5, 4") == [1, 2.5, 4]
    assert [type(value) for value in values_of("1,2.0,refine")] == [int, float, str]
    for text in ("1:2", "1:2:0", "2:1:1", "1:nan:1", "0:1:1e-9", "", "1,,2", "a:b:c"):
        with pytest.raises(UsageError, match="no values to try"):
            values_of(text)


def test_a_grid_is_every_combination_or_some() -> None:
    axes = {"guidance": [1, 2], "temperature": [0.5, 1.0, 1.5]}
    points = grid(axes)
    assert len(points) == 6
    assert points[:2] == [{"guidance": 1, "temperature": 0.5}, {"guidance": 1, "temperature": 1.0}]
    some = grid(axes, 4, seed=1)
    assert len(some) == 4
    assert all(point in points for point in some)
    assert some == grid(axes, 4, seed=1) != grid(axes, 4, seed=2)
    assert grid(axes, 9) == points


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    assert spread_of([3.0]) == (3.0, None)
    mean, half = spread_of([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3), rel=1e-3))
    for count in (3, 15):
        runs = torch.randn(4000, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
        hits = sum(abs(mean) <= (half or 0) for mean, half in map(spread_of, runs))
        assert hits / len(runs) == pytest.approx(0.95, abs=0.012)


def test_curves_run_through_the_best_point() -> None:
    points = [{"a": a, "b": b, "score": (a - 2) ** 2 + (b - 1) ** 2 + a * b} for a in (1, 2, 3) for b in (0, 1)]
    found = curves(points, ["a", "b"], "score")
    best = min(points, key=lambda point: point["score"])
    assert found["a"] == [(p["a"], p["score"]) for p in points if p["b"] == best["b"]]
    assert (best["b"], best["score"]) in found["b"]
    assert len(found["b"]) == 2
