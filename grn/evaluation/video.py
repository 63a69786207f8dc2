"""A Frechet distance of clips, from an image network: features of pairs of neighbouring frames.

It is not the FVD of the literature, which needs a video network; it is named for what it is wherever it is shown. The
first half of a pair's features says what a frame looks like, the second how it changes into the next one.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from grn.errors import BadInputError
from grn.evaluation.features import FeatureNetwork
from grn.evaluation.frechet import Moments, Statistics
from grn.evaluation.pictures import stack

_AT_ONCE = 32


def pair_network_name(network: FeatureNetwork) -> str:
    """What statistics of frame pairs are called, so that they never meet those of single pictures."""
    return f"{network.name}, frame pairs"


def pairs_of(features: Tensor) -> Tensor:
    """Features of neighbouring frames [..., T, D] -> of each pair, [..., T - 1, 2*D]: those of the first, and the change to the second."""
    return torch.cat([features[..., :-1, :], features[..., 1:, :] - features[..., :-1, :]], -1)


def frames_of(pixels: Tensor) -> Tensor:
    """Clips [B, 3, T, H, W] -> every frame by itself, [B*T, 3, H, W]."""
    return pixels.transpose(1, 2).flatten(0, 1)


@torch.inference_mode()
def pair_features(frames: Iterable[np.ndarray], network: FeatureNetwork, device: str = "cpu") -> Iterator[Tensor]:
    """One clip's uint8 frames [H, W, 3], streamed -> batches of features [pairs, 2 * D]."""
    last: Tensor | None = None
    for group in _groups(frames):
        found = network(stack(group).to(device)).float().cpu()
        found = found if last is None else torch.cat([last, found])
        if len(found) > 1:
            yield pairs_of(found)
        last = found[-1:]


def gather_clips(clips: Iterable[Iterable[np.ndarray]], network: FeatureNetwork, device: str = "cpu") -> Statistics:
    """Statistics of all frame pairs of the clips. Raises BadInputError where no clip has two frames."""
    moments = Moments(2 * network.dim)
    for clip in clips:
        for features in pair_features(clip, network, device):
            moments.add(features)
    if moments.count < 2:
        raise BadInputError(
            f"the clips hold {moments.count} pairs of frames (expected 2 or more); give clips that move"
        )
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
