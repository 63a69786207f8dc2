"""Pictures drawn to be measured: block by block, by any number of processes, each block kept until all are there.

    plan = Plan(prompts, seed, drawing={"weights": ...}, measuring={"network": ...})
    work = Work(folder, plan, network)
    work.run(draw)                  draws and measures what is missing; other processes may do the same
    found = work.collect()

Picture i is always drawn from seed + i, so that neither the number of processes nor that of pictures drawn at a time
changes it. Of a clip, the first frame counts.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grn.data.samples import Sample
from grn.errors import BadInputError, UsageError
from grn.evaluation.blocks import BLOCK, Arrays, Blocks
from grn.evaluation.files import made_so
from grn.evaluation.frechet import Statistics, frechet_distance, gather_moments
from grn.evaluation.rows import mapped_rows
from grn.evaluation.scores import SPLITS, inception_score
from grn.features.efficientnet import FeatureNetwork
from grn.files import atomic_path, display
from grn.media import read_image, read_note, to_batch, write_image
from grn.result import png_texts

_AT_ONCE = 32  # pictures that are measured at a time, always the same ones together, so that results repeat
_FORMAT = "grn-evaluation"
_PLAN = "plan.json"


class Result(Protocol):
    """One generated sample."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """uint8 [T, H, W, 3]."""

    @property
    def steps(self) -> int:
        """Refinement steps that it took."""

    @property
    def entropy(self) -> float | None:
        """H of equation 8, None where the run was too short to measure it."""

    @property
    def record(self) -> dict[str, Any]:
        """How it was made, as JSON."""


Draw = Callable[[Sequence[Any], Sequence[int]], Iterable[Result]]
"""Prompts or classes, and a seed for each -> results in their order."""


@dataclass(frozen=True)
class Plan:
    """Which pictures are drawn, and how: number i of `prompts[i]`, from seed + i.

    drawing: what else decides a picture, as JSON: weights, sampling settings. measuring: what decides its features.
    """

    prompts: Sequence[str] | Sequence[int]
    seed: int
    drawing: Mapping[str, Any] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Describe the plan as JSON, the prompts by their digest."""
        prompts = hashlib.sha256(json.dumps(list(self.prompts)).encode()).hexdigest()
        asked = {"format": _FORMAT, "pictures": len(self.prompts), "prompts": prompts, "seed": self.seed}
        found: dict[str, Any] = json.loads(json.dumps({**asked, **self.drawing, **self.measuring}))
        return found

    @property
    def digest(self) -> str:
        """A name for the plan: equal for equal plans."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Generated:
    """What is known of a plan's pictures, in the order of their numbers.

    features: float32 [N, D] in a mapped file, where they were to be kept. inception_score: mean and deviation, where
    the network tells classes. seconds: spent drawing, not measuring, summed over the processes.
    """

    statistics: Statistics
    features: Tensor | None
    inception_score: tuple[float, float] | None
    steps: list[int]
    entropies: list[float | None]
    seconds: float


class Work:
    """A plan's pictures on their way to a measurement. Each measured block is a file in `folder`, so that a run that was
    ended goes on there; a folder serves one plan.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        network: FeatureNetwork,
        *,
        device: str = "cpu",
        classes: bool = False,
        pictures: Path | None = None,
    ) -> None:
        """classes: the network's class probabilities are kept too. pictures: a folder in which every picture is kept as
        NUMBER.png; those that are there already, made as planned, are not drawn again.

        Raises UsageError where the folder holds another plan's work, EnvironmentFaultError where it cannot be written.
        """
        self.folder, self.plan, self.network = folder, plan, network
        self.device, self.classes, self.pictures = device, classes, pictures
        self.blocks = Blocks(folder, len(plan.prompts), BLOCK)
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
        self._claim()

    def run(
        self,
        draw: Draw,
        note: Callable[[], None] = lambda: None,
        left: Callable[[int], None] = lambda left: None,
        wait: bool = True,
    ) -> None:
        """Draw and measure what is missing. note: is called after every picture, left: now and then with the number of those
        that are missing. wait: for what other processes draw.
        """
        self.blocks.run(lambda numbers: self._measure(numbers, draw, note), left, wait)

    def collect(self, keep: bool = False) -> Generated:
        """What all blocks hold together. keep: each picture's features, too."""
        found = _Gathered()
        moments = gather_moments(map(found.take, self.blocks), self.network.dim)
        features = (torch.from_numpy(block["features"]) for block in self.blocks)
        many = len(self.plan.prompts)
        score = None
        if self.classes and many >= SPLITS:
            score = inception_score((torch.from_numpy(block["probabilities"]) for block in self.blocks), many)
        return Generated(
            moments.statistics(self.network.name),
            mapped_rows(features) if keep else None,
            score,
            found.steps,
            found.entropies,
            found.seconds,
        )

    @torch.inference_mode()
    def _measure(self, numbers: range, draw: Draw, note: Callable[[], None]) -> Arrays:
        frames: dict[int, NDArray[np.uint8]] = {}
        made: dict[int, tuple[int, float | None]] = {}
        for number in numbers:
            if (kept := self._kept(number)) is not None:
                frames[number], made[number] = kept
                note()
        missing = [number for number in numbers if number not in frames]
        results = iter(
            draw([self.plan.prompts[i] for i in missing], [self.plan.seed + i for i in missing]) if missing else ()
        )
        seconds = 0.0
        for number in missing:
            start = time.perf_counter()
            result = next(results)
            seconds += time.perf_counter() - start
            frames[number], made[number] = result.frames[0], (result.steps, result.entropy)
            if self.pictures:
                texts = png_texts({**result.record, **self.plan.drawing})
                write_image(self._picture(number), result.frames[0], texts)
            note()
        pixels = [frames[number] for number in numbers]
        held = {"features": self._features(pixels, self.network)}
        if self.classes:
            held["probabilities"] = self._features(pixels, self.network.probabilities)  # type: ignore[attr-defined]
        return {
            **held,
            "steps": np.array([made[number][0] for number in numbers]),
            "entropies": np.array([_number(made[number][1]) for number in numbers]),
            "seconds": np.array(seconds),
        }

    def _features(
        self, frames: Sequence[NDArray[np.uint8]], network: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(frames), _AT_ONCE):
            pixels = to_batch(np.stack(frames[start : start + _AT_ONCE])).to(self.device)
            found.append(network(pixels).float().cpu().numpy())
        return np.concatenate(found)

    def _kept(self, number: int) -> tuple[NDArray[np.uint8], tuple[int, float | None]] | None:
        """A picture that is there already, with its steps and entropy; None where there is none that was made so."""
        if self.pictures is None or not self._picture(number).is_file():
            return None
        wanted = {**self.plan.drawing, "prompt": self.plan.prompts[number], "seed": self.plan.seed + number}
        try:
            found = json.loads(read_note(self._picture(number)))
            if not made_so(found, json.loads(json.dumps(wanted))):
                return None
            return read_image(self._picture(number)), (int(found["steps"]), found["entropy"])
        except (BadInputError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _claim(self) -> None:
        """Say in the folder whose work it is, and raise UsageError where it is another's."""
        path, wanted = self.folder / _PLAN, self.plan.document()
        if path.is_file():
            try:
                found = json.loads(path.read_text())
                differ = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
            except (OSError, ValueError, TypeError) as error:
                raise UsageError(
                    f"{display(path)}: does not say whose work this folder is; name another one"
                ) from error
            if differ:
                said = f"{found.get(differ[0])!r:.60} there, {wanted.get(differ[0])!r:.60} here"
                raise UsageError(
                    f"{display(self.folder)}: holds the work of another measurement ({differ[0]}: {said}); name another folder"
                )
            return
        if any(self.folder.glob("features-*.npz")):
            raise UsageError(f"{display(self.folder)}: holds measurements without {_PLAN}; name another folder")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))

    def _picture(self, number: int) -> Path:
        assert self.pictures is not None, "pictures are not kept"
        return self.pictures / f"{number:06d}.png"


