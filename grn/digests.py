"""What was hashed once is not hashed again: sha256 of files and parts of files, remembered by path, size and times.

A file that was changed a moment ago is hashed every time: another change within the clock's tick would not be seen.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

from grn.errors import EnvironmentFaultError
from grn.files import cache_folder

_SETTLED_SECONDS = 2.0
_WAIT_SECONDS = 60.0  # for another process that writes
_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, altered INTEGER);
CREATE TABLE IF NOT EXISTS parts (path BLOB, start INTEGER, length INTEGER, digest BLOB, PRIMARY KEY (path, start))
WITHOUT ROWID;
"""

_Facts = tuple[int, int, int]  # size, time of the last change of content, and of content or status, in ns
_Known = dict[tuple[int, int], bytes]  # (offset, length) -> digest


class Part(Protocol):
    """Some bytes of a file, or with size None all from an offset on."""

    @property
    def path(self) -> Path: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int | None: ...


@dataclass(frozen=True)
class _Whole:
    path: Path
    offset: int = 0
    size: int | None = None


def digest_of(path: Path) -> bytes:
    """sha256 of a file. Raises OSError where it cannot be read."""
    (digest,) = part_digests([_Whole(path)])
    return digest


def joint_digest(paths: Iterable[Path]) -> str:
    """sha256, in hex, of several files' names and contents, in any order. Raises OSError where one cannot be read."""
    joint = hashlib.sha256()
    for path in sorted(paths):
        joint.update(digest_of(path) + len(os.fsencode(path.name)).to_bytes(8, "big") + os.fsencode(path.name))
    return joint.hexdigest()


def part_digests(parts: Sequence[Part]) -> Iterator[bytes]:
    """sha256 of each part, in order; parts of one file should stand together.

    Raises OSError where one cannot be read.
    """
    with contextlib.closing(_Memory()) as memory:
        for path, group in groupby(parts, key=lambda part: part.path):
            yield from _of_file(path, group, memory)


def _of_file(path: Path, parts: Iterable[Part], memory: "_Memory") -> list[bytes]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        settled = abs(time.time() - status.st_mtime) > _SETTLED_SECONDS
        name = os.fsencode(path.absolute())
        known = memory.known(name, facts) if settled else {}
        found: list[bytes] = []
        new: _Known = {}
        for part in parts:
            place = (part.offset, status.st_size - part.offset if part.size is None else part.size)
            if place not in known:
                file.seek(place[0])
                known[place] = new[place] = _hash(file, place[1])
            found.append(known[place])
    if settled and new:
        memory.keep(name, facts, new)
    return found


def _hash(file: BinaryIO, length: int) -> bytes:
    digest = hashlib.sha256()
    while length > 0 and (block := file.read(min(1 << 20, length))):
        digest.update(block)
        length -= len(block)
    return digest.digest()


class _Memory:
    """The digests of earlier runs. One that cannot be read or written is no memory, and everything is hashed."""

    def __init__(self) -> None:
        self._base: sqlite3.Connection | None = None
        try:
            path = cache_folder("digests", make=True) / "digests.sqlite"
        except EnvironmentFaultError:
            return
        for _ in range(2):
            try:
                self._base = sqlite3.connect(path, timeout=_WAIT_SECONDS)
                self._base.executescript(_TABLES)
                return
            except sqlite3.OperationalError:  # a disk that is full or may not be written
                self.close()
                return
            except sqlite3.DatabaseError:  # damaged
                self.close()
                path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._base is not None:
            self._base.close()
        self._base = None

    def known(self, name: bytes, facts: _Facts) -> _Known:
        """What is known of a file that is still as it was."""
        if self._base is None:
            return {}
        try:
            found = self._base.execute("SELECT size, changed, altered FROM files WHERE path = ?", (name,)).fetchone()
            if found != facts:
                return {}
            rows = self._base.execute("SELECT start, length, digest FROM parts WHERE path = ?", (name,))
            return {(start, length): digest for start, length, digest in rows}
        except sqlite3.Error:
            return {}

    def keep(self, name: bytes, facts: _Facts, new: _Known) -> None:
        """Remember digests of a file, and forget those of its former content."""
        if self._base is None:
            return
        with contextlib.suppress(sqlite3.Error), self._base:
            before = self._base.execute("SELECT size, changed, altered FROM files WHERE path = ?", (name,)).fetchone()
            if before != facts:
                self._base.execute("DELETE FROM parts WHERE path = ?", (name,))
                self._base.execute("REPLACE INTO files VALUES (?, ?, ?, ?)", (name, *facts))
            rows = ((name, start, length, digest) for (start, length), digest in new.items())
            self._base.executemany("REPLACE INTO parts VALUES (?, ?, ?, ?)", rows)
