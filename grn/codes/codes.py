"""Codes: what an image or clip is once it is tokenized, and the file that holds it.

Axes
    indices   uint16 [t, h, w, C], the token map Y, each value in [0, 2^M)
    planes    uint8 [M, ceil(t*h*w*C / 8)], one row of packed bits a round, coarsest round first

The planes of a file come one after the other, each through all of the clip, so a clip is written only when it is
whole. Until then its bits are held packed: 256 bits a token are 32 bytes, a thousandth of the pixels it stands for.

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
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from grn.codes.container import AGAIN, Buffer, pieces, read_container
from grn.errors import CodesError
from grn.hbq import MAX_ROUNDS, PlanePacker, unpack_planes

VERSION = 1
_FORMAT = "grn-codes"
_MAX_PAYLOAD = 2**32 - 2**20  # what a zip of the plain kind can hold
_MAX_SIDE = 2**31 - 1
_MAX_FPS = 1_000_000
_MAX_NAME = 256
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True, eq=False)
class Codes:
    """One image or clip as a token map, with all that is needed to decode it.

    indices: uint16 [t, h, w, C] in [0, 2^rounds). height, width: pixels of the original. frames: how many it has, 1 for
    an image. fps: frames a second, None for an image or where unknown. tokenizer, fingerprint: name and SHA-256 of the
    weights that made them. source: SHA-256 of the file that they were made from and of how it was read, or "". dtype: the
    number format that they were computed in, as torch names it, or "" where that is not known.
    """

    indices: NDArray[np.uint16] = field(repr=False)
    rounds: int
    kind: Literal["image", "video"]
    height: int
    width: int
    frames: int
    fps: float | None
    tokenizer: str
    fingerprint: str
    source: str = ""
    dtype: str = ""

    def __post_init__(self) -> None:
        assert self.indices.dtype == np.uint16, f"indices must be uint16, not {self.indices.dtype}"
        fault = _fault(self._meta())
        assert fault is None, fault
        assert int(self.indices.max()) < 2**self.rounds, f"an index does not fit in {self.rounds} rounds"

    @property
    def shape(self) -> tuple[int, ...]:
        """(t, h, w, C)."""
        return self.indices.shape

    @property
    def bits_per_pixel(self) -> float:
        """Bits of codes for each pixel of each frame."""
        return _bits_per_pixel(self._meta())

    def maps(self) -> Iterator[NDArray[np.uint16]]:
        """Iterate over the token maps of the frames, [h, w, C] each."""
        return iter(self.indices)

    def truncate(self, rounds: int) -> "Codes":
        """The same codes at fewer rounds: only the most significant bits (1 <= rounds <= self.rounds)."""
        assert 1 <= rounds <= self.rounds, f"cannot keep {rounds} of {self.rounds} rounds"
        return Codes(self.indices >> np.uint16(self.rounds - rounds), rounds, **_fields(self))

    def pack(self) -> "PackedCodes":
        """Pack the indices into bits."""
        packer = PlanePacker(self.rounds)
        packer.add(self.indices)
        return PackedCodes(packer.planes(), self.shape, **_fields(self))

    def to_bytes(self) -> bytes:
        """The file's content; equal codes give equal bytes. Raises CodesError where they exceed 4 GiB."""
        return b"".join(self.pack().content())

    def save(self, target: Path | str | BinaryIO) -> None:
        """Write the file to a path or an open binary stream."""
        self.pack().save(target)

    @classmethod
    def load(cls, source: Path | str | BinaryIO) -> "Codes":
        """Read a file or stream. Raises CodesError for anything but a complete, unaltered codes file."""
        return PackedCodes.load(source).unpack()

    def _meta(self) -> dict[str, Any]:
        return _description(self.indices.shape, self.rounds, _fields(self))


