"""Quality after a tokenizer's round trip, by number of rounds (figure 5).

Pixels are float [B, 3, H, W] in [-1, 1], or [B, 3, T, H, W] of clips, which are measured frame by frame and whose
Frechet distance is of pairs of frames; reconstructions are rounded to bytes before anything is measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grn.evaluation.frechet import Moments, frechet_distance, gather_moments
from grn.evaluation.kept import Kept
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


_FIGURES = ("psnr", "ssim", "ms_ssim", "lpips", "clips")


class _Sums:
    """What one number of rounds has gathered so far: of each picture, and of an image network's features."""

    def __init__(self, dim: int) -> None:
        self.of_each: dict[str, list[Tensor]] = {name: [] for name in _FIGURES}
        self.moments = Moments(dim)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        found = {f"{prefix}{name}": torch.cat(parts) for name, parts in self.of_each.items() if parts}
        return found | self.moments.tensors(prefix)

    def restore(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        self.of_each = {name: [tensors[key]] if (key := f"{prefix}{name}") in tensors else [] for name in _FIGURES}
        self.moments = Moments.of(tensors, prefix)

    def mean(self, name: str) -> float:
        return float(torch.cat(self.of_each[name]).double().mean())


@torch.inference_mode()
def evaluate_rounds(
    tokenizer: "Tokenizer",
    batches: Iterable[Tensor],
    rounds: Sequence[int | None],
    network: FeatureNetwork,
    lpips: Lpips | None = None,
    clips: bool = False,
    i3d: I3dFeatures | None = None,
    kept: Kept | None = None,
) -> list[Quality]:
    """Reconstruct every batch at every number of rounds; the Frechet distance is that to the originals.

    clips: the batches are of clips, which are measured as wholes too where `i3d` is given. kept: what an earlier run has
    gathered, of the `kept.done` samples before these.
    """
    name = pair_network_name(network) if clips else network.name
    dim = 2 * network.dim if clips else network.dim
    originals, sums = _Sums(dim), [_Sums(dim) for _ in rounds]
    counted = torch.zeros(3, dtype=torch.int64)  # samples, tokens, pixels
    named = {"originals.": originals, **{f"{place}.": sum_ for place, sum_ in enumerate(sums)}}
    if kept is not None and kept.done:
        counted = kept.tensors["counted"]
        for prefix, sum_ in named.items():
            sum_.restore(kept.tensors, prefix)

    def gathered() -> dict[str, Tensor]:
        parts = (sum_.tensors(prefix) for prefix, sum_ in named.items())
        return {"counted": counted, **{key: value for part in parts for key, value in part.items()}}

    for batch in batches:
        pixels = batch if clips else batch.unsqueeze(2)
        if i3d is not None:
            originals.of_each["clips"].append(i3d(pixels).cpu())
        originals.moments.add(_features(pixels, network, clips))
        counted += torch.tensor([len(pixels), _tokens(tokenizer, pixels), pixels.numel() // 3])
        for count, sum_ in zip(rounds, sums, strict=True):
            restored = to_bytes(tokenizer.reconstruct_pixels(pixels, count))
            for figure, values in _compared(restored, pixels, lpips, i3d).items():
                sum_.of_each[figure].append(values)
            sum_.moments.add(_features(restored, network, clips))
        if kept is not None:
            kept.note(int(counted[0]), gathered)
    reference = originals.moments.statistics(name)
    real = gather_moments(originals.of_each["clips"], 0).statistics(i3d.name) if i3d is not None else None
    values_per_pixel = int(counted[1]) * tokenizer.config.channels / int(counted[2])
    return [
        Quality(
            rounds=count,
            bits_per_pixel=None if count is None else count * values_per_pixel,
            psnr=sum_.mean("psnr"),
            ssim=sum_.mean("ssim"),
            frechet=frechet_distance(sum_.moments.statistics(name), reference),
            lpips=sum_.mean("lpips") if sum_.of_each["lpips"] else None,
            ms_ssim=sum_.mean("ms_ssim") if sum_.of_each["ms_ssim"] else None,
            fvd=None
            if real is None
            else frechet_distance(gather_moments(sum_.of_each["clips"], 0).statistics(real.network), real),
        )
        for count, sum_ in zip(rounds, sums, strict=True)
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
    return {name: values.cpu() for name, values in found.items()}


def _features(pixels: Tensor, network: FeatureNetwork, pairs: bool) -> Tensor:
    """Of every frame, [B*T, D], or of every pair of neighbouring frames, [B*(T-1), 2*D]."""
    found = network(frames_of(pixels))
    return pairs_of(found.unflatten(0, (len(pixels), -1))).flatten(0, 1) if pairs else found


def _tokens(tokenizer: "Tokenizer", pixels: Tensor) -> int:
    """How many tokens a batch [B, 3, T, H, W] is."""
    count, _, frames, height, width = pixels.shape
    return count * math.prod(tokenizer.config.map_shape(frames, height, width))
