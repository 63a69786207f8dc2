"""The structure of a GIF: its pictures, their places and times.

Walked here because Pillow counts only the pictures that it manages to read, so that a file cut between two of them
would look complete, and shows pictures of 0.01 s and uncovered parts otherwise than players do.
"""

import functools
import struct
from fractions import Fraction
from typing import BinaryIO

from grn.media.animation import Animation, take
from grn.media.canvas import Disposal, Layer
from grn.media.timeline import Timeline

_TICK = Fraction(1, 100)
_DISPOSALS: dict[int, Disposal] = {2: "clear", 3: "restore"}
_EXTENSION, _PICTURE, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9


def read_gif(file: BinaryIO) -> Animation:
    """The pictures of a GIF, one or more. Raises ValueError or struct.error where the structure breaks off."""
    header = take(file, 13)
    width, height, flags = struct.unpack("<6xHHBxx", header)
    palette = _palette(file, flags)
    layers: list[Layer] = []
    delays: list[Fraction] = []
    control = b""
    while True:
        (kind,) = take(file, 1)
        if kind == _TRAILER:
            break
        if kind == _EXTENSION:
            (label,) = take(file, 1)
            body = _blocks(file)
            if label == _CONTROL and len(body) >= 4:
                control = body[:4]
        elif kind == _PICTURE:
            left, top, wide, high, flags = struct.unpack("<HHHHB", take(file, 9))
            if not layers:
                # Some tools leave the screen empty or too small; players then take what the first picture needs.
                width, height = max(width, left + wide), max(height, top + high)
            start = file.tell()
            _palette(file, flags)
            take(file, 1)
            _blocks(file)
            screen = header[:6] + struct.pack("<HH", wide, high) + header[10:] + palette
            place = struct.pack("<BHHHHB", _PICTURE, 0, 0, wide, high, flags)
            head = screen + _control_block(control) + place
            still = functools.partial(_still, head=head, start=start, length=file.tell() - start)
            disposal, delay = struct.unpack("<BHx", control) if control else (0, 0)
            layers.append(Layer(left, top, _DISPOSALS.get(disposal >> 2 & 7, "keep"), True, still))
            delays.append(delay * _TICK)
            control = b""
        else:
            raise ValueError(f"unknown GIF block {kind:#04x}")
    if not layers:
        raise ValueError("no picture in the file")
    return Animation((width, height), tuple(layers), Timeline.of(delays, _TICK))


def _still(file: BinaryIO, head: bytes, start: int, length: int) -> bytes:
    file.seek(start)
    return head + take(file, length) + bytes([_TRAILER])


def _control_block(control: bytes) -> bytes:
    return bytes([_EXTENSION, _CONTROL, len(control)]) + control + b"\0" if control else b""


def _palette(file: BinaryIO, flags: int) -> bytes:
    return take(file, 3 * 2 ** ((flags & 7) + 1)) if flags & 0x80 else b""


def _blocks(file: BinaryIO) -> bytes:
    """A chain of sub-blocks; only the first is returned, which is all that extensions need."""
    first = b""
    while True:
        (length,) = take(file, 1)
        if length == 0:
            return first
        body = take(file, length)
        first = first or body
