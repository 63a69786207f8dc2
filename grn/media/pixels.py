"""Levels <-> what the networks take: uint8 in [0, 255], channels last, <-> float32 in [-1, 1], channels first.

frames  uint8 [T, H, W, 3]       pixels   float32 [1, 3, T, H, W]
images  uint8 [N, H, W, 3]       batches  float32 [N, 3, H, W]
clips   uint8 [N, T, H, W, 3]    batches  float32 [N, 3, T, H, W]
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Levels = npt.NDArray[np.uint8]
_HALF = 127.5  # levels from the middle to either end


def to_pixels(frames: Levels) -> Tensor:
    """uint8 [T, H, W, 3] -> float32 [1, 3, T, H, W]; 0 becomes -1, 255 becomes 1."""
    assert frames.dtype == np.uint8, f"frames are uint8, not {frames.dtype}"
    assert frames.ndim == 4, f"frames are [T, H, W, 3], not {frames.shape}"
    assert frames.shape[3] == 3, f"frames are [T, H, W, 3], not {frames.shape}"
    return to_unit(torch.tensor(frames).permute(3, 0, 1, 2)).unsqueeze(0).contiguous()


def from_pixels(pixels: Tensor) -> Levels:
    """float [1, 3, T, H, W] -> uint8 [T, H, W, 3]; values outside [-1, 1] are clamped. The exact inverse of `to_pixels`
    on its range.
    """
    assert pixels.ndim == 5, f"pixels are [1, 3, T, H, W], not {tuple(pixels.shape)}"
    assert pixels.shape[:2] == (1, 3), f"pixels are [1, 3, T, H, W], not {tuple(pixels.shape)}"
    return from_batch(pixels)[0]


def to_batch(images: Levels) -> Tensor:
    """uint8 [N, ..., H, W, 3] -> float32 [N, 3, ..., H, W], as `to_pixels` for many images or clips of one size."""
    return to_unit(torch.tensor(np.ascontiguousarray(images)).movedim(-1, 1))


def from_batch(batch: Tensor) -> Levels:
    """float [N, 3, ..., H, W] in [-1, 1] -> uint8 [N, ..., H, W, 3] on the CPU; values outside are clamped."""
    return to_levels(batch.detach().float()).to(torch.uint8).movedim(1, -1).cpu().contiguous().numpy()


def to_unit(levels: Tensor) -> Tensor:
    """Levels in [0, 255], uint8 or float, of any shape -> float32 in [-1, 1], where they are (any device)."""
    return levels.float() / _HALF - 1


def to_levels(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] of any shape -> whole levels in [0, 255], of the same dtype; values outside are clamped."""
    return ((pixels + 1) * _HALF).round().clamp(0, 255)
