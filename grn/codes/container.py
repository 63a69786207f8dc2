"""The container of a codes file: a zip of two stored arrays of bytes, every field fixed but sizes and checksums.

There is one way to write given contents, and the reader accepts exactly that, byte for byte.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

from grn.errors import CodesError

AGAIN = "copy or download it again"
Buffer: TypeAlias = bytes | bytearray | memoryview
_MAX_META = 64 * 1024
_CHUNK = 2**20
_STORED = (20, 0, 0, 0, 33)  # version 2.0, no flags, not compressed, midnight of 1 January 1980


def pieces(meta: bytes, payload: Sequence[Buffer]) -> Iterator[Buffer]:
    """Write an .npz of two arrays of bytes in pieces: a description, and a payload that comes in parts."""
    members = [Member.of("meta.npy", [meta]), Member.of("codes.npy", payload)]
    for member, parts in zip(members, ([meta], payload), strict=True):
        yield member.local_header()
        yield array_header(sum(map(len, parts)))
        yield from parts
    yield _directory(members)


@dataclass(frozen=True)
class Member:
    """Name, size with the array header, and CRC-32 of one array file in the zip."""

    name: bytes
    size: int
    crc: int

    @classmethod
    def of(cls, name: str, parts: Sequence[Buffer]) -> "Member":
        size = sum(map(len, parts))
        header = array_header(size)
        crc = zlib.crc32(header)
        for part in parts:
            crc = zlib.crc32(part, crc)
        return cls(name.encode(), len(header) + size, crc)

    def local_header(self) -> bytes:
        fields = (b"PK\3\4", *_STORED, self.crc, self.size, self.size, len(self.name), 0)
        return struct.pack("<4s5H3L2H", *fields) + self.name

    def directory_entry(self, offset: int) -> bytes:
        fields = (b"PK\1\2", 20, *_STORED, self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, 0, offset)
        return struct.pack("<4s6H3L5H2L", *fields) + self.name


def _directory(members: list[Member]) -> bytes:
    entries, offset = b"", 0
    for member in members:
        entries += member.directory_entry(offset)
        offset += len(member.local_header()) + member.size
    return entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(entries), offset, 0)


def array_header(size: int) -> bytes:
    # Without the customary spaces the header of a small array is 64 bytes instead of 128.
    text = f"{{'descr':'|u1','fortran_order':False,'shape':({size},)}}"
    padding = -(10 + len(text) + 1) % 64
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + padding + 1) + text.encode() + b" " * padding + b"\n"


def read_container(
    stream: BinaryIO, parse: Callable[[bytes], tuple[dict[str, Any], int]]
) -> tuple[dict[str, Any], bytes]:
    """Description and payload of a complete container; bounds come before every allocation.

    parse: raw description -> (its fields, among them sha256; bytes of the payload). Raises CodesError.
    """
    member, raw = _read_meta(stream)
    meta, size = parse(raw)
    header = array_header(size)
    expected = Member(b"codes.npy", len(header) + size, 0)
    found = _take(stream, len(expected.local_header()))
    (crc,) = struct.unpack_from("<L", found, 14)
    codes = Member(expected.name, expected.size, crc)
    if found != codes.local_header() or _take(stream, len(header)) != header:
        raise CodesError(f"has codes of another size than its description (expected {size} bytes); {AGAIN}")
    payload = _take(stream, size)
    if zlib.crc32(payload, zlib.crc32(header)) != crc or hashlib.sha256(payload).hexdigest() != meta["sha256"]:
        raise CodesError(f"is altered: its codes do not match their checksum; {AGAIN}")
    tail = _directory([member, codes])
    if _take(stream, len(tail)) != tail:
        raise CodesError(f"is altered after its codes; {AGAIN}")
    if stream.read(1):
        raise CodesError(f"goes on after its end; {AGAIN}")
    return meta, payload


def _read_meta(stream: BinaryIO) -> tuple[Member, bytes]:
    start = _take(stream, 38, "is empty or not a codes file")
    crc, size = struct.unpack_from("<2L", start, 14)
    member = Member(b"meta.npy", size, crc)
    if start != member.local_header() or not 64 < size <= _MAX_META:
        raise CodesError("is not a codes file (expected one that grn wrote); check the path")
    body = _take(stream, size)
    raw = next((body[skip:] for skip in (64, 128) if body[:skip] == array_header(size - skip)), None)
    if raw is None or zlib.crc32(body) != crc:
        raise CodesError(f"is altered: its description does not match its checksum; {AGAIN}")
    return member, raw


def _take(stream: BinaryIO, size: int, short: str = "is cut short") -> bytes:
    """Exactly `size` bytes, asked for piece by piece so that a claimed size allocates nothing by itself."""
    parts, left = [], size
    while left and (part := stream.read(min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    if left:
        raise CodesError(f"{short} (expected {size} more bytes, found {size - left}); {AGAIN}")
    return b"".join(parts)
