"""The index of an MP4 or MOV: whether its tables agree, and how many frames its edit list keeps from view.

ffmpeg takes each table for what it says, so that one wrong bit in the index gives fewer frames and no complaint.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_LARGEST = 1 << 28  # bytes of an index that is looked at; 100 hours have less
_MOST = 1 << 22  # frames that are counted one by one: 38 hours of them; a table of a few bytes may claim any number
_MOST_EDITS = 1000
_DEEPEST = 8  # boxes in a track; tables lie in the fifth
_UNKNOWN = (0, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)  # as a duration
_CONTAINERS = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")


@dataclass(frozen=True)
class Index:
    """The tables of the first video track. samples: how many frames are stored. durations, offsets: rows of how often
    and how long, in the track's clock; offsets are what is added to a frame's time of decoding for its time of showing,
    None where nothing is. keys: numbers from 1 of the frames that need no other, None where none does. edits: rows of duration in the film's
    clock, beginning in the track's. clock, film_clock: ticks a second. length: of the track, in ticks.
    """

    samples: int
    durations: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64] | None
    keys: npt.NDArray[np.int64] | None
    edits: list[tuple[int, int]]
    clock: int
    film_clock: int
    length: int

    def disagreement(self) -> str | None:
        """What two tables say differently, for a message."""
        for table, name in ((self.durations, "durations"), (self.offsets, "offsets")):
            if table is not None and int(table[:, 0].sum()) != self.samples:
                return f"its index holds {self.samples:,} frames and {int(table[:, 0].sum()):,} {name}"
        if self.keys is not None and self.keys.size and not 1 <= self.keys.min() <= self.keys.max() <= self.samples:
            return f"its index names a frame {self.keys.max():,} of {self.samples:,}"
        total = int(self.durations.prod(1).sum())
        if self.length not in _UNKNOWN and total and not 0.5 <= self.length / total <= 2:
            return (
                f"its index makes it last {total / max(1, self.clock):g} s and {self.length / max(1, self.clock):g} s"
            )
        return None

    def warning(self) -> str | None:
        """What of the stored frames may not be seen, for a message. For an index without `disagreement`."""
        if hidden := self._outside():
            return f"{hidden:,} of its {self.samples:,} frames are left out by its edit list"
        if self.keys is not None and self.keys.size and self.keys[0] > 1:
            return f"its first {self.keys[0] - 1:,} frames need others that are not there"
        return None

    def _outside(self) -> int:
        """How many stored frames are outside of every edit."""
        if self.samples > _MOST or len(self.edits) > _MOST_EDITS:
            return 0
        counts, ticks = self.durations.T
        times = np.repeat(ticks, counts).cumsum() - np.repeat(ticks, counts)
        if self.offsets is not None:
            times += np.repeat(self.offsets[:, 1], self.offsets[:, 0])
        shown = np.full(self.samples, not self.edits)
        for duration, start in self.edits:
            end = start + duration * self.clock / max(1, self.film_clock) if duration else np.inf
            shown |= (times >= start) & (times < end)
        return int((~shown).sum())


def read_index(file: BinaryIO) -> Index | None:
    """The index of the first video track; None where there is none, or where fragments hold the frames. Raises
    struct.error or ValueError where a table breaks off.
    """
    moov = _find_moov(file)
    if moov is None or any(name == b"mvex" for name, _ in _boxes(moov)):
        return None
    film = next((body for name, body in _boxes(moov) if name == b"mvhd"), bytes(32))
    for name, body in _boxes(moov):
        if name != b"trak":
            continue
        parts = dict(_flat(body))
        if not parts.keys() >= {b"hdlr", b"mdhd", b"stts"} or not parts.keys() & {b"stsz", b"stz2"}:
            raise ValueError("a track without tables")
        if parts[b"hdlr"][8:12] == b"vide":
            return _index(parts, film)
    return None


def _index(parts: dict[bytes, bytes], film: bytes) -> Index:
    clock, length = _clock(parts[b"mdhd"])
    offsets = _table(parts[b"ctts"], ">i4", 2) if b"ctts" in parts else None
    keys = _table(parts[b"stss"], ">u4", 1)[:, 0] if b"stss" in parts else None
    (samples,) = struct.unpack_from(">I", parts.get(b"stsz") or parts[b"stz2"], 8)
    durations = _table(parts[b"stts"], ">u4", 2)
    return Index(samples, durations, offsets, keys, _edits(parts.get(b"elst")), clock, _clock(film)[0], length)


def _find_moov(file: BinaryIO) -> bytes | None:
    end, position = file.seek(0, 2), 0
    while position + 8 <= end:
        file.seek(position)
        header = file.read(16)
        size, name = struct.unpack(">I4s", header[:8])
        front = 16 if size == 1 else 8
        if size == 1:
            (size,) = struct.unpack(">8xQ", header)
        if name == b"moov":
            file.seek(position + front)
            return file.read(size - front) if front <= size <= _LARGEST else None
        if size < front:
            return None
        position += size
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        if size < 8:  # the last one may reach to the end; others do not occur here
            return
        yield name, data[position + 8 : position + size]
        position += size


def _flat(data: bytes, depth: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """The tables of a track, out of the boxes that they are nested in."""
    if depth > _DEEPEST:
        raise ValueError("boxes nested too deep")
    for name, body in _boxes(data):
        if name in _CONTAINERS:
            yield from _flat(body, depth + 1)
        elif name != b"hdlr" or body[4:8] != b"dhlr":  # QuickTime has a second one, for where its data is
            yield name, body


def _clock(header: bytes) -> tuple[int, int]:
    """Ticks a second, and a duration in them."""
    clock, length = struct.unpack_from(">20xIQ" if header[:1] == b"\1" else ">12xII", header)
    return clock, length


def _table(box: bytes, kind: str, columns: int) -> npt.NDArray[np.int64]:
    (rows,) = struct.unpack_from(">I", box, 4)
    return np.frombuffer(box, kind, rows * columns, 8).reshape(rows, columns).astype(np.int64)


def _edits(box: bytes | None) -> list[tuple[int, int]]:
    """(duration, beginning) of each, without the empty ones, which only wait."""
    if box is None:
        return []
    (count,) = struct.unpack_from(">I", box, 4)
    row = struct.Struct(">Qq4x" if box[:1] == b"\1" else ">Ii4x")
    edits = [row.unpack_from(box, 8 + row.size * number) for number in range(min(count, len(box) // row.size + 1))]
    return [(duration, start) for duration, start in edits if start >= 0]
