"""What is known of every sample of a place, kept on disk: memory does not grow with the number of samples.

An index is made once and stays in the cache folder as long as its place is as it was. It is one file:

    length (8 bytes) of the header
    header    JSON: number of samples, folders, what was left out
    rows      one `ROW` a sample
    records   one JSON a sample: key, file, caption, facts, places of further files, why it cannot be read

A row and a record are read when their sample is asked for; nothing stays in memory or open.
"""

import contextlib
import hashlib
import io
import json
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from grn.data.listing import LeftOut
from grn.data.samples import FilePart, Sample, Unreadable, wordings
from grn.digests import digest_of
from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import atomic_path, cache_folder, display

VERSION = 2
ROW = np.dtype([("record", "<i8"), ("length", "<u4"), ("label", "<i4"), ("captions", "<u4"), ("folder", "<i4")])
_ROW = struct.Struct("<qIiIi")  # the same
_SETTLED_SECONDS = 2.0  # a change within the clock's tick would not be seen
_PREFIX = 8
_IN_MEMORY = 1 << 20  # bytes of records, before they go to a temporary file


@dataclass(frozen=True)
class Entry:
    """What an index keeps of a sample. file: of its bytes, whole or a part; more: further files of it, by suffix."""

    key: str
    file: FilePart
    place: str
    caption: str = ""
    label: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, FilePart] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    """The outermost two folders that it lies in; they may be classes."""
    fault: str = ""
    """Why what lies beside it cannot be understood; reading the sample says so."""


class Index:
    """The samples of one place, each read when it is asked for."""

    def __init__(self, data: Path | bytes, place: str | Path) -> None:
        """data: the index's file, or its content. place: the file that is indexed, or what says the same of other places.

        Raises ValueError or OSError where the data are no index.
        """
        self._data, self._place = data, place
        length = int.from_bytes(self._read(0, _PREFIX), "little")
        if length > self._size():
            raise ValueError("is not whole")
        header = json.loads(self._read(_PREFIX, length))
        self._rows = _PREFIX + length
        self._count: int = header["count"]
        self._records = self._rows + self._count * ROW.itemsize
        self.folders = [tuple(parts) for parts in header["folders"]]
        """Which folders samples lie in, a row's `folder` counts through them; none where a sample has a caption."""
        self.left_out = LeftOut.from_counts(header["left_out"])
        self.faults: int = header["faults"]
        """How many samples are known to be unreadable."""
        if self._size() != self._records + header["bytes"]:
            raise ValueError("is not whole")

    def __len__(self) -> int:
        return self._count

    def identity(self) -> str:
        """A digest of the place: of a file's bytes, which are hashed once. Raises BadInputError where it cannot be read."""
        if isinstance(self._place, str):
            return self._place
        try:
            return digest_of(self._place).hex()
        except OSError as error:
            raise BadInputError(
                f"{display(self._place)}: cannot be read ({error.strerror or error}); restore the file"
            ) from error

    def rows(self) -> np.ndarray:
        """All rows at once: 24 bytes a sample."""
        return np.frombuffer(self._read(self._rows, self._count * ROW.itemsize), ROW)

    def sample(self, number: int) -> tuple[Sample, int]:
        """A sample, and its folder. Raises EnvironmentFaultError where the index is gone."""
        try:
            (row,) = np.frombuffer(self._read(self._rows + number * ROW.itemsize, ROW.itemsize), ROW)
            record = json.loads(self._read(self._records + int(row["record"]), int(row["length"])))
            key, file, place, caption, info, more, fault = record
            parts = {suffix: _part(where) for suffix, where in more.items()}
            read = Unreadable(fault) if fault else _part(file)
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            if isinstance(self._data, Path) and not isinstance(error, OSError):
                with contextlib.suppress(OSError):  # else it would be found again
                    self._data.unlink()
            raise EnvironmentFaultError(
                f"{display(str(self._data)[:200])}: the index of the data is gone or damaged ({error}); start again to have it made anew"
            ) from error
        label = int(row["label"])
        made = Sample(key, read, caption, None if label < 0 else label, info, place, parts)
        return made, int(row["folder"])

    def _read(self, offset: int, length: int) -> bytes:
        if isinstance(self._data, bytes):
            return self._data[offset : offset + length]
        with self._data.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def _size(self) -> int:
        return len(self._data) if isinstance(self._data, bytes) else self._data.stat().st_size


def _part(where: list[Any]) -> FilePart:
    return FilePart(Path(where[0]), where[1], where[2])


def _where(part: FilePart) -> list[Any]:
    return [str(part.path), part.offset, part.size]


def index_of(key: str, newest: float, entries: Callable[[LeftOut], Iterator[Entry]], file: Path | None = None) -> Index:
    """The index of a place, from the cache, or made of its entries now.

    key: says all that the entries follow from. newest: when the place was changed last; where that was a moment ago, or the
    cache folder cannot be written, nothing is kept. file: the place, where it is one that holds all bytes.

    Raises what going through the entries does.
    """
    name = hashlib.blake2b(f"{VERSION} {key}".encode(errors="surrogateescape"), digest_size=16).hexdigest()
    try:
        path = cache_folder("indices", make=True) / f"{name}.index"
    except EnvironmentFaultError:
        path = None
    if path is not None:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            return Index(path, file or name)
    if path is not None and abs(time.time() - newest) > _SETTLED_SECONDS:
        with contextlib.suppress(EnvironmentFaultError):
            with atomic_path(path) as aside, aside.open("wb") as out:
                _write(out, entries)
            return Index(path, file or name)
    made = io.BytesIO()
    _write(made, entries)
    return Index(made.getvalue(), file or name)


@contextlib.contextmanager
def _kept_aside() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(tempfile.gettempdir())}: the index of the data cannot be kept there ({error.strerror or error}); set TMPDIR to a "
            "folder with room"
        ) from error


def _write(file: BinaryIO, entries: Callable[[LeftOut], Iterator[Entry]]) -> None:
    left_out, folders = LeftOut(), dict[tuple[str, ...], int]()
    count, size, captioned, faults = 0, 0, False, 0
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as rows, tempfile.SpooledTemporaryFile(_IN_MEMORY) as records:
        for entry in entries(left_out):
            more = {suffix: _where(part) for suffix, part in entry.more.items()}
            content = [entry.key, _where(entry.file), entry.place, entry.caption, dict(entry.info), more, entry.fault]
            record = json.dumps(content, separators=(",", ":")).encode()
            label = -1 if entry.label is None else min(entry.label, 2**31 - 1)
            captions = sum(bool(one.text) for one in wordings(entry.caption, entry.info))
            folder = folders.setdefault(entry.folders, len(folders))
            with _kept_aside():
                rows.write(_ROW.pack(size, len(record), label, captions, folder))
                records.write(record)
            count, size, captioned = count + 1, size + len(record), captioned or bool(captions)
            faults += bool(entry.fault)
        # Folders may be classes only where there are no captions; else there may be one for each sample.
        known = [] if captioned else list(folders)
        header = {"count": count, "bytes": size, "folders": known, "left_out": left_out.counts(), "faults": faults}
        head = json.dumps(header).encode()
        file.write(len(head).to_bytes(_PREFIX, "little") + head)
        for part in (rows, records):
            with _kept_aside():
                part.seek(0)
            while block := part.read(_IN_MEMORY):
                file.write(block)
