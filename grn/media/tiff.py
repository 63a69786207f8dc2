"""What a TIFF says of its samples, and libtiff's habit of writing to the terminal.

Read here because Pillow gives 12-bit samples and samples where white is zero as they are stored, and refuses the latter
where the file is big-endian.
"""

import contextlib
import ctypes
import functools
import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

_BITS, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1


@dataclass(frozen=True)
class Tiff:
    """bits: of a sample. inverted: samples deeper than a byte where white is zero; `file` calls them black is zero."""

    bits: int
    inverted: bool
    file: BinaryIO


def read_tiff(file: BinaryIO) -> Tiff:
    """The facts of the first picture. Raises ValueError or struct.error where the structure breaks off."""
    _silence()
    file.seek(0)
    front = file.read(16)
    order = ">" if front[:1] == b"M" else "<"
    (version,) = struct.unpack(order + "2xH", front[:4])
    # BigTIFF, version 43, has longer numbers: of the offset, of the count, of an entry and within an entry.
    offset, count, entry = ("8xQ", "Q", "HHQ8s") if version == 43 else ("4xI", "H", "HHI4s")
    (start,) = struct.unpack_from(order + offset, front)
    file.seek(start)
    (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    size = struct.calcsize(order + entry)
    found: dict[int, tuple[int, int]] = {}
    for _ in range(min(entries, 4096)):
        place = file.tell()
        tag, _, number, value = struct.unpack(order + entry, file.read(size))
        # Several samples' bits stand elsewhere; Pillow inverts none of those and scales them itself.
        if number == 1:
            found[tag] = (struct.unpack_from(order + "H", value)[0], place + size - len(value))
    bits = found.get(_BITS, (1, 0))[0]
    photometric, place = found.get(_PHOTOMETRIC, (_BLACK_IS_ZERO, 0))
    if bits <= 8 or photometric != _WHITE_IS_ZERO:
        return Tiff(bits, False, file)
    file.seek(0)
    data = bytearray(file.read())
    struct.pack_into(order + "H", data, place, _BLACK_IS_ZERO)
    return Tiff(bits, True, io.BytesIO(data))


@functools.cache
def _silence() -> None:
    """Keep libtiff from printing what it finds wrong: Pillow raises an error as well. Where the library is built into
    Pillow, it cannot be reached and prints.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
