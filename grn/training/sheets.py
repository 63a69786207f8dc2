"""Sheets of sample pictures."""

from pathlib import Path

from torch import Tensor

from grn.media import contact_sheet, from_batch, write_image


def save_sheet(pixels: Tensor, path: Path, columns: int) -> None:
    """Write pictures [N, 3, H, W] in [-1, 1] as a PNG contact sheet, row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, contact_sheet(from_batch(pixels), columns, gap=2))