class _Gathered:
    """Figures of single pictures, block after block."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.entropies: list[float | None] = []
        self.seconds = 0.0

    def take(self, block: Arrays) -> Tensor:
        """The block's features, its other figures noted."""
        self.steps += block["steps"].tolist()
        self.entropies += [None if np.isnan(entropy) else entropy for entropy in block["entropies"].tolist()]
        self.seconds += float(block["seconds"])
        return torch.from_numpy(block["features"])


def _number(entropy: float | None) -> float:
    return float("nan") if entropy is None else entropy


@dataclass(frozen=True)
class Comparison:
    """The same prompts generated in two ways: quality and time of the second beside the first."""

    distances: tuple[float, float]
    seconds: tuple[float, float]

    @property
    def distance_ratio(self) -> float:
        """Distance of the second over that of the first: below 1 where the second is nearer to the reference."""
        return self.distances[1] / self.distances[0]

    @property
    def time_ratio(self) -> float:
        """Time of the first over that of the second: above 1 where the second is faster."""
        return self.seconds[0] / self.seconds[1]


def compare(first: Generated, second: Generated, reference: Statistics) -> Comparison:
    """Measure both runs: Frechet distances to the reference, and times."""
    distances = tuple(frechet_distance(found.statistics, reference) for found in (first, second))
    return Comparison((distances[0], distances[1]), (first.seconds, second.seconds))


def spread(labels: int, count: int) -> list[int]:
    """Spread `count` pictures over the classes as evenly as can be; returns class numbers."""
    return [i * labels // count if count < labels else i % labels for i in range(count)]


def captions(samples: Sequence[Sample]) -> list[str]:
    """Collect each sample's caption. Raises BadInputError where one has none."""
    for sample in samples:
        if not sample.caption:
            raise BadInputError(
                f"{sample.key}: has no caption to generate by; give a set with a .txt for every picture"
            )
    return [sample.caption for sample in samples]
