"""Frechet distances of clips: FVD with I3D's features of whole clips, and where that network is not at hand, one from an
image network's features of pairs of neighbouring frames.

The latter is not the FVD of the literature and is named for what it is wherever it is shown. The first half of a pair's
features says what a frame looks like, the second how it changes into the next one.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grn.errors import BadInputError
from grn.evaluation.blocks import Arrays
from grn.evaluation.frechet import Statistics, condensed, gather_condensed
from grn.features.efficientnet import FeatureNetwork
from grn.features.i3d import I3dFeatures
from grn.media import to_batch

_AT_ONCE = 32


def pair_network_name(network: FeatureNetwork) -> str:
    """Name the network of frame pairs, so that their statistics are never compared with those of single pictures."""
    return f"{network.name}, frame pairs"


def pairs_of(features: Tensor) -> Tensor:
    """Features of neighbouring frames [..., T, D] -> of each pair, [..., T - 1, 2*D]: those of the first, and the
    change to the second.
    """
    return torch.cat([features[..., :-1, :], features[..., 1:, :] - features[..., :-1, :]], -1)


def frames_of(pixels: Tensor) -> Tensor:
    """Clips [B, 3, T, H, W] -> every frame by itself, [B*T, 3, H, W]."""
    return pixels.transpose(1, 2).flatten(0, 1)


@torch.inference_mode()
def pair_features(frames: Iterable[np.ndarray], network: FeatureNetwork, device: str = "cpu") -> Iterator[Tensor]:
    """One clip's uint8 frames [H, W, 3], streamed -> batches of features [pairs, 2 * D]."""
    last: Tensor | None = None
    for group in _groups(frames):
        found = network(to_batch(np.stack(group)).to(device)).float().cpu()
        found = found if last is None else torch.cat([last, found])
        if len(found) > 1:
            yield pairs_of(found)
        last = found[-1:]


def windows(frames: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Clips uint8 [length, H, W, 3], one after the other; the frames that are left over are left out."""
    group: list[np.ndarray] = []
    for frame in frames:
        group.append(frame)
        if len(group) == length:
            yield np.stack(group)
            group = []


@torch.inference_mode()
def measure_clips(
    clips: Iterable[Iterable[np.ndarray]], network: FeatureNetwork | I3dFeatures, length: int, device: str = "cpu"
) -> Arrays:
    """Features of clips of uint8 frames [H, W, 3], streamed, as a block of `grn.evaluation.blocks`: of every `length` frames
    with I3D, else of every pair of neighbouring frames.
    """
    if isinstance(network, I3dFeatures):
        taken = (to_batch(window[None]).to(device) for clip in clips for window in windows(clip, length))
        return condensed(map(network, taken))
    return condensed(features for clip in clips for features in pair_features(clip, network, device))


def clips_statistics(blocks: Iterable[Arrays], network: FeatureNetwork | I3dFeatures, length: int) -> Statistics:
    """Statistics of all that `measure_clips` measured. Raises BadInputError for fewer than 2 clips, or pairs of frames."""
    moments = gather_condensed(blocks, 1)
    if moments.count < 2 and isinstance(network, I3dFeatures):
        raise BadInputError(
            f"the videos hold {moments.count} clips of {length} frames (expected 2 or more); give longer ones or more"
        )
    if moments.count < 2:
        raise BadInputError(
            f"the clips hold {moments.count} pairs of frames (expected 2 or more); give clips that move"
        )
    if isinstance(network, I3dFeatures):
        return moments.statistics(network.name, f"clips of {length} frames, {network.preparation}")
    return moments.statistics(pair_network_name(network))


def _groups(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    group: list[np.ndarray] = []
    for frame in frames:
        group.append(frame)
        if len(group) == _AT_ONCE:
            yield group
            group = []
    if group:
        yield group


THRESHOLD = 8
"""Levels of 255 by which one of a pixel's colours must change for it to have moved: more than coding noise."""


@dataclass(frozen=True)
class Motion:
    """Means over all pairs of neighbouring frames. difference: of the levels, absolute, in [0, 255]. moving: share of
    the pixels that change. flicker: share of those that change among the ones that never do in the clip of the data;
    None where there are none, or no such clip.
    """

    clips: int
    pairs: int
    difference: float
    moving: float
    flicker: float | None = None


class MotionMeter:
    """Gathers the motion of clips of uint8 frames [H, W, 3], one at a time."""

    def __init__(self) -> None:
        self._clips, self._still = 0, 0
        self._differences: list[float] = []
        self._moving: list[float] = []
        self._flickers = 0

    def add(self, clip: Iterable[np.ndarray], still: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
        """Measure a clip; [H, W]: the pixels that do not move in it, None of a single frame. still: those of its counterpart."""
        self._clips += 1
        moved: NDArray[np.bool_] | None = None
        for before, after in itertools.pairwise(clip):
            change = np.abs(after.astype(np.int16) - before)
            moving = change.max(-1) >= THRESHOLD
            self._differences.append(float(change.mean()))
            self._moving.append(float(moving.mean()))
            moved = moving if moved is None else moved | moving
            if still is not None:
                self._still += int(still.sum())
                self._flickers += int(moving[still].sum())
        return None if moved is None else ~moved

    def result(self) -> Motion:
        """The means. Raises BadInputError where no clip has two frames."""
        if not self._differences:
            raise BadInputError("the clips hold no two frames in a row; give clips that are longer")
        means = float(np.mean(self._differences)), float(np.mean(self._moving))
        return Motion(
            self._clips, len(self._differences), *means, self._flickers / self._still if self._still else None
        )


def measure_motion(clips: Iterable[Iterable[np.ndarray]]) -> Motion:
    """Measure the motion of clips of uint8 frames [H, W, 3], streamed. Raises BadInputError where no clip has two frames."""
    meter = MotionMeter()
    for clip in clips:
        meter.add(clip)
    return meter.result()


def compare_motion(pairs: Iterable[tuple[Iterable[np.ndarray], Iterable[np.ndarray]]]) -> tuple[Motion, Motion]:
    """The motion of drawn clips, and of the data's with the same captions, which tell where a drawn one should stand still.

    pairs: (drawn, data), both of the same size, streamed. Raises BadInputError where no clip has two frames.
    """
    drawn, real = MotionMeter(), MotionMeter()
    for found, wanted in pairs:
        drawn.add(found, real.add(wanted))
    return drawn.result(), real.result()
