"""What a TIFF says of its samples and pages, and libtiff's habit of writing to the terminal.

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

_KIND, _BITS, _PHOTOMETRIC = 254, 258, 262
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_MOST_TAGS = 65_535
_THUMBNAIL_OR_MASK = 0b101  # bits of the kind


@dataclass(frozen=True)
class Tiff:
    """bits: of a sample. inverted: samples deeper than a byte where white is zero; `file` calls them black is zero.
    more_pages: whether pictures follow the first one that are no thumbnails of it.
    """

    bits: int
    inverted: bool
    more_pages: bool
    file: BinaryIO


@dataclass(frozen=True)
class _Layout:
    """How numbers are laid out: BigTIFF, version 43, has longer ones. size, count, entry: of offsets, of how many
    entries follow, and of an entry, whose last part is its value.
    """

    order: str
    size: str
    count: str
    entry: str


def read_tiff(file: BinaryIO) -> Tiff:
    """The facts of the first picture. Raises ValueError or struct.error where the structure breaks off."""
    _silence()
    file.seek(0)
    front = file.read(16)
    order = ">" if front[:1] == b"M" else "<"
    (version,) = struct.unpack(order + "2xH", front[:4])
    layout = _Layout(order, "Q", "Q", "HHQ8s") if version == 43 else _Layout(order, "I", "H", "HHI4s")
    (start,) = struct.unpack_from(order + layout.size, front, 8 if version == 43 else 4)
    found, following = _directory(file, start, layout)
    bits = found.get(_BITS, (1, 0))[0]
    photometric, place = found.get(_PHOTOMETRIC, (_BLACK_IS_ZERO, 0))
    more = False
    with contextlib.suppress(ValueError, struct.error):  # what follows a good picture may be damaged
        more = bool(following) and not _directory(file, following, layout)[0].get(_KIND, (0, 0))[0] & _THUMBNAIL_OR_MASK
    if bits <= 8 or photometric != _WHITE_IS_ZERO:
        return Tiff(bits, False, more, file)
    file.seek(0)
    data = bytearray(file.read())
    struct.pack_into(order + "H", data, place, _BLACK_IS_ZERO)
    return Tiff(bits, True, more, io.BytesIO(data))


def _directory(file: BinaryIO, start: int, layout: _Layout) -> tuple[dict[int, tuple[int, int]], int]:
    """Tag -> value and where it stands, for tags of one value; and where the next directory begins, 0 for nowhere."""
    order, entry = layout.order, struct.Struct(layout.order + layout.entry)
    file.seek(start)
    (count,) = struct.unpack(order + layout.count, file.read(struct.calcsize(order + layout.count)))
    if count > _MOST_TAGS:
        raise ValueError(f"a directory of {count} entries")
    found: dict[int, tuple[int, int]] = {}
    for _ in range(count):
        place = file.tell()
        tag, kind, number, value = entry.unpack(file.read(entry.size))
        # Where there are more, they stand elsewhere: bits of several samples, which Pillow scales itself.
        if number == 1:
            found[tag] = (
                struct.unpack_from(order + ("I" if kind == 4 else "H"), value)[0],
                place + entry.size - len(value),
            )
    return found, struct.unpack(order + layout.size, file.read(struct.calcsize(order + layout.size)))[0]


@functools.cache
def _silence() -> None:
    """Keep libtiff from printing what it finds wrong: Pillow raises an error as well. Where the library is built into
    Pillow, it cannot be reached and prints.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
