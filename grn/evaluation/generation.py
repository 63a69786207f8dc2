"""Generated pictures on their way to a measurement: features, steps, time.

A result is what the pipeline yields: `frames` uint8 [T, H, W, 3], `steps` and `entropy`. Of a clip, the first frame
counts.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from grn.data.samples import Sample
from grn.errors import BadInputError
from grn.evaluation.frechet import Moments, Statistics, frechet_distance
from grn.features.efficientnet import FeatureNetwork
from grn.media import to_batch


class Result(Protocol):
    """One generated sample."""

    @property
    def frames(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""

    @property
    def steps(self) -> int:
        """Refinement steps that it took."""

    @property
    def entropy(self) -> float | None:
        """H of equation 8, None where the run was too short to measure it."""


@dataclass
class Generated:
    """What is kept of a run of generated pictures, in the order they came in.

    features: float32 [N, D]. probabilities: [N, classes] where asked for, else empty. seconds: spent generating, not
    measuring. size: the shorter side of the pictures.
    """

    network: str
    features: Tensor
    probabilities: Tensor
    steps: list[int] = field(default_factory=list)
    entropies: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    size: int = 0

    def statistics(self) -> Statistics:
        """For a Frechet distance."""
        moments = Moments(self.features.shape[1])
        moments.add(self.features)
        return moments.statistics(self.network)


@torch.inference_mode()
def measure(
    results: Iterable[Result],
    network: FeatureNetwork,
    *,
    batch_size: int = 32,
    device: str = "cpu",
    classes: bool = False,
) -> Generated:
    """Run through generated pictures and keep their features; with `classes`, the network's class probabilities too."""
    found = Generated(network.name, torch.empty(0), torch.empty(0))
    features, probabilities = [], []
    for frames in _batches(results, found, batch_size):
        pixels = to_batch(np.stack(frames)).to(device)
        features.append(network(pixels).float().cpu())
        if classes:
            probabilities.append(network.probabilities(pixels).float().cpu())  # type: ignore[attr-defined]
    found.features = torch.cat(features) if features else torch.empty(0, network.dim)
    found.probabilities = torch.cat(probabilities) if probabilities else torch.empty(0)
    return found


def _batches(results: Iterable[Result], found: Generated, batch_size: int) -> Iterator[list[np.ndarray]]:
    """First frames in batches; steps, entropies and time are noted on the way."""
    group: list[np.ndarray] = []
    waiting = iter(results)
    while True:
        start = time.perf_counter()
        result = next(waiting, None)
        found.seconds += time.perf_counter() - start
        if result is None:
            break
        found.steps.append(result.steps)
        found.entropies.append(result.entropy)
        group.append(result.frames[0])
        found.size = min(group[0].shape[:2])
        if len(group) == batch_size:
            yield group
            group = []
    if group:
        yield group


@dataclass(frozen=True)
class Comparison:
    """The same prompts generated in two ways: quality and time of the second beside the first."""

    distances: tuple[float, float]
    seconds: tuple[float, float]

    @property
    def distance_ratio(self) -> float:
        """Below 1 where the second is nearer to the reference."""
        return self.distances[1] / self.distances[0]

    @property
    def time_ratio(self) -> float:
        """Above 1 where the second is faster."""
        return self.seconds[0] / self.seconds[1]


def compare(first: Generated, second: Generated, reference: Statistics) -> Comparison:
    """Frechet distances of both to the reference, and their times."""
    distances = tuple(frechet_distance(found.statistics(), reference) for found in (first, second))
    return Comparison((distances[0], distances[1]), (first.seconds, second.seconds))


def spread(labels: int, count: int) -> list[int]:
    """Class numbers for `count` pictures, as many of each class as can be."""
    return [i * labels // count if count < labels else i % labels for i in range(count)]


def captions(samples: Sequence[Sample]) -> list[str]:
    """Each sample's caption. Raises BadInputError where one has none."""
    for sample in samples:
        if not sample.caption:
            raise BadInputError(
                f"{sample.key}: has no caption to generate by; give a set with a .txt for every picture"
            )
    return [sample.caption for sample in samples]
