"""Quality after a tokenizer's round trip, by number of rounds (figure 5).

Pixels are float [B, 3, H, W] in [-1, 1], or [B, 3, T, H, W] of clips, which are measured frame by frame and whose
Frechet distance is of pairs of frames; reconstructions are rounded to bytes before anything is measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grn.evaluation.frechet import Moments, frechet_distance, gather_moments
from grn.evaluation.metrics import SMALLEST_MS_SSIM, ms_ssim, psnr, ssim, to_bytes
from grn.evaluation.video import frames_of, pair_network_name, pairs_of
from grn.features.efficientnet import FeatureNetwork
from grn.features.i3d import I3dFeatures
from grn.features.lpips import Lpips

if TYPE_CHECKING:
    from grn.tokenizer import Tokenizer


@dataclass(frozen=True)
class Quality:
    """Means over the pictures or frames at one number of rounds; rounds None is without quantization.

    bits_per_pixel counts the codes alone, None where nothing was quantized. psnr (dB) is the mean of the pictures' own.
    ms_ssim: None for pictures that are too small for it. frechet: to the originals (rFID with Inception's features). fvd: of
    whole clips to the originals (rFVD), where I3D is given.
    """

    rounds: int | None
    bits_per_pixel: float | None
    psnr: float
    ssim: float
    frechet: float
    lpips: float | None = None
    ms_ssim: float | None = None
    fvd: float | None = None


class _Sums:
    """What one number of rounds has gathered so far."""

    def __init__(self, dim: int) -> None:
        self.psnr: list[Tensor] = []
        self.ssim: list[Tensor] = []
        self.lpips: list[Tensor] = []
        self.ms_ssim: list[Tensor] = []
        self.moments = Moments(dim)
        self.clips: list[Tensor] = []


@torch.inference_mode()
def evaluate_rounds(
    tokenizer: "Tokenizer",
    batches: Iterable[Tensor],
    rounds: Sequence[int | None],
    network: FeatureNetwork,
    lpips: Lpips | None = None,
    clips: bool = False,
    i3d: I3dFeatures | None = None,
) -> list[Quality]:
    """Reconstruct every batch at every number of rounds; the Frechet distance is that to the originals. clips: the
    batches are of clips, which are measured as wholes too where `i3d` is given.
    """
    name = pair_network_name(network) if clips else network.name
    dim = 2 * network.dim if clips else network.dim
    originals, sums = Moments(dim), [_Sums(dim) for _ in rounds]
    whole: list[Tensor] = []
    tokens = pixels_seen = 0
    for batch in batches:
        pixels = batch if clips else batch.unsqueeze(2)
        if i3d is not None:
            whole.append(i3d(pixels).cpu())
        originals.add(_features(pixels, network, clips))
        tokens += _tokens(tokenizer, pixels)
        pixels_seen += pixels.numel() // 3
        for count, sum_ in zip(rounds, sums, strict=True):
            restored = to_bytes(tokenizer.reconstruct_pixels(pixels, count))
            pair = frames_of(restored), frames_of(pixels)
            sum_.psnr.append(psnr(*pair))
            sum_.ssim.append(ssim(*pair))
            sum_.moments.add(_features(restored, network, clips))
            if min(pixels.shape[3:]) >= SMALLEST_MS_SSIM:
                sum_.ms_ssim.append(ms_ssim(*pair))
            if i3d is not None:
                sum_.clips.append(i3d(restored).cpu())
            if lpips is not None:
                sum_.lpips.append(lpips(*pair))
    reference = originals.statistics(name)
    real = gather_moments(whole, 0).statistics(i3d.name) if i3d is not None else None
    values_per_pixel = tokens * tokenizer.config.channels / pixels_seen
    return [
        Quality(
            rounds=count,
            bits_per_pixel=None if count is None else count * values_per_pixel,
            psnr=_mean(sum_.psnr),
            ssim=_mean(sum_.ssim),
            frechet=frechet_distance(sum_.moments.statistics(name), reference),
            lpips=_mean(sum_.lpips) if sum_.lpips else None,
            ms_ssim=_mean(sum_.ms_ssim) if sum_.ms_ssim else None,
            fvd=None
            if real is None
            else frechet_distance(gather_moments(sum_.clips, 0).statistics(real.network), real),
        )
        for count, sum_ in zip(rounds, sums, strict=True)
    ]


def _features(pixels: Tensor, network: FeatureNetwork, pairs: bool) -> Tensor:
    """Of every frame, [B*T, D], or of every pair of neighbouring frames, [B*(T-1), 2*D]."""
    found = network(frames_of(pixels))
    return pairs_of(found.unflatten(0, (len(pixels), -1))).flatten(0, 1) if pairs else found


def _tokens(tokenizer: "Tokenizer", pixels: Tensor) -> int:
    """How many tokens a batch [B, 3, T, H, W] is."""
    count, _, frames, height, width = pixels.shape
    return count * math.prod(tokenizer.config.map_shape(frames, height, width))


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat(values).double().mean())
