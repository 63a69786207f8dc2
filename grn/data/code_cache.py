"""Token maps of a data set, made once: a generator's epochs read them instead of running the tokenizer again.

Axes: maps are uint16 [N, F, h, w, C] of pictures and [N, F, t, h, w, C] of clips, F = 2 where mirrored ones are kept
beside the plain, else 1.

A cache file is a plain .npy with the sha256 of its bytes behind it. It is read as a memory map: all processes of a
machine share it.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from grn.data.digests import part_digests
from grn.data.samples import FilePart, Sample
from grn.data.sources import Source
from grn.data.transforms import nearest_shape
from grn.devices import fast_type
from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import atomic_path, cache_folder, display, sha256
from grn.media import READER_VERSION, fit, square, to_batch
from grn.tokenizer import Tokenizer

Maps = np.ndarray | list[np.ndarray]  # of each sample [F, t, h, w, C]
Progress = Callable[[Iterable[int]], Iterable[int]]
BATCH = 32
_DIGEST_BYTES = 32
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class View:
    """What of a sample is encoded.

    size: of a square, or (width, height). flip: mirrored too. frames, fps: of clips; None: pictures.
    rounds: of the maps; None: the tokenizer's.
    """

    size: int | tuple[int, int]
    flip: bool = False
    frames: int | None = None
    fps: float | None = None
    rounds: int | None = None

    def read(self, sample: Sample) -> np.ndarray:
        """Its frames uint8 [T, H, W, 3], cropped in the middle; of a clip, those at its beginning."""
        frames = sample.image()[None] if self.frames is None else sample.clip(self.frames, self.fps)
        return fit(frames, self.size) if isinstance(self.size, tuple) else square(frames, self.size)

    def __str__(self) -> str:
        """For the key of a cache."""
        return f"{self.size} {self.flip}" + ("" if self.frames is None else f" {self.frames} {self.fps}")


def nearest_maps(
    source: Source,
    tokenizer: Tokenizer,
    view: View,
    sizes: Sequence[tuple[int, int]],
    progress: Progress = iter,
    wait: bool = False,
) -> Maps:
    """The token maps of each sample [F, t, h, w, C], at the one of `sizes` nearest in shape, or where there are none at
    the view's.
    """
    if not sizes:
        maps = cached_maps(source, tokenizer, view, progress, wait)
        return maps if view.frames is not None else maps[:, :, None]
    nearest = [nearest_shape(*sample.size(), sizes) for sample in source]
    found: dict[int, np.ndarray] = {}
    for which in sorted(set(nearest)):
        numbers = [n for n, one in enumerate(nearest) if one == which]
        part = Source([source[n] for n in numbers])
        found |= dict(
            zip(
                numbers,
                nearest_maps(part, tokenizer, replace(view, size=sizes[which]), (), progress, wait),
                strict=True,
            )
        )
    return [found[n] for n in range(len(source))]


def cached_maps(
    source: Source, tokenizer: Tokenizer, view: View, progress: Progress = iter, wait: bool = False
) -> np.ndarray:
    """The token map of every sample as `view` says, from the cache or made now.

    The cache (`grn.files.cache_folder`) is keyed by the tokenizer's weights, the samples' bytes, how they are read, the
    view and the number format, which is the fast one of the device. Files that are as they were are not hashed again. A
    damaged cache file is made anew. wait: another process of this machine makes the file; come back when it has.

    Raises BadInputError for a sample that cannot be read and EnvironmentFaultError where the cache cannot be written.
    """
    path = cache_folder("codes", make=True) / f"{_key(source, tokenizer, view)}.npy"
    maps = _load(path)
    while maps is None and wait:
        time.sleep(_POLL_SECONDS)
        maps = _load(path)
    if maps is None:
        _write(path, source, tokenizer, view, progress)
        maps = _load(path)
    if maps is None:
        raise EnvironmentFaultError(f"{display(path)}: reads otherwise than it was written; check the disk")
    return maps


def _key(source: Source, tokenizer: Tokenizer, view: View) -> str:
    rounds = view.rounds or tokenizer.config.rounds
    key = hashlib.sha256(f"{tokenizer.fingerprint} {rounds} {view} {READER_VERSION} {_format(tokenizer)}".encode())
    for digest in _digests(source):
        key.update(digest)
    return key.hexdigest()[:32]


def _format(tokenizer: Tokenizer) -> torch.dtype:
    """What is computed in: codes of training data need not be the same on every machine."""
    return fast_type(tokenizer.device.type)


def _digests(source: Source) -> Iterator[bytes]:
    """Of each sample's bytes. Raises BadInputError for one that cannot be read."""
    parts = [sample.read for sample in source if isinstance(sample.read, FilePart)]
    if len(parts) < len(source):
        yield from (hashlib.sha256(sample.data()).digest() for sample in source)
        return
    try:
        yield from part_digests(parts)
    except OSError as error:
        raise BadInputError(
            f"{display(error.filename or '')}: cannot be read ({error.strerror or error}); restore the file"
        ) from error


def _load(path: Path) -> np.ndarray | None:
    """The maps of a cache file, or None where there is none or it is not as it was written."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
            file.seek(max(0, length))
            (found,) = part_digests([FilePart(path, 0, max(0, length))])
            if file.read() != found:
                return None
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, source: Source, tokenizer: Tokenizer, view: View, progress: Progress) -> None:
    """Encode batch by batch straight into the file: memory does not grow with the data set."""
    with atomic_path(path) as aside:
        with aside.open("wb") as file:
            count = max(1, BATCH // (view.frames or 1))
            for start in progress(range(0, len(source), count)):
                batch = _encode(source[start : start + count], tokenizer, view)
                if start == 0:
                    shape = (len(source), *batch.shape[1:])
                    header = {"descr": batch.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(batch.tobytes())
        digest = bytes.fromhex(sha256(aside))
        with aside.open("ab") as file:
            file.write(digest)


def _encode(samples: Source, tokenizer: Tokenizer, view: View) -> np.ndarray:
    frames = np.stack([view.read(sample) for sample in samples])  # [B, T, H, W, 3]
    maps, form = [], _format(tokenizer)
    for side in [frames, frames[..., ::-1, :]] if view.flip else [frames]:
        with torch.autocast(tokenizer.device.type, form, enabled=form != torch.float32):
            indices = tokenizer.encode(to_batch(side), view.rounds).cpu().numpy().astype(np.uint16)
        maps.append(indices if view.frames is not None else indices[:, 0])
    return np.stack(maps, 1)
