"""The chunks of an animated WebP: read for their times, written one picture at a time.

Read here because Pillow counts only the pictures that it manages to read. Written here because Pillow (and imageio,
which uses it) holds all frames until the last one has come and joins those that are alike.
"""

import contextlib
import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.media.animation import Animation, take
from grn.media.exif import exif_note
from grn.media.timeline import Timeline

Frame = npt.NDArray[np.uint8]

_TICK = Fraction(1, 1000)
_QUALITY = 90
_BESIDE = (b"EXIF", b"XMP ", b"ICCP")  # what may stand with the pictures of an animation
_REPLACES = b"\x02"  # put in place of what was there, not blended with it


def read_webp(file: BinaryIO) -> Animation | None:
    """The times of an animated WebP; None for a still. Raises ValueError or struct.error where the structure breaks off."""
    (declared,) = struct.unpack("<4xI4x", take(file, 12))
    delays: list[Fraction] = []
    size, moves = (0, 0), False
    position = 4
    while position + 8 <= declared:
        name, length = struct.unpack("<4sI", take(file, 8))
        body = take(file, length)
        take(file, max(0, min(length % 2, declared - position - 8 - length)))
        position += 8 + length + length % 2
        if name == b"VP8X":
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif name == b"ANMF":
            delays.append(int.from_bytes(body[12:15], "little") * _TICK)
        elif moves and name not in _BESIDE:  # Pillow passes over a picture whose name is damaged
            raise ValueError(f"a part called {ascii(name)[2:-1]} among its pictures")
        moves = moves or name == b"ANIM"
    return Animation(size, (), Timeline.of(delays, _TICK)) if delays else None


class WebpEncoder:
    """Frames uint8 [H, W, 3] -> an animated WebP, each a still WebP of the rectangle that changed."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction, note: str = "") -> None:
        """note: what the file is to say of how it was made."""
        self._file = path.open("wb")
        self._fps = fps
        self._count = 0
        self._before: Frame | None = None
        canvas = _uint24(width - 1) + _uint24(height - 1)
        self._exif = exif_note(note) if note else b""
        flags = 2 | (8 if note else 0)  # animation, EXIF data
        header = _chunk(b"VP8X", bytes([flags]) + bytes(3) + canvas) + _chunk(
            b"ANIM", b"\xff\xff\xff\xff\0\0"
        )  # white, for ever
        self._file.write(b"RIFF\0\0\0\0WEBP" + header)

    def write(self, frame: Frame) -> None:
        """Append a frame. Raises OSError where the disk refuses."""
        left, top, part = _changed(self._before, frame)
        buffer = io.BytesIO()
        Image.fromarray(part, "RGB").save(buffer, "WEBP", quality=_QUALITY, method=4)
        begin, end = (round(1000 * count / self._fps) for count in (self._count, self._count + 1))
        size = _uint24(part.shape[1] - 1) + _uint24(part.shape[0] - 1)
        # A still's own chunks start after its 12 bytes of RIFF header.
        place = _uint24(left // 2) + _uint24(top // 2) + size + _uint24(end - begin) + _REPLACES
        self._file.write(_chunk(b"ANMF", place + buffer.getvalue()[12:]))
        self._before = frame.copy()
        self._count += 1

    def finish(self) -> None:
        """Complete the file. Raises OSError where the disk refuses."""
        if self._exif:
            self._file.write(_chunk(b"EXIF", self._exif))
        length = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", length - 8))
        self._file.close()

    def stop(self) -> None:
        """Let go of the file, complete or not; safe to call twice. Raises nothing."""
        with contextlib.suppress(OSError):
            self._file.close()


def _changed(before: Frame | None, frame: Frame) -> tuple[int, int, Frame]:
    """Left, top (both even, as the format wants) and content of the smallest rectangle that differs from the frame
    before.
    """
    if before is None:
        return 0, 0, frame
    differs = (before != frame).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, frame[:1, :1]
    top, left = rows[0] // 2 * 2, columns[0] // 2 * 2
    return int(left), int(top), np.ascontiguousarray(frame[top : rows[-1] + 1, left : columns[-1] + 1])


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
