"""Frames <-> what the networks take: uint8 [T, H, W, 3] <-> float32 [1, 3, T, H, W] in [-1, 1]."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_pixels(frames: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [T, H, W, 3] -> float32 [1, 3, T, H, W]; 0 becomes -1, 255 becomes 1."""
    assert frames.dtype == np.uint8, f"frames are uint8, not {frames.dtype}"
    assert frames.ndim == 4, f"frames are [T, H, W, 3], not {frames.shape}"
    assert frames.shape[3] == 3, f"frames are [T, H, W, 3], not {frames.shape}"
    planes = torch.tensor(frames).permute(3, 0, 1, 2)
    return planes.float().div_(127.5).sub_(1).unsqueeze(0).contiguous()


def from_pixels(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """float [1, 3, T, H, W] -> uint8 [T, H, W, 3]; values outside [-1, 1] are clamped. The exact inverse of `to_pixels`
    on its range.
    """
    assert pixels.ndim == 5, f"pixels are [1, 3, T, H, W], not {tuple(pixels.shape)}"
    assert pixels.shape[:2] == (1, 3), f"pixels are [1, 3, T, H, W], not {tuple(pixels.shape)}"
    levels = pixels.detach()[0].float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 3, 0).cpu().contiguous().numpy()
