"""Scaling and cropping: each way once. Axes: a frame is uint8 [H, W, 3], a clip [T, H, W, 3]; sizes are (width, height)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Frame = npt.NDArray[np.uint8]


def fit(frame: Frame, size: tuple[int, int] | None) -> Frame:
    """Scale a frame or a clip so that it just covers `size`, then crop the centre; proportions stay (Lanczos,
    antialiased). None leaves it as it is.
    """
    height, width = frame.shape[-3:-1]
    if size is None or (width, height) == size:
        return frame
    if frame.ndim == 4:
        return np.stack([fit(one, size) for one in frame])
    scale = max(size[0] / width, size[1] / height)
    # Cropping before scaling is the same picture for less work, and keeps the borders' fractions of a pixel.
    crop_w, crop_h = min(size[0] / scale, width), min(size[1] / scale, height)
    left, top = (width - crop_w) / 2, (height - crop_h) / 2
    box = (left, top, left + crop_w, top + crop_h)
    return np.array(Image.fromarray(frame, "RGB").resize(size, Image.Resampling.LANCZOS, box=box))


def cover(frame: Frame, size: tuple[int, int]) -> Frame:
    """Scale a frame to whole pixels that just cover `size`, (width, height), then crop the centre; proportions stay (Lanczos).

    `fit` keeps fractions of a pixel. The published image-to-video model was trained on first frames prepared like this.
    """
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    shape = width / height
    wide = (size[0], round(size[0] / shape)) if shape <= size[0] / size[1] else (round(shape * size[1]), size[1])
    left, top = (wide[0] - size[0]) // 2, (wide[1] - size[1]) // 2
    scaled = np.array(Image.fromarray(frame, "RGB").resize(wide, Image.Resampling.LANCZOS))
    return scaled[top : top + size[1], left : left + size[0]]


def resize_short_side(frame: Frame, size: int) -> Frame:
    """Scale a frame or a clip so that the shorter side is `size` (Lanczos, antialiased), keeping the proportions."""
    height, width = frame.shape[-3:-1]
    if min(height, width) == size:
        return frame
    if frame.ndim == 4:
        return np.stack([resize_short_side(one, size) for one in frame])
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.LANCZOS))


def centre_crop(frame: Frame, size: int) -> Frame:
    """The middle size x size pixels of a frame or a clip at least that large."""
    top, left = (frame.shape[-3] - size) // 2, (frame.shape[-2] - size) // 2
    return frame[..., top : top + size, left : left + size, :]


def square(frame: Frame, size: int) -> Frame:
    """The middle of a frame or a clip whose shorter side is scaled to `size`: size x size, as networks are trained on.

    `fit` to a square crops first and then scales, which differs by fractions of a pixel.
    """
    return centre_crop(resize_short_side(frame, size), size)
