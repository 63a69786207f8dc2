"""Scaling and cropping, each way once."""

import numpy as np
import pytest
from helpers.images import picture
from PIL import Image

from grn.media import centre_crop, cover, fit, resize_short_side, square


def test_fit_covers_and_crops_the_centre() -> None:
    frame = picture(90, 30)
    square = fit(frame, (30, 30))
    assert (square == frame[:, 30:60]).all()
    assert fit(frame, None) is frame
    small = fit(frame, (20, 10))
    assert small.shape == (10, 20, 3)
    # Proportions stay: a 20x10 window out of 30x10, so 2/3 of the width.
    assert abs(int(small[5, 0, 0]) - 255 / 6) < 8
    assert abs(int(small[5, -1, 0]) - 255 * 5 / 6) < 8
    assert fit(picture(1, 300), (16, 16)).shape == (16, 16, 3)


@pytest.mark.parametrize(("size", "scaled"), [((30, 20), (30, 26)), ((20, 30), (35, 30)), ((16, 16), (19, 16))])
def test_a_picture_covers_in_whole_pixels(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    frame = picture(71, 61)
    whole = np.asarray(Image.fromarray(frame).resize(scaled, Image.Resampling.LANCZOS))
    left, top = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    assert (cover(frame, size) == whole[top : top + size[1], left : left + size[0]]).all()
    assert cover(frame, (71, 61)) is frame


def test_clips_are_resized_frame_by_frame() -> None:
    clip = np.stack([picture(40, 24, seed) for seed in range(3)])
    for way in (lambda x: fit(x, (16, 12)), lambda x: square(x, 10), lambda x: resize_short_side(x, 10)):
        assert (way(clip) == np.stack([way(one) for one in clip])).all()
    assert resize_short_side(clip, 24) is clip
    assert centre_crop(clip, 8).shape == (3, 8, 8, 3)


def test_a_square_scales_first_and_then_crops() -> None:
    frame = picture(91, 40)
    resized = np.asarray(Image.fromarray(frame).resize((round(91 * 16 / 40), 16), Image.Resampling.LANCZOS))
    assert (square(frame, 16) == resized[:, 10:26]).all()
    assert (square(frame, 40) == frame[:, 25:65]).all()
