"""Quality after a tokenizer's round trip, by number of rounds (figure 5).

Pixels are float [B, 3, H, W] in [-1, 1], or [B, 3, T, H, W] of clips, which are measured frame by frame and whose
Frechet distance is of pairs of frames; reconstructions are rounded to bytes before anything is measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grn.evaluation.blocks import Arrays
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


_FIGURES = ("psnr", "ssim", "ms_ssim", "lpips")


class _Sums:
    """What one number of rounds has gathered so far: figures of each picture, and the moments of features."""

    def __init__(self, dim: int) -> None:
        self.of_each: dict[str, list[NDArray[np.float32]]] = {name: [] for name in _FIGURES}
        self.moments, self.clips = Moments(dim), list[Tensor]()

    def take(self, arrays: Arrays, prefix: str) -> None:
        """Add what a block holds under names that begin so."""
        for name, parts in self.of_each.items():
            if f"{prefix}{name}" in arrays:
                parts.append(arrays[f"{prefix}{name}"])
        self.moments.add(torch.from_numpy(arrays[f"{prefix}features"]))
        if f"{prefix}clips" in arrays:
            self.clips.append(torch.from_numpy(arrays[f"{prefix}clips"]))

    def mean(self, name: str) -> float | None:
        """None where it was not measured."""
        return float(np.concatenate(self.of_each[name]).mean(dtype=np.float64)) if self.of_each[name] else None


@dataclass(frozen=True)
class RoundTrip:
    """Pictures taken through a tokenizer at some numbers of rounds, and what they are measured with.

    clips: what is measured are clips, which are measured as wholes too where `i3d` is given.
    """

    tokenizer: "Tokenizer"
    rounds: Sequence[int | None]
    network: FeatureNetwork
    lpips: Lpips | None = None
    clips: bool = False
    i3d: I3dFeatures | None = None

    @torch.inference_mode()
    def measure(self, batches: Iterable[Tensor]) -> Arrays:
        """Reconstruct some batches, and measure: a block of `grn.evaluation.blocks`."""
        found: dict[str, list[Tensor]] = {}
        counted = torch.zeros(2, dtype=torch.int64)  # tokens, pixels
        for batch in batches:
            pixels = batch if self.clips else batch.unsqueeze(2)
            parts = {"originals.features": _features(pixels, self.network, self.clips)}
            if self.i3d is not None:
                parts["originals.clips"] = self.i3d(pixels)
            counted += torch.tensor([_tokens(self.tokenizer, pixels), pixels.numel() // 3])
            for place, count in enumerate(self.rounds):
                restored = to_bytes(self.tokenizer.reconstruct_pixels(pixels, count))
                of_one = _compared(restored, pixels, self.lpips, self.i3d)
                of_one["features"] = _features(restored, self.network, self.clips)
                parts |= {f"{place}.{name}": values for name, values in of_one.items()}
            for name, values in parts.items():
                found.setdefault(name, []).append(values.float().cpu())
        return {"counted": counted.numpy(), **{name: torch.cat(values).numpy() for name, values in found.items()}}

    def summary(self, blocks: Iterable[Arrays]) -> list[Quality]:
        """The quality at each number of rounds, of all blocks; the Frechet distance is that to the originals."""
        name = pair_network_name(self.network) if self.clips else self.network.name
        dim = 2 * self.network.dim if self.clips else self.network.dim
        originals, sums = _Sums(dim), [_Sums(dim) for _ in self.rounds]
        counted = np.zeros(2, np.int64)
        for arrays in blocks:
            counted += arrays["counted"]
            originals.take(arrays, "originals.")
            for place, one in enumerate(sums):
                one.take(arrays, f"{place}.")
        reference = originals.moments.statistics(name)
        real = gather_moments(originals.clips, 0).statistics(self.i3d.name) if self.i3d is not None else None
        values_per_pixel = int(counted[0]) * self.tokenizer.config.channels / int(counted[1])
        return [
            Quality(
                rounds=count,
                bits_per_pixel=None if count is None else count * values_per_pixel,
                psnr=one.mean("psnr") or 0.0,
                ssim=one.mean("ssim") or 0.0,
                frechet=frechet_distance(one.moments.statistics(name), reference),
                lpips=one.mean("lpips"),
                ms_ssim=one.mean("ms_ssim"),
                fvd=None
                if real is None
                else frechet_distance(gather_moments(one.clips, 0).statistics(real.network), real),
            )
            for count, one in zip(self.rounds, sums, strict=True)
        ]


def _compared(restored: Tensor, pixels: Tensor, lpips: Lpips | None, i3d: I3dFeatures | None) -> dict[str, Tensor]:
    """Figures of each frame [B*T], and features of each clip [B, D], of clips [B, 3, T, H, W]."""
    pair = frames_of(restored), frames_of(pixels)
    found = {"psnr": psnr(*pair), "ssim": ssim(*pair)}
    if min(pixels.shape[3:]) >= SMALLEST_MS_SSIM:
        found["ms_ssim"] = ms_ssim(*pair)
    if lpips is not None:
        found["lpips"] = lpips(*pair)
    if i3d is not None:
        found["clips"] = i3d(restored)
    return found


def _features(pixels: Tensor, network: FeatureNetwork, pairs: bool) -> Tensor:
    """Of every frame, [B*T, D], or of every pair of neighbouring frames, [B*(T-1), 2*D]."""
    found = network(frames_of(pixels))
    return pairs_of(found.unflatten(0, (len(pixels), -1))).flatten(0, 1) if pairs else found


def _tokens(tokenizer: "Tokenizer", pixels: Tensor) -> int:
    """How many tokens a batch [B, 3, T, H, W] is."""
    count, _, frames, height, width = pixels.shape
    return count * math.prod(tokenizer.config.map_shape(frames, height, width))
