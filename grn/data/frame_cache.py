"""Decoded pictures and clips, kept on disk as uint8 and mapped into memory: nothing is decoded twice.

A cache is a folder. Each process that fills it appends to a shard of its own, so none waits for another, and sees what
the others have added: `NAME.frames` holds pixels, one sample behind the other, `NAME.index` a record for each. A record
is written after its pixels and has checksums of both: what a crash or a full disk left half-written is decoded again. A
cache may be deleted at any time.

Axes: frames are uint8 [T, H, W, 3]; a picture has T = 1.
"""

import contextlib
import errno
import logging
import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

_RECORD = struct.Struct("<16sQIIIII")  # key, offset, T, H, W, checksum of the pixels, checksum of the record
_CHECKED = struct.Struct("<16sQIIII")  # what the latter is of
_LARGEST_SHARE = 16  # a sample may take one part in so many of what the cache may hold
_LEFT_FREE = 20  # one part in so many of the disk is left free
logger = logging.getLogger("grn.data")


@dataclass(frozen=True)
class _Entry:
    shard: Path
    offset: int
    shape: tuple[int, int, int, int]
    checksum: int


class FrameCache:
    """Frames by key (16 bytes) in a folder. Every process may have its own object for one folder.

    limit: bytes that this cache and those beside it, in the same parent folder, may hold together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._entries: dict[bytes, _Entry] = {}
        self._read: dict[Path, int] = {}  # bytes of each index that are in `_entries`
        self._maps: dict[Path, Frames] = {}
        self._sound: set[bytes] = set()  # whose pixels were checked by this process
        self._writer: _Writer | None = None
        self._full = False

    def __reduce__(self) -> tuple[type["FrameCache"], tuple[Path, int]]:
        return FrameCache, (self.folder, self.limit)

    def get(self, key: bytes) -> Frames | None:
        """Return the frames of a key, read-only, or None where they are not kept."""
        if key not in self._entries:
            self._look()
        entry = self._entries.get(key)
        if entry is None:
            return None
        frames = self._map(entry)
        if frames is not None and key not in self._sound:
            if zlib.crc32(frames.data) != entry.checksum:
                frames = None
            else:
                self._sound.add(key)
        if frames is None:
            del self._entries[key]
        return frames

    def put(self, key: bytes, frames: Iterable[Frames]) -> bool:
        """Keep the frames [H, W, 3] of a key as they come, one in memory at a time; False where there is no room for
        them.

        Raises what the frames do; then nothing is kept.
        """
        if self._full:
            return False
        try:
            if self._writer is None or not self._writer.usable:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._writer = _Writer(self.folder)
            return self._writer.add(key, frames, min(self.room(), self.limit // _LARGEST_SHARE))
        except OSError as error:
            return self._give_up(error)

    def room(self) -> int:
        """How many bytes may still be added."""
        used = sum(
            _size(file) for one in _inside(self.folder.parent) for file in _inside(one) if file.suffix == ".frames"
        )
        disk = shutil.disk_usage(self.folder)
        room = min(self.limit - used, disk.free - disk.total // _LEFT_FREE)
        self._full = room <= 0
        return room

    def _give_up(self, error: OSError) -> bool:
        self._full = True
        logger.warning("%s: decoded pictures are no longer kept (%s)", self.folder, error.strerror or error)
        return False

    def _look(self) -> None:
        """Take in what was added since."""
        for index in self.folder.glob("*.index"):
            try:
                start, size = self._read.get(index, 0), index.stat().st_size
                if size - start < _RECORD.size:
                    continue
                with index.open("rb") as file:
                    file.seek(start)
                    data = file.read()
            except OSError:  # deleted meanwhile
                continue
            whole = len(data) // _RECORD.size * _RECORD.size
            self._read[index] = start + whole
            for key, offset, *shape, checksum, seal in _RECORD.iter_unpack(data[:whole]):
                if seal == zlib.crc32(_CHECKED.pack(key, offset, *shape, checksum)):
                    length, height, width = shape
                    self._entries[key] = _Entry(
                        index.with_suffix(".frames"), offset, (length, height, width, 3), checksum
                    )

    def _map(self, entry: _Entry) -> Frames | None:
        length = int(np.prod(entry.shape, dtype=np.int64))
        end = entry.offset + length
        if len(self._maps.get(entry.shard, ())) < end:
            try:
                self._maps[entry.shard] = np.memmap(entry.shard, np.uint8, "r")
            except (OSError, ValueError):  # deleted, or empty
                return None
        found = self._maps[entry.shard][entry.offset : end]
        return np.asarray(found).reshape(entry.shape) if len(found) == length else None


class _Writer:
    """The shard that this process appends to."""

    def __init__(self, folder: Path) -> None:
        self._process = os.getpid()
        name = folder / secrets.token_hex(8)
        self._frames: BinaryIO = name.with_suffix(".frames").open("xb")
        self._index: BinaryIO = name.with_suffix(".index").open("xb", buffering=0)

    @property
    def usable(self) -> bool:
        """Not by a worker, which inherits what its parent had opened; nor once the cache was deleted, which nobody would find
        and no limit would count.
        """
        return self._process == os.getpid() and all(os.fstat(f.fileno()).st_nlink for f in (self._frames, self._index))

    def add(self, key: bytes, frames: Iterable[Frames], room: int) -> bool:
        start, count, checksum = self._frames.tell(), 0, 0
        height = width = 0
        try:
            for frame in frames:
                height, width = frame.shape[:2]
                if (count + 1) * frame.nbytes > room:
                    self._undo(start)
                    return False
                data = np.ascontiguousarray(frame).data
                self._frames.write(data)
                checksum, count = zlib.crc32(data, checksum), count + 1
            self._frames.flush()
        except BaseException:
            self._undo(start)
            raise
        facts = (key, start, count, height, width, checksum)
        end = self._index.tell()
        if self._index.write(_RECORD.pack(*facts, zlib.crc32(_CHECKED.pack(*facts)))) < _RECORD.size:
            self._index.truncate(end)  # a part of it would put all behind it out of place
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True

    def _undo(self, start: int) -> None:
        with contextlib.suppress(OSError):
            self._frames.flush()
        self._frames.seek(start)
        self._frames.truncate()


def make_room(base: Path, limit: int, used: Iterable[Path]) -> None:
    """Delete the caches in `base` that were not used for longest until all together hold at most `limit` bytes; never
    those in `used`.
    """
    kept = set(used)
    caches = [path for path in base.iterdir() if path.is_dir()] if base.is_dir() else []
    sizes = {path: sum(map(_size, _inside(path))) for path in caches}
    for path in sorted(set(caches) - kept, key=_last_used):
        if sum(sizes.values()) > limit:
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]
    for path in kept:
        with contextlib.suppress(OSError):  # it is not there yet, or another user's
            os.utime(path)


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; of one that another process has deleted meanwhile, nothing. The same of `_size` and `_last_used`."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _last_used(cache: Path) -> float:
    try:
        return cache.stat().st_mtime
    except OSError:
        return 0.0
