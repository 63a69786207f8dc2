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

_KIND, _BITS, _PHOTOMETRIC, _PLANES = 254, 258, 262, 284
_BITS_OF_SEVERAL = -_BITS  # which Pillow scales itself; no tag has such a number
_APART = 2  # each channel's samples in a plane of their own
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
    """The facts of the first picture. Raises ValueError or struct.error where the structure breaks off,
    NotImplementedError for deep samples in planes, of which Pillow makes other pictures without a word.
    """
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
    if found.get(_PLANES, (1, 0))[0] == _APART and (deep := found.get(_BITS_OF_SEVERAL, (1, 0))[0]) > 8:
        raise NotImplementedError(
            f"TIFF with samples of {deep} bits in planes is not read; save it with them interleaved"
        )
    if bits <= 8 or photometric != _WHITE_IS_ZERO:
        return Tiff(bits, False, more, file)
    file.seek(0)
    data = bytearray(file.read())
    struct.pack_into(order + "H", data, place, _BLACK_IS_ZERO)
    return Tiff(bits, True, more, io.BytesIO(data))


def _directory(file: BinaryIO, start: int, layout: _Layout) -> tuple[dict[int, tuple[int, int]], int]:
    """Tag -> value and where it stands, for tags of one value and for the bits of several samples, of which the first
    ones are given; and where the next directory begins, 0 for nowhere.
    """
    order, entry = layout.order, struct.Struct(layout.order + layout.entry)
    file.seek(start)
    (count,) = struct.unpack(order + layout.count, file.read(struct.calcsize(order + layout.count)))
    if count > _MOST_TAGS:
        raise ValueError(f"a directory of {count} entries")
    found: dict[int, tuple[int, int]] = {}
    for _ in range(count):
        place = file.tell()
        tag, kind, number, value = entry.unpack(file.read(entry.size))
        if tag == _BITS and number > struct.calcsize(layout.size) // 2:
            after = file.tell()
            file.seek(struct.unpack(order + layout.size, value)[0])
            found[_BITS_OF_SEVERAL] = (struct.unpack(order + "H", file.read(2))[0], 0)
            file.seek(after)
        # Of other tags with several values, which stand elsewhere too, none is asked for.
        elif number == 1:
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
