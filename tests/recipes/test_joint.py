"""The joint tokenizer that lies beside the recipes is whole, and what its card says of its sizes is so."""

from pathlib import Path

import numpy as np
import torch

from grn.media import read_image
from grn.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]


def test_it_keeps_what_a_picture_shows() -> None:
    tokenizer = Tokenizer.from_pretrained(ROOT / "recipes" / "emoji" / "joint")
    assert (tokenizer.config.stride, tokenizer.config.time_stride, tokenizer.config.channels) == (8, 4, 16)
    frame = read_image(ROOT / "docs" / "sheet.png")[:256, :256]
    pixels = (np.moveaxis(frame, -1, 0)[None, :, None] / 127.5 - 1).astype(np.float32)
    errors = []
    for rounds in (1, 2, 4):
        drawn = tokenizer.reconstruct_pixels(torch.from_numpy(pixels), rounds)
        errors.append(float(-10 * np.log10(((drawn.numpy() - pixels) ** 2).mean() / 4)))
    assert errors == sorted(errors)
    assert errors[-1] > 32
