"""Contact sheets."""

import numpy as np
from helpers.clips import frame
from helpers.images import picture

from grn.media.sheet import contact_sheet


def test_pictures_stand_row_by_row_on_white() -> None:
    pictures = [picture(10, 6, seed) for seed in range(5)]
    sheet = contact_sheet(pictures, columns=3, gap=2)
    assert sheet.shape == (2 * 6 + 2, 3 * 10 + 2 * 2, 3)
    for i, one in enumerate(pictures):
        top, left = i // 3 * 8, i % 3 * 12
        assert (sheet[top : top + 6, left : left + 10] == one).all()
        sheet[top : top + 6, left : left + 10] = 255
    assert (sheet == 255).all()
    assert (contact_sheet(np.stack(pictures), 3, 2).shape) == sheet.shape


def test_clips_move_side_by_side() -> None:
    clips = [np.stack([frame(start + index, 8, 8) for index in range(3)]) for start in (0, 10)]
    sheet = contact_sheet(clips, columns=2)
    assert sheet.shape == (3, 8, 20, 3)
    assert (sheet[:, :, 12:] == clips[1]).all()
