"""Files of real pictures and of their statistics, as others publish them: .npz with `arr_0`, with `mu` and `sigma`, or
with both.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from grn.errors import BadInputError
from grn.evaluation.frechet import Statistics
from grn.files import display

_PICTURES = "arr_0.npy"
_MAX_HEADER = 1 << 16
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError)


@dataclass(frozen=True)
class Shown:
    """A picture in memory, uint8 [H, W, 3]."""

    frame: NDArray[np.uint8]

    def image(self) -> NDArray[np.uint8]:
        """Return the picture."""
        return self.frame


class PicturesFile:
    """The pictures of an .npz, read one after the other: memory does not grow with their number.

    shape: [N, H, W, 3].
    """

    def __init__(self, path: Path) -> None:
        """Raises BadInputError where it holds no pictures."""
        self.path = path
        self._reading: Iterator[NDArray[np.uint8]] = iter(())
        self._next = 0  # number of the picture that is read next
        try:
            with zipfile.ZipFile(path) as archive, archive.open(_PICTURES) as member:
                self.shape = _shape(member)
                size, expected = archive.getinfo(_PICTURES).file_size - member.tell(), math.prod(self.shape)
                if size != expected:
                    raise ValueError(f"{size} bytes are stored for pictures of {expected}")
        except _BROKEN as error:
            raise self._fault(error) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Shown]:
        """Raises BadInputError where the file is damaged."""
        return self.chosen(range(len(self)))

    def chosen(self, numbers: Sequence[int]) -> Iterator[Shown]:
        """The pictures of these numbers, which rise. Asked for part by part in their order, the file is gone through once.

        Raises BadInputError where the file is damaged.
        """
        for number in numbers:
            if not 0 < self._next <= number:
                self._reading, self._next = self._frames(), 0
            for frame in self._reading:
                self._next += 1
                if self._next > number:
                    yield Shown(frame)
                    break

    def _frames(self) -> Iterator[NDArray[np.uint8]]:
        height, width = self.shape[1:3]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(_PICTURES) as member:
                _shape(member)
                for number in range(1, len(self) + 1):
                    data = member.read(height * width * 3)
                    if len(data) < height * width * 3:
                        raise EOFError("the file ends early")
                    if number == len(self) and member.read(1):  # the end is where damage is noticed
                        raise ValueError("there is more than the header says")
                    yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        except _BROKEN as error:
            raise self._fault(error) from error

    def _fault(self, error: BaseException) -> BadInputError:
        return BadInputError(
            f"{display(self.path)}: not a file of pictures ({display(str(error))}; expected arr_0, uint8 [N, H, W, 3])"
        )


def _shape(member: IO[bytes]) -> tuple[int, int, int, int]:
    """Of a .npy of pictures, read up to its content."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member, max_header_size=_MAX_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member, max_header_size=_MAX_HEADER)
    else:
        raise ValueError(f"version {version[0]}.{version[1]} of .npy")
    if len(shape) != 4 or shape[3] != 3 or fortran or dtype != np.uint8 or min(shape) < 1:
        raise ValueError(f"arr_0 is {dtype} {list(shape)}{', column by column' if fortran else ''}")
    return shape


@dataclass(frozen=True)
class ReferenceFile:
    """What an .npz holds: statistics, pictures, or both."""

    statistics: Statistics | None
    pictures: PicturesFile | None


def open_reference_file(path: Path) -> ReferenceFile:
    """Look into an .npz. Raises BadInputError where it holds neither statistics nor pictures."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except FileNotFoundError as error:
        raise BadInputError(f"{display(path)}: no such statistics file, nor one of pictures") from error
    except _BROKEN as error:
        raise BadInputError(f"{display(path)}: not an .npz file ({display(str(error))})") from error
    pictures = PicturesFile(path) if _PICTURES in names else None
    statistics = Statistics.load(path) if {"mu.npy", "sigma.npy"} <= names or pictures is None else None
    return ReferenceFile(statistics, pictures)
