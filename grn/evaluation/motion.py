"""How much clips move: a model that draws stills well can still draw clips in which nothing happens, or in which everything flickers."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from grn.errors import BadInputError

THRESHOLD = 8
"""Levels of 255 by which one of a pixel's colours must change for it to have moved: more than coding noise."""


@dataclass(frozen=True)
class Motion:
    """Means over all pairs of neighbouring frames. difference: of the levels, absolute, in [0, 255]. moving: share of the pixels that change."""

    clips: int
    pairs: int
    difference: float
    moving: float


def measure_motion(clips: Iterable[Iterable[np.ndarray]]) -> Motion:
    """Of clips of uint8 frames [H, W, 3], streamed. Raises BadInputError where no clip has two frames."""
    count, differences, moving = 0, [], []
    for clip in clips:
        count += 1
        for before, after in itertools.pairwise(clip):
            change = np.abs(after.astype(np.int16) - before)
            differences.append(float(change.mean()))
            moving.append(float((change.max(-1) >= THRESHOLD).mean()))
    if not differences:
        raise BadInputError("the clips hold no two frames in a row; give clips that are longer")
    return Motion(count, len(differences), float(np.mean(differences)), float(np.mean(moving)))
