"""Token maps of a data set, made once: a generator's epochs read them instead of running the tokenizer again.

Axes: maps are uint16 [N, F, h, w, C], F = 2 where mirrored pictures are kept beside the plain ones, else 1.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from grn.data.sources import Source
from grn.data.transforms import centre_crop, resize_short_side
from grn.files import atomic_path
from grn.tokenizer.tokenizer import Tokenizer

Progress = Callable[[Iterable[int]], Iterable[int]]
BATCH = 32


def cached_maps(source: Source, tokenizer: Tokenizer, size: int, flip: bool, progress: Progress = iter) -> np.ndarray:
    """The token map of every picture, resized and centre-cropped to size x size, from the cache or made now.

    The cache (GRN_CACHE, else ~/.cache/grn) is keyed by the tokenizer's weights, the pictures' bytes, size and flip.
    """
    key = hashlib.sha256(f"{tokenizer.fingerprint} {tokenizer.config.rounds} {size} {flip}".encode())
    for sample in source:
        key.update(hashlib.sha256(sample.read()).digest())
    folder = Path(os.environ.get("GRN_CACHE") or Path.home() / ".cache" / "grn") / "codes"
    path = folder / f"{key.hexdigest()[:32]}.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    maps = np.concatenate(
        [_encode(source[i : i + BATCH], tokenizer, size, flip) for i in progress(range(0, len(source), BATCH))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as aside, aside.open("wb") as file:
        np.save(file, maps)
    return maps


def _encode(samples: Source, tokenizer: Tokenizer, size: int, flip: bool) -> np.ndarray:
    frames = np.stack([centre_crop(resize_short_side(s.image(), size), size) for s in samples])
    views = [frames, frames[:, :, ::-1]] if flip else [frames]
    maps = []
    for view in views:
        pixels = torch.from_numpy(np.ascontiguousarray(view)).permute(0, 3, 1, 2).unsqueeze(2).float() / 127.5 - 1
        maps.append(tokenizer.encode(pixels)[:, 0].cpu().numpy().astype(np.uint16))
    return np.stack(maps, 1)
