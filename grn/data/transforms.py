"""Pictures and clips of any size -> training crops.

Axes: frames are uint8 [H, W, 3] or, of a clip, [T, H, W, 3]; crops are uint8 [..., S, S, 3], at the same place in all frames. Randomness comes
from the generator that is passed in.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from grn.media import fit


def resize_short_side(frame: np.ndarray, size: int) -> np.ndarray:
    """Scale so that the shorter side is `size` (Lanczos, antialiased), keeping the proportions."""
    height, width = frame.shape[-3:-1]
    if min(height, width) == size:
        return frame
    if frame.ndim == 4:
        return np.stack([resize_short_side(one, size) for one in frame])
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.LANCZOS))


def centre_crop(frame: np.ndarray, size: int) -> np.ndarray:
    """The middle size x size pixels of a frame at least that large."""
    top, left = (frame.shape[-3] - size) // 2, (frame.shape[-2] - size) // 2
    return frame[..., top : top + size, left : left + size, :]


def cover_crop(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a frame that is scaled to just cover size = (width, height)."""
    if frame.ndim == 4:
        return np.stack([cover_crop(one, size) for one in frame])
    return fit(frame, size)


def nearest_shape(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> int:
    """The number of the size (width, height) whose proportions are nearest, as ratios."""
    return min(range(len(sizes)), key=lambda i: abs(math.log(sizes[i][0] * height / (sizes[i][1] * width))))


def random_crop(frame: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Any size x size pixels of a frame at least that large."""
    top = int(rng.integers(frame.shape[-3] - size + 1))
    left = int(rng.integers(frame.shape[-2] - size + 1))
    return frame[..., top : top + size, left : left + size, :]


def random_flip(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored left to right, or not."""
    return frame[..., ::-1, :] if rng.random() < 0.5 else frame
