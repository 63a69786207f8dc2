"""Distances between a picture and its reconstruction: pixels float [B, 3, H, W] in [-1, 1] -> one number each, [B].

The range of the data is 2, from -1 to 1, so the numbers equal those computed on bytes with a range of 255.

torchmetrics, whichever part of it is imported, brings transformers and scipy: seconds, which only what measures waits for.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from grn.media import to_levels, to_unit

WINDOW, SIGMA = 11, 1.5
"""Of SSIM's Gaussian window: its side in pixels, and its width."""
SMALLEST_MS_SSIM = WINDOW * 2**4
"""Pixels that each side needs for five scales."""


def to_bytes(pixels: Tensor) -> Tensor:
    """Pixels rounded to what an 8-bit file can hold, still in [-1, 1]: what is measured is what a file would show."""
    return to_unit(to_levels(pixels))


def psnr(pixels: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, higher is better; infinite for equal pictures."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(pixels, reference, data_range=2.0, reduction="none", dim=(1, 2, 3))


def ssim(pixels: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Gaussian window of 11 pixels, sigma 1.5) in [-1, 1], 1 for equal pictures.

    Pictures smaller than the window are continued to its size with their last rows and columns.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    right, bottom = (max(0, WINDOW - side) for side in (pixels.shape[3], pixels.shape[2]))
    if right or bottom:
        pixels, reference = (F.pad(p, (0, right, 0, bottom), mode="replicate") for p in (pixels, reference))
    found = structural_similarity_index_measure(
        pixels, reference, gaussian_kernel=True, sigma=SIGMA, kernel_size=WINDOW, data_range=2.0, reduction="none"
    )
    assert isinstance(found, Tensor)
    return found.reshape(len(pixels))


def ms_ssim(pixels: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity at five scales (Wang, Simoncelli and Bovik's weights), 1 for equal pictures.

    The sides are at least `SMALLEST_MS_SSIM` pixels.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    assert min(pixels.shape[2:]) >= SMALLEST_MS_SSIM, f"five scales need {SMALLEST_MS_SSIM} pixels, not {pixels.shape}"
    found = [
        multiscale_structural_similarity_index_measure(one[None], other[None], data_range=2.0)
        for one, other in zip(pixels, reference, strict=True)
    ]
    return torch.stack(found)
