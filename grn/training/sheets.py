"""Sheets of sample pictures."""

from pathlib import Path

import numpy as np
from torch import Tensor

from grn.media import from_batch, write_image


def save_sheet(pixels: Tensor, path: Path, columns: int) -> None:
    """Write pictures [N, 3, H, W] in [-1, 1] as a PNG grid with a narrow white gap, row by row."""
    frames = from_batch(pixels)
    count, height, width = frames.shape[:3]
    rows, gap = -(-count // columns), 2
    sheet = np.full((rows * (height + gap), columns * (width + gap), 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, sheet)
