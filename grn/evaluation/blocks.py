"""Measurements of many samples in blocks, by any number of processes: each block is a file until all are there.

    blocks = Blocks(folder, 50_000)
    blocks.run(measure)             measures what is missing; other processes may do the same
    for arrays in blocks: ...       what was measured, in the order of the samples

What is in a block depends neither on who measures it nor on when, so the figures are the same for any number of processes,
and a measurement that was ended goes on to the same ones.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grn.errors import BadInputError
from grn.evaluation.shares import shares
from grn.files import atomic_path, cannot_write, display

BLOCK = 64
"""Samples of a block: what is lost when a run is ended."""

_DAMAGE = (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
Arrays = Mapping[str, NDArray[Any]]


class Blocks:
    """Blocks of `count` samples, `size` each, in a folder that serves one measurement."""

    def __init__(self, folder: Path, count: int, size: int = BLOCK) -> None:
        """Raises EnvironmentFaultError where the folder cannot be made."""
        self.folder, self.count, self.size = folder, count, size
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[Arrays]:
        """Raises BadInputError for a block that cannot be read."""
        for block in range(len(self)):
            try:
                with np.load(self._file(block), allow_pickle=False) as arrays:
                    held = {name: arrays[name] for name in arrays.files}
            except _DAMAGE as error:
                raise BadInputError(
                    f"{display(self._file(block))}: cannot be read ({display(str(error))}); remove it to measure its samples again"
                ) from error
            yield held

    def left(self) -> int:
        """How many samples are not measured yet, by any process."""
        return sum(len(self._numbers(block)) for block in range(len(self)) if not self._done(block))

    def run(
        self, measure: Callable[[range], Arrays], note: Callable[[int], None] = lambda left: None, wait: bool = True
    ) -> None:
        """Measure what is missing. measure: the samples of these numbers. note: is called before each block with the number
        of samples that are left. wait: for what other processes measure.
        """
        with closing(shares(self.folder, len(self), self._done, wait)) as mine:  # an end lets go of what it holds
            for block in mine:
                note(self.left())
                held = measure(self._numbers(block))
                with atomic_path(self._file(block)) as temporary, temporary.open("wb") as file:
                    np.savez(file, **held)  # type: ignore[arg-type]

    def _numbers(self, block: int) -> range:
        return range(block * self.size, min((block + 1) * self.size, self.count))

    def _file(self, block: int) -> Path:
        return self.folder / f"features-{block:06d}.npz"

    def _done(self, block: int) -> bool:
        return self._file(block).is_file()
