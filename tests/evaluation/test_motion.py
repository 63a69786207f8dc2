"""How much clips move."""

import numpy as np
import pytest

from grn.errors import BadInputError
from grn.evaluation.video import Motion, measure_motion


def still(level: int, count: int = 3) -> list[np.ndarray]:
    return [np.full((4, 5, 3), level, np.uint8)] * count


def test_stills_do_not_move() -> None:
    assert measure_motion([still(7), still(200)]) == Motion(2, 4, 0, 0)


def test_differences_and_shares_are_means_over_pairs() -> None:
    moved = np.zeros((4, 5, 3), np.uint8)
    moved[:2] = 40  # half of the pixels
    faint = np.full((4, 5, 3), 7, np.uint8)  # below the threshold
    blue = np.zeros((4, 5, 3), np.uint8)
    blue[..., 2] = 8  # one colour is enough
    black = np.zeros((4, 5, 3), np.uint8)
    found = measure_motion([[black, moved, black], [black, faint], [blue, black]])
    assert (found.clips, found.pairs) == (3, 4)
    assert found.difference == pytest.approx((20 + 20 + 7 + 8 / 3) / 4)
    assert found.moving == pytest.approx((0.5 + 0.5 + 0 + 1) / 4)


def test_clips_of_one_frame_say_nothing() -> None:
    assert measure_motion([still(1, 1), still(1, 2)]).pairs == 1
    with pytest.raises(BadInputError, match="no two frames in a row"):
        measure_motion([still(1, 1)])
