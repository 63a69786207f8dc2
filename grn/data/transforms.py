"""Pictures and clips of any size -> training crops.

Axes: frames are uint8 [H, W, 3] or, of a clip, [T, H, W, 3]; crops are uint8 [..., S, S, 3], at the same place in all
frames. Randomness comes from the generator that is passed in.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from grn.data.samples import Sample
from grn.media import square, to_batch

T = TypeVar("T")


def nearest_shape(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Return the index of the size (width, height) whose aspect ratio is nearest."""
    return min(range(len(sizes)), key=lambda i: abs(math.log(sizes[i][0] * height / (sizes[i][1] * width))))


def random_crop(frame: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Crop size x size pixels at a random place of a frame at least that large."""
    top = int(rng.integers(frame.shape[-3] - size + 1))
    left = int(rng.integers(frame.shape[-2] - size + 1))
    return frame[..., top : top + size, left : left + size, :]


def random_flip(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror left to right, or not, at random."""
    return frame[..., ::-1, :] if rng.random() < 0.5 else frame


class Picture(Protocol):
    """Anything with an `image`: a sample, or a picture in memory."""

    def image(self) -> np.ndarray:
        """uint8 RGB [H, W, 3]."""


def preparation(size: int | None) -> str:
    """Describe what `batches` does to pictures, in words that are kept with their statistics."""
    return "middle squares" if size is None else f"middle squares of {size} pixels"


def batches(
    samples: Iterable[Picture], size: int | None, batch_size: int = 32, device: str = "cpu"
) -> Iterator[Tensor]:
    """Yield batches of the middle squares of pictures, [B, 3, S, S] in [-1, 1], in their order.

    size: S, to which the short side is resized first; None: it stays as it is, and a batch ends where it changes.
    Raises BadInputError at a picture that cannot be read.
    """
    frames: list[np.ndarray] = []
    for sample in samples:
        frame = sample.image()
        frame = square(frame, min(frame.shape[:2]) if size is None else size)
        if frames and (len(frames) == batch_size or frame.shape != frames[0].shape):
            yield to_batch(np.stack(frames)).to(device)
            frames = []
        frames.append(frame)
    if frames:
        yield to_batch(np.stack(frames)).to(device)


def clip_batches(
    samples: Iterable[Sample], size: int, length: tuple[int, float | None], batch_size: int = 32, device: str = "cpu"
) -> Iterator[Tensor]:
    """Yield batches of clips from their beginnings, each cropped in the middle to size x size.

    length: frames, and the rate that clips are resampled to (`Sample.clip`). A batch has at most batch_size frames, and
    at least one clip.
    """
    group: list[Tensor] = []
    for sample in samples:
        clip = sample.clip(*length, fitted=partial(square, size=size))
        group.append(to_batch(clip[None])[0])
        if (len(group) + 1) * length[0] > batch_size:
            yield torch.stack(group).to(device)
            group = []
    if group:
        yield torch.stack(group).to(device)


def pick(samples: Sequence[T], count: int | None, seed: int) -> list[T]:
    """Choose `count` samples by the seed, all for None, and keep their order."""
    if count is None or count >= len(samples):
        return list(samples)
    chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:count]
    return [samples[i] for i in sorted(chosen.tolist())]
