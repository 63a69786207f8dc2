"""Pictures on a terminal, two pixels a character."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich_pixels import Pixels

Frames = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
"""uint8 [T, H, W, 3], or [H, W, 3] each; a picture is one."""

_FRAMES = 4  # of a clip, side by side
_COLUMNS = 64  # of one picture
_SHEET = 256  # pixels: what is wider is a contact sheet, and has the whole width


def preview(frames: Frames, console: Console) -> None:
    """Print a picture, or a few frames of a clip from the first to the last."""
    count = min(len(frames), _FRAMES)
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    shown = np.concatenate([frames[number] for number in chosen], 1)
    height, width = shown.shape[:2]
    wanted = width if width > _SHEET * count else _COLUMNS * count
    columns = max(1, min(wanted, console.width, width))
    rows = max(2, 2 * round(columns * height / width / 2))  # a character is two of them
    console.print(Pixels.from_image(Image.fromarray(shown).resize((columns, rows), Image.Resampling.LANCZOS)))
