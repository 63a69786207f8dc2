"""Sets of pictures and clips as batches of pixels: float [B, 3, H, W], or [B, 3, T, H, W], in [-1, 1]."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from grn.data.sources import Sample
from grn.data.transforms import centre_crop, resize_short_side


def batches(samples: Iterable[Sample], size: int | None, batch_size: int = 32, device: str = "cpu") -> Iterator[Tensor]:
    """Pixels of the samples in their order.

    size: the short side is resized to it and the centre cropped to a square; None leaves pictures as they are, and
    a batch ends where the size changes. Raises BadInputError at a picture that cannot be read.
    """
    frames: list[np.ndarray] = []
    for sample in samples:
        frame = sample.image()
        if size is not None:
            frame = centre_crop(resize_short_side(frame, size), size)
        if frames and (len(frames) == batch_size or frame.shape != frames[0].shape):
            yield stack(frames).to(device)
            frames = []
        frames.append(frame)
    if frames:
        yield stack(frames).to(device)


def clip_batches(
    samples: Iterable[Sample], size: int, length: tuple[int, float | None], batch_size: int = 32, device: str = "cpu"
) -> Iterator[Tensor]:
    """Clips from their beginnings, each cropped in the middle to size x size.

    length: frames, and the rate that clips are resampled to (`Sample.clip`). A batch has at most batch_size frames, and at least one clip.
    """
    group: list[Tensor] = []
    for sample in samples:
        clip = centre_crop(resize_short_side(sample.clip(*length), size), size)
        group.append(stack(list(clip)).transpose(0, 1))
        if (len(group) + 1) * length[0] > batch_size:
            yield torch.stack(group).to(device)
            group = []
    if group:
        yield torch.stack(group).to(device)


def stack(frames: list[np.ndarray]) -> Tensor:
    """uint8 frames [H, W, 3] of one size -> pixels."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def pick(samples: Iterable[Sample], count: int | None, seed: int) -> list[Sample]:
    """`count` of the samples, or all for None, drawn by the seed and kept in their order."""
    found = list(samples)
    if count is None or count >= len(found):
        return found
    chosen = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:count]
    return [found[i] for i in sorted(chosen.tolist())]
