"""Resizing, cropping and mirroring."""

import numpy as np
import pytest

from grn.data.transforms import random_crop, random_flip
from grn.media import centre_crop, resize_short_side


def ramp(height: int, width: int) -> np.ndarray:
    """Red tells the row, green the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "size", "found"),
    [
        ((20, 40), 10, (10, 20)),
        ((40, 20), 10, (20, 10)),
        ((5, 7), 10, (10, 14)),
        ((1, 300), 8, (8, 2400)),
        ((31, 97), 16, (16, 50)),
    ],
)
def test_the_short_side_gets_the_size_and_the_proportions_stay(
    shape: tuple[int, int], size: int, found: tuple[int, int]
) -> None:
    resized = resize_short_side(ramp(*shape), size)
    assert resized.shape == (*found, 3)
    assert resized.dtype == np.uint8


def test_a_picture_of_the_size_is_left_alone_and_shrinking_does_not_alias() -> None:
    frame = ramp(10, 30)
    assert resize_short_side(frame, 10) is frame
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_short_side(stripes, 16)[2:-2, 2:-2].astype(int) - 127).max() < 12


def test_the_centre_is_the_middle() -> None:
    crop = centre_crop(ramp(20, 31), 10)
    assert (crop[0, 0, 0], crop[0, 0, 1]) == (5, 10)
    assert crop.shape == (10, 10, 3)


def test_random_crops_reach_every_corner_and_repeat_with_their_seed() -> None:
    frame = ramp(6, 7)
    rng = np.random.default_rng(0)
    corners = {tuple(random_crop(frame, 5, rng)[0, 0, :2].tolist()) for _ in range(200)}
    assert corners == {(top, left) for top in range(2) for left in range(3)}
    first, second = (random_crop(frame, 5, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(random_crop(frame, 6, rng)[0, 0, :1], [0])


def test_half_are_mirrored() -> None:
    frame, rng = ramp(4, 5), np.random.default_rng(0)
    flips = [random_flip(frame, rng) for _ in range(200)]
    mirrored = [np.array_equal(found, frame[:, ::-1]) for found in flips]
    assert all(flipped or np.array_equal(found, frame) for flipped, found in zip(mirrored, flips, strict=True))
    assert 70 < sum(mirrored) < 130
