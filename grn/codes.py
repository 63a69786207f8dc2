"""Codes: what an image or clip is once it is tokenized, and the file that holds it.

Axes
    indices   uint16 [t, h, w, C], the token map Y, each value in [0, 2^M)
    planes    uint8 [M, ceil(t*h*w*C / 8)], one row of packed bits a round, coarsest round first

File (.npz, readable with `numpy.load(path, allow_pickle=False)` alone)
    meta.npy   uint8, JSON in UTF-8: see `Codes._meta`; unknown fields are ignored unless `requires` names one
    codes.npy  uint8, the planes one after the other; without its last planes it is the same picture at fewer rounds

There is one way to write given codes: members stored and not compressed, no time stamps, no padding to choose. So the
reader accepts exactly what the writer writes, byte for byte, and whatever a zip or an array header could otherwise be
made to claim never gets a say. `meta` comes first, so the size of all that follows is known and bounded before it is
read. The checksums detect damage, not forgery.
"""

import hashlib
import json
import math
import reprlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from grn.errors import CodesError

VERSION = 1
MAX_ROUNDS = 16
_FORMAT = "grn-codes"
_MAX_META = 64 * 1024
_MAX_PAYLOAD = 2**32 - 2**20  # what a zip of the plain kind can hold
_MAX_SIDE = 2**31 - 1
_MAX_FPS = 1_000_000
_MAX_NAME = 256
_CHUNK = 2**20
_AGAIN = "copy or download it again"


@dataclass(frozen=True, eq=False)
class Codes:
    """One image or clip as a token map, with all that is needed to turn it back.

    indices: uint16 [t, h, w, C] in [0, 2^rounds). height, width: pixels of the original. frames: how many it has, 1 for
    an image. fps: frames a second, None for an image or where unknown. tokenizer, fingerprint: name and SHA-256 of the
    weights that made them.
    """

    indices: NDArray[np.uint16]
    rounds: int
    kind: Literal["image", "video"]
    height: int
    width: int
    frames: int
    fps: float | None
    tokenizer: str
    fingerprint: str

    def __post_init__(self) -> None:
        assert self.indices.dtype == np.uint16, f"indices must be uint16, not {self.indices.dtype}"
        fault = _fault(self._meta())
        assert fault is None, fault
        assert int(self.indices.max()) < 2**self.rounds, f"an index does not fit in {self.rounds} rounds"

    @property
    def bits_per_pixel(self) -> float:
        """Bits of codes for each pixel of each frame."""
        return self.indices.size * self.rounds / (self.height * self.width * self.frames)

    def truncate(self, rounds: int) -> "Codes":
        """The same codes at fewer rounds: only the most significant bits (1 <= rounds <= self.rounds)."""
        assert 1 <= rounds <= self.rounds, f"cannot keep {rounds} of {self.rounds} rounds"
        kept = {name: value for name, value in vars(self).items() if name not in ("indices", "rounds")}
        return Codes(self.indices >> np.uint16(self.rounds - rounds), rounds, **kept)

    def to_bytes(self) -> bytes:
        """The file's content; equal codes give equal bytes. Raises CodesError where they exceed 4 GiB."""
        meta = self._meta()
        if _payload_size(meta) > _MAX_PAYLOAD:
            raise CodesError(
                "the codes are larger than one file holds (4 GiB); split the clip with --start and --duration"
            )
        payload = _pack(self.indices, self.rounds)
        meta["sha256"] = hashlib.sha256(payload).hexdigest()
        return container(json.dumps(meta, separators=(",", ":")).encode(), payload)

    def save(self, target: Path | str | BinaryIO) -> None:
        """Write the file to a path or an open binary stream."""
        data = self.to_bytes()
        if isinstance(target, str | Path):
            Path(target).write_bytes(data)
        else:
            target.write(data)

    @classmethod
    def load(cls, source: Path | str | BinaryIO) -> "Codes":
        """Read a file or stream. Raises CodesError for anything but a complete, unaltered codes file."""
        if not isinstance(source, str | Path):
            return cls._read(source, getattr(source, "name", "stream"))
        try:
            with Path(source).open("rb") as stream:
                return cls._read(stream, source)
        except FileNotFoundError as error:
            raise CodesError(f"{source}: no such file; check the path") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise CodesError(f"{source}: cannot be read ({reason}); check the path") from error

    @classmethod
    def _read(cls, stream: BinaryIO, name: object) -> "Codes":
        try:
            meta, payload = _read_container(stream)
            indices = _unpack(payload, tuple(meta["shape"]), meta["rounds"])
        except CodesError as error:
            raise CodesError(f"{name}: {error}") from None
        fields = ("rounds", "kind", "height", "width", "frames", "fps", "tokenizer", "fingerprint")
        return cls(indices, **{field: meta[field] for field in fields})

    def _meta(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "version": VERSION,
            "shape": list(self.indices.shape),
            "rounds": self.rounds,
            "kind": self.kind,
            "height": self.height,
            "width": self.width,
            "frames": self.frames,
            "fps": self.fps,
            "tokenizer": self.tokenizer,
            "fingerprint": self.fingerprint,
        }