@dataclass(frozen=True, eq=False)
class PackedCodes:
    """Codes as packed bits, as their file holds them: an eighth of the memory or less, for long clips.

    planes: for each round, the packed bits of all token frames one after the other. shape: (t, h, w, C). The rest as in Codes.
    """

    planes: Sequence[Buffer]
    shape: tuple[int, ...]
    kind: Literal["image", "video"]
    height: int
    width: int
    frames: int
    fps: float | None
    tokenizer: str
    fingerprint: str
    source: str = ""
    dtype: str = ""

    def __post_init__(self) -> None:
        fault = _fault(self._meta())
        assert fault is None, fault
        size = -(-math.prod(self.shape) // 8)
        assert all(len(plane) == size for plane in self.planes), (
            f"planes of {[*map(len, self.planes)]} bytes, not {size}"
        )

    @property
    def rounds(self) -> int:
        return len(self.planes)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of codes for each pixel of each frame."""
        return _bits_per_pixel(self._meta())

    def maps(self) -> Iterator[NDArray[np.uint16]]:
        """Iterate over the token maps of the frames, [h, w, C] each, unpacked one at a time."""
        size = math.prod(self.shape[1:])
        for start in range(0, size * self.shape[0], size):
            yield unpack_planes(self.planes, start, size).reshape(self.shape[1:])

    def truncate(self, rounds: int) -> "PackedCodes":
        """The same codes at fewer rounds."""
        assert 1 <= rounds <= self.rounds, f"cannot keep {rounds} of {self.rounds} rounds"
        return self if rounds == self.rounds else PackedCodes(self.planes[:rounds], self.shape, **_fields(self))

    def unpack(self) -> Codes:
        """Unpack the bits into a token map."""
        indices = unpack_planes(self.planes, 0, math.prod(self.shape)).reshape(self.shape)
        return Codes(indices, self.rounds, **_fields(self))

    def content(self) -> Iterator[Buffer]:
        """The file's content in pieces, for which nothing is copied. Raises CodesError where they exceed 4 GiB."""
        meta = self._meta()
        if _payload_size(meta) > _MAX_PAYLOAD:
            raise CodesError("the codes are larger than one file holds (4 GiB); take less of the clip")
        digest = hashlib.sha256()
        for plane in self.planes:
            digest.update(plane)
        meta["sha256"] = digest.hexdigest()
        return pieces(json.dumps(meta, separators=(",", ":")).encode(), self.planes)

    def save(self, target: Path | str | BinaryIO) -> int:
        """Write the file to a path or an open binary stream; how many bytes it has."""
        if isinstance(target, str | Path):
            with Path(target).open("wb") as file:
                return self.save(file)
        total = 0
        for piece in self.content():
            target.write(piece)
            total += len(piece)
        return total

    @classmethod
    def load(cls, source: Path | str | BinaryIO) -> "PackedCodes":
        """Read a file or stream. Raises CodesError for anything but a complete, unaltered codes file."""
        if not isinstance(source, str | Path):
            name = getattr(source, "name", "")
            # Standard input is called "<stdin>", or by a number; "-" is its name here, as of pictures.
            return cls._read(source, name if isinstance(name, str) and name[:1] not in ("", "<") else "-")
        try:
            with Path(source).open("rb") as stream:
                return cls._read(stream, source)
        except FileNotFoundError as error:
            raise CodesError(f"{source}: no such file; check the path") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise CodesError(f"{source}: cannot be read ({reason}); check the path") from error

    @classmethod
    def _read(cls, stream: BinaryIO, name: object) -> "PackedCodes":
        try:
            meta, payload = read_container(stream, _parse)
            planes = _planes(payload, meta["rounds"], math.prod(meta["shape"]))
        except CodesError as error:
            raise CodesError(f"{name}: {error}") from None
        return cls(planes, tuple(meta["shape"]), **{field: meta[field] for field in _FIELDS if field in meta})

    def _meta(self) -> dict[str, Any]:
        return _description(self.shape, self.rounds, _fields(self))


_OPTIONAL = ("source", "dtype")  # left out where they are empty: files of the first grn have neither
_FIELDS = ("kind", "height", "width", "frames", "fps", "tokenizer", "fingerprint", *_OPTIONAL)


def _fields(codes: Codes | PackedCodes) -> dict[str, Any]:
    found = {name: getattr(codes, name) for name in _FIELDS}
    return {name: value for name, value in found.items() if value or name not in _OPTIONAL}


def _description(shape: Sequence[int], rounds: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"format": _FORMAT, "version": VERSION, "shape": list(shape), "rounds": rounds, **fields}


def _bits_per_pixel(meta: dict[str, Any]) -> float:
    return math.prod(meta["shape"]) * meta["rounds"] / (meta["height"] * meta["width"] * meta["frames"])


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
    if "fps" not in meta:
        return "fps is missing (expected a positive number or none)"
    if "source" in meta and not _digest(meta["source"]):
        return f"source is {reprlib.repr(meta['source'])} (expected 64 hexadecimal digits, or nothing)"
    if "dtype" in meta and not _number_format(meta["dtype"]):
        return f"dtype is {reprlib.repr(meta['dtype'])} (expected the name of a number format, or nothing)"
    return None


def _whole(value: object, most: int = _MAX_SIDE) -> bool:
    return type(value) is int and 1 <= value <= most


def _digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and _HEXADECIMAL.issuperset(value)


def _number_format(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,31}", value, re.ASCII) is not None


def _payload_size(meta: dict[str, Any]) -> int:
    # Each plane starts at a byte of its own.
    return int(meta["rounds"]) * -(-math.prod(meta["shape"]) // 8)


def _planes(payload: bytes, rounds: int, size: int) -> list[memoryview]:
    """The payload's planes of `size` bits each."""
    length = -(-size // 8)
    planes = [memoryview(payload)[j * length : (j + 1) * length] for j in range(rounds)]
    if any(plane[-1] & ((1 << (-size % 8)) - 1) for plane in planes):
        raise CodesError(f"has bits after the last code; {AGAIN}")
    return planes


def _parse(raw: bytes) -> tuple[dict[str, Any], int]:
    """A description, checked, and the size of what it describes."""
    try:
        meta = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CodesError(f"has a description that is not JSON; {AGAIN}") from error
    if not isinstance(meta, dict) or meta.get("format") != _FORMAT:
        raise CodesError(f"is not a codes file (expected format {_FORMAT}); check the path")
    version: Any = meta.get("version")
    if not _whole(version):
        raise CodesError(f"has version {reprlib.repr(version)} (expected {VERSION}); {AGAIN}")
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
        raise CodesError(f"has a wrong description: {fault}; {AGAIN}")
    return meta, _payload_size(meta)
