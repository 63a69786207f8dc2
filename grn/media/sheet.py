"""Many pictures, or clips side by side, as one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]


def contact_sheet(pictures: Sequence[Frames] | Frames, columns: int, gap: int = 4) -> Frames:
    """uint8 [..., H, W, 3], all of one shape -> [..., rows * (H + gap) - gap, columns * (W + gap) - gap, 3], row by row
    on white; of clips [T, H, W, 3], a clip.
    """
    height, width = pictures[0].shape[-3:-1]
    rows = -(-len(pictures) // columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap)
    sheet = np.full((*pictures[0].shape[:-3], *size, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[..., top : top + height, left : left + width, :] = picture
    return sheet
