"""The structure of a PNG: its chunks, whole and as they were written, and the pictures of an animated one.

Walked here because Pillow passes over damage behind the pixels, and keeps neither the depth of the samples that a
transparent level is given in nor what an animation's first picture stands on.
"""

import functools
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from grn.media.animation import Animation, take
from grn.media.canvas import Disposal, Layer
from grn.media.timeline import Timeline

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TICK = Fraction(1, 1000)
_DISPOSALS: dict[int, Disposal] = {0: "keep", 1: "clear", 2: "restore"}
# Chunks that say what the samples mean, and so belong to each picture of an animation.
_MEANING = (b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP")
# Lower case marks chunks that a picture can do without, whose checksums some tools get wrong; these hold pictures.
_CHECKED = (b"acTL", b"fcTL", b"fdAT")
_CONTROL = struct.Struct(
    ">4xIIIIHHBB"
)  # after its number: width, height, left, top, delay, its unit, disposal, blending


@dataclass(frozen=True)
class Png:
    """bits: of a sample. colour: type as in the header (0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha).
    cicp: colour primaries, transfer, matrix and range by number, as for video. animation: None for a still.
    """

    bits: int
    colour: int
    cicp: tuple[int, ...] | None
    animation: Animation | None


def read_png(file: BinaryIO) -> Png:
    """Walk the chunks to the end. Raises ValueError where the file is cut, or where a chunk that matters is not what
    was written.
    """
    end = file.seek(0, 2)
    file.seek(len(_SIGNATURE))
    header, cicp, meaning = b"", None, b""
    frames = _Frames()
    while True:
        start = file.tell()
        front = file.read(8)
        length, name = struct.unpack(">I4s", front) if len(front) == 8 else (0, b"")
        # Asked first, since a claim of 4 GiB would be allocated before it is found wanting.
        if not name or file.tell() + length + 4 > end:
            raise ValueError("the file ends early")
        body, checksum = file.read(length), file.read(4)
        matters = name[:1].isupper() or name in _CHECKED
        if matters and zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
            raise ValueError(f"chunk {name.decode('ascii', 'replace')} does not match its checksum")
        if name == b"IHDR":
            header = body
        elif name in _MEANING:
            meaning += front + body + checksum
            cicp = tuple(body) if name == b"cICP" and length == 4 else cicp
        elif name == b"IEND":
            break
        frames.note(name, body, start)
    if len(header) != 13:
        raise ValueError("the file has no header")
    return Png(header[8], header[9], cicp, frames.animation(header, meaning))


class _Frames:
    """Gathers the pictures of an animation: their control chunks and where their data lies."""

    def __init__(self) -> None:
        self.promised = 0
        self.controls: list[tuple[int, ...]] = []
        self.data: list[
            list[tuple[int, int]]
        ] = []  # of each picture: where its chunks begin, and bytes to skip in each
        self.order = 0

    def note(self, name: bytes, body: bytes, start: int) -> None:
        if name == b"acTL":
            self.promised = int.from_bytes(body[:4], "big")
        elif name == b"fcTL" and self.promised:
            self._count(body)
            self.controls.append(_CONTROL.unpack(body))
            self.data.append([])
        elif name == b"fdAT" and self.data:
            self._count(body)
            self.data[-1].append((start, 4))
        elif name == b"IDAT" and self.data:
            self.data[-1].append((start, 0))

    def _count(self, body: bytes) -> None:
        if int.from_bytes(body[:4], "big") != self.order:
            raise ValueError("pictures are missing or out of order")
        self.order += 1

    def animation(self, header: bytes, meaning: bytes) -> Animation | None:
        if self.promised < 2:
            return None
        if len(self.controls) != self.promised or not all(self.data):
            raise ValueError(f"{sum(map(bool, self.data))} of {self.promised} pictures are there")
        layers, delays = [], []
        for (width, height, left, top, shown, unit, disposal, over), data in zip(self.controls, self.data, strict=True):
            size = struct.pack(">II", width, height)
            head = _SIGNATURE + _chunk(b"IHDR", size + header[8:]) + meaning
            still = functools.partial(_still, head=head, data=tuple(data))
            layers.append(Layer(left, top, _DISPOSALS.get(disposal, "keep"), bool(over), still))
            delays.append(Fraction(shown, unit or 100))
        return Animation(struct.unpack(">II", header[:8]), tuple(layers), Timeline.of(delays, _TICK))


def _still(file: BinaryIO, head: bytes, data: tuple[tuple[int, int], ...]) -> bytes:
    parts = [head]
    for start, skipped in data:
        file.seek(start)
        (length,) = struct.unpack(">I4x", take(file, 8))
        parts.append(_chunk(b"IDAT", take(file, length)[skipped:]))
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
