"""Guidance: the formula and the interval."""

import pytest
import torch

from grn.refine.guidance import guide, is_guided


def test_logits_move_away_from_the_unconditional_ones() -> None:
    conditional, unconditional = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 0.5])
    assert guide(conditional, unconditional, 3.0).tolist() == [2.0, -10.0, 0.5]
    assert torch.equal(guide(conditional, unconditional, 1.0), conditional)
    assert torch.equal(guide(conditional, unconditional, 0.0), unconditional)


@pytest.mark.parametrize(
    ("ratio", "interval", "guided"),
    [
        (0.0, (0.0, 1.0), True),  # a low end of 0 includes 0
        (0.5, (0.0, 1.0), True),
        (1.0, (0.0, 1.0), False),
        (0.0, (0.44, 1.0), False),
        (0.44, (0.44, 1.0), False),
        (0.45, (0.44, 1.0), True),
        (0.3, (0.1, 0.3), False),
        (0.2, (0.1, 0.3), True),
        (0.0, (0.0, 0.0), False),  # nothing is below 0
        (0.5, (0.5, 0.5), False),
    ],
)
def test_the_interval_is_open_but_for_0(ratio: float, interval: tuple[float, float], guided: bool) -> None:
    assert is_guided(ratio, 2.0, interval) is guided
    assert is_guided(ratio, 0.0, interval) is guided
    assert not is_guided(ratio, 1.0, interval)
