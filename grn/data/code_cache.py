"""Token maps of a data set, made once: a generator's epochs read them instead of running the tokenizer again.

Axes: maps are uint16 [N, F, h, w, C], F = 2 where mirrored pictures are kept beside the plain ones, else 1.

A cache file is a plain .npy with the sha256 of its bytes behind it. It is read as a memory map: all processes of a machine share it.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from grn.data.sources import Source
from grn.data.transforms import centre_crop, resize_short_side
from grn.errors import EnvironmentFaultError
from grn.files import atomic_path, display
from grn.tokenizer.tokenizer import Tokenizer

Progress = Callable[[Iterable[int]], Iterable[int]]
BATCH = 32
_DIGEST_BYTES = 32
_POLL_SECONDS = 1.0


def cached_maps(
    source: Source, tokenizer: Tokenizer, size: int, flip: bool, progress: Progress = iter, wait: bool = False
) -> np.ndarray:
    """The token map of every picture, resized and centre-cropped to size x size, from the cache or made now.

    The cache (GRN_CACHE, else ~/.cache/grn) is keyed by the tokenizer's weights, the pictures' bytes, size and flip. A damaged file is made
    anew. wait: another process of this machine makes the file; come back when it has. Raises BadInputError for a picture that cannot be
    read and EnvironmentFaultError where the cache cannot be written.
    """
    path = _folder() / f"{_key(source, tokenizer, size, flip)}.npy"
    maps = _load(path)
    while maps is None and wait:
        time.sleep(_POLL_SECONDS)
        maps = _load(path)
    if maps is None:
        _write(path, source, tokenizer, size, flip, progress)
        maps = _load(path)
    if maps is None:
        raise EnvironmentFaultError(f"{display(path)}: reads otherwise than it was written; check the disk")
    return maps


def _folder() -> Path:
    folder = Path(os.environ.get("GRN_CACHE") or Path.home() / ".cache" / "grn") / "codes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be made ({error.strerror or error}); set GRN_CACHE to a folder with space"
        ) from error
    return folder


def _key(source: Source, tokenizer: Tokenizer, size: int, flip: bool) -> str:
    key = hashlib.sha256(f"{tokenizer.fingerprint} {tokenizer.config.rounds} {size} {flip}".encode())
    for sample in source:
        key.update(hashlib.sha256(sample.data()).digest())
    return key.hexdigest()[:32]


def _load(path: Path) -> np.ndarray | None:
    """The maps of a cache file, or None where there is none or it is not as it was written."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
            digest = _digest(path, length)
            file.seek(max(0, length))
            if file.read() != digest:
                return None
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, source: Source, tokenizer: Tokenizer, size: int, flip: bool, progress: Progress) -> None:
    """Encode batch by batch straight into the file: memory does not grow with the data set."""
    with atomic_path(path) as aside:
        with aside.open("wb") as file:
            for start in progress(range(0, len(source), BATCH)):
                batch = _encode(source[start : start + BATCH], tokenizer, size, flip)
                if start == 0:
                    shape = (len(source), *batch.shape[1:])
                    header = {"descr": batch.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(batch.tobytes())
        digest = _digest(aside, aside.stat().st_size)
        with aside.open("ab") as file:
            file.write(digest)


def _digest(path: Path, length: int) -> bytes:
    """sha256 of the first `length` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(1 << 20, length))):
            digest.update(block)
            length -= len(block)
    return digest.digest()


def _encode(samples: Source, tokenizer: Tokenizer, size: int, flip: bool) -> np.ndarray:
    frames = np.stack([centre_crop(resize_short_side(s.image(), size), size) for s in samples])
    views = [frames, frames[:, :, ::-1]] if flip else [frames]
    maps = []
    for view in views:
        pixels = torch.from_numpy(np.ascontiguousarray(view)).permute(0, 3, 1, 2).unsqueeze(2).float() / 127.5 - 1
        maps.append(tokenizer.encode(pixels)[:, 0].cpu().numpy().astype(np.uint16))
    return np.stack(maps, 1)