def _fault(meta: dict[str, Any]) -> str | None:
    """What is wrong with a description, or None. The only place that knows which descriptions are possible."""
    shape, rounds = meta.get("shape"), meta.get("rounds")
    if not (isinstance(shape, list) and len(shape) == 4 and all(_whole(side) for side in shape)):
        return f"shape is {reprlib.repr(shape)} (expected four positive whole numbers)"
    if not _whole(rounds, MAX_ROUNDS):
        return f"rounds is {reprlib.repr(rounds)} (expected 1 to {MAX_ROUNDS})"
    for name, least in (("frames", shape[0]), ("height", shape[1]), ("width", shape[2])):
        if not _whole(meta.get(name)) or meta[name] < least:
            return f"{name} is {reprlib.repr(meta.get(name))} (expected at least {least}, as in shape)"
    kind, fps = meta.get("kind"), meta.get("fps")
    if kind not in ("image", "video"):
        return f"kind is {reprlib.repr(kind)} (expected image or video)"
    if kind == "image" and (meta["frames"], fps) != (1, None):
        return f"an image has {reprlib.repr(meta['frames'])} frames at {reprlib.repr(fps)} fps (expected 1 and none)"
    if fps is not None and not (type(fps) in (int, float) and 0 < fps <= _MAX_FPS):
        return f"fps is {reprlib.repr(fps)} (expected a positive number or none)"
    if not (isinstance(meta.get("tokenizer"), str) and len(meta["tokenizer"]) <= _MAX_NAME):
        return f"tokenizer is {reprlib.repr(meta.get('tokenizer'))} (expected a name of at most {_MAX_NAME} characters)"
    if not _digest(meta.get("fingerprint")):
        return f"fingerprint is {reprlib.repr(meta.get('fingerprint'))} (expected 64 hexadecimal digits)"
    return None


def _whole(value: object, most: int = _MAX_SIDE) -> bool:
    return type(value) is int and 1 <= value <= most


def _digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _payload_size(meta: dict[str, Any]) -> int:
    # Each plane starts at a byte of its own.
    return int(meta["rounds"]) * -(-math.prod(meta["shape"]) // 8)


def _pack(indices: NDArray[np.uint16], rounds: int) -> bytes:
    planes = (np.packbits(((indices >> np.uint16(rounds - 1 - j)) & 1).astype(bool)) for j in range(rounds))
    return b"".join(plane.tobytes() for plane in planes)


def _unpack(payload: bytes, shape: tuple[int, ...], rounds: int) -> NDArray[np.uint16]:
    size = math.prod(shape)
    indices = np.zeros(size, dtype=np.uint16)
    for plane in np.frombuffer(payload, dtype=np.uint8).reshape(rounds, -1):
        bits = np.unpackbits(plane)
        if bits[size:].any():
            raise CodesError(f"has bits after the last code; {_AGAIN}")
        np.left_shift(indices, 1, out=indices)
        np.bitwise_or(indices, bits[:size], out=indices)
    return indices.reshape(shape)


# The container: a zip of two stored members, every field fixed but sizes and checksums.

_STORED = (20, 0, 0, 0, 33)  # version 2.0, no flags, not compressed, midnight of 1 January 1980


def container(meta: bytes, payload: bytes) -> bytes:
    """The .npz of these two arrays of bytes."""
    members = [_Member.of("meta.npy", meta), _Member.of("codes.npy", payload)]
    body = b"".join(part for member, data in zip(members, (meta, payload), strict=True) for part in member.around(data))
    return body + _directory(members)


@dataclass(frozen=True)
class _Member:
    """Name, size with the array header, and CRC-32 of one array file in the zip."""

    name: bytes
    size: int
    crc: int

    @classmethod
    def of(cls, name: str, data: bytes) -> "_Member":
        header = _array_header(len(data))
        return cls(name.encode(), len(header) + len(data), zlib.crc32(data, zlib.crc32(header)))

    def local_header(self) -> bytes:
        fields = (b"PK\3\4", *_STORED, self.crc, self.size, self.size, len(self.name), 0)
        return struct.pack("<4s5H3L2H", *fields) + self.name

    def around(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        return self.local_header(), _array_header(len(data)), data

    def directory_entry(self, offset: int) -> bytes:
        fields = (b"PK\1\2", 20, *_STORED, self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, 0, offset)
        return struct.pack("<4s6H3L5H2L", *fields) + self.name


def _directory(members: list[_Member]) -> bytes:
    entries, offset = b"", 0
    for member in members:
        entries += member.directory_entry(offset)
        offset += len(member.local_header()) + member.size
    return entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(entries), offset, 0)


def _array_header(size: int) -> bytes:
    # Without the customary spaces the header of a small array is 64 bytes instead of 128.
    text = f"{{'descr':'|u1','fortran_order':False,'shape':({size},)}}"
    padding = -(10 + len(text) + 1) % 64
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + padding + 1) + text.encode() + b" " * padding + b"\n"


def _read_container(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Description and payload of a complete container; bounds come before every allocation."""
    member, raw = _read_meta(stream)
    meta = _parse(raw)
    size = _payload_size(meta)
    header = _array_header(size)
    expected = _Member(b"codes.npy", len(header) + size, 0)
    found = _take(stream, len(expected.local_header()))
    (crc,) = struct.unpack_from("<L", found, 14)
    codes = _Member(expected.name, expected.size, crc)
    if found != codes.local_header() or _take(stream, len(header)) != header:
        raise CodesError(f"has codes of another size than its description (expected {size} bytes); {_AGAIN}")
    payload = _take(stream, size)
    if zlib.crc32(payload, zlib.crc32(header)) != crc or hashlib.sha256(payload).hexdigest() != meta["sha256"]:
        raise CodesError(f"is altered: its codes do not match their checksum; {_AGAIN}")
    tail = _directory([member, codes])
    if _take(stream, len(tail)) != tail:
        raise CodesError(f"is altered after its codes; {_AGAIN}")
    if stream.read(1):
        raise CodesError(f"goes on after its end; {_AGAIN}")
    return meta, payload


def _read_meta(stream: BinaryIO) -> tuple[_Member, bytes]:
    start = _take(stream, 38, "is empty or not a codes file")
    crc, size = struct.unpack_from("<2L", start, 14)
    member = _Member(b"meta.npy", size, crc)
    if start != member.local_header() or not 64 < size <= _MAX_META:
        raise CodesError("is not a codes file (expected one written by `grn tokenize`); check the path")
    body = _take(stream, size)
    raw = next((body[skip:] for skip in (64, 128) if body[:skip] == _array_header(size - skip)), None)
    if raw is None or zlib.crc32(body) != crc:
        raise CodesError(f"is altered: its description does not match its checksum; {_AGAIN}")
    return member, raw


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CodesError(f"has a description that is not JSON; {_AGAIN}") from error
    if not isinstance(meta, dict) or meta.get("format") != _FORMAT:
        raise CodesError(f"is not a codes file (expected format {_FORMAT}); check the path")
    version: Any = meta.get("version")
    if not _whole(version):
        raise CodesError(f"has version {reprlib.repr(version)} (expected {VERSION}); {_AGAIN}")
    if version > VERSION:
        raise CodesError(
            f"has version {version} of the format, newer than this grn reads (up to {VERSION}); upgrade grn"
        )
    if meta.get("requires", []) != []:
        raise CodesError(f"needs {reprlib.repr(meta['requires'])}, which this grn does not know; upgrade grn")
    fault = _fault(meta) or (None if _digest(meta.get("sha256")) else "sha256 is missing or not a digest")
    if fault is None and _payload_size(meta) > _MAX_PAYLOAD:
        fault = f"shape is {meta['shape']} (expected at most 4 GiB of codes)"
    if fault:
        raise CodesError(f"has a wrong description: {fault}; {_AGAIN}")
    return meta


def _take(stream: BinaryIO, size: int, short: str = "is cut short") -> bytes:
    """Exactly `size` bytes, asked for piece by piece so that a claimed size allocates nothing by itself."""
    parts, left = [], size
    while left and (part := stream.read(min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    if left:
        raise CodesError(f"{short} (expected {size} more bytes, found {size - left}); {_AGAIN}")
    return b"".join(parts)
