"""The files that a command reads and writes: folders and globs spelt out, names for the results."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from grn.data.listing import is_hidden, list_folder
from grn.errors import BadInputError, UsageError
from grn.files import cannot_write, check_writable, fitting, is_folder, numbered
from grn.media import READ_SUFFIXES
from grn_cli.errors import Batch
from grn_cli.options.fields import at_home

_FILES = {".npz", *READ_SUFFIXES}
_log = logging.getLogger("grn.paths")


@dataclass(frozen=True)
class Item:
    """One input: `path` is None for standard input; `place` is where its result goes inside an output folder."""

    path: Path | None
    place: Path

    @property
    def name(self) -> str:
        """The input's name for messages and results."""
        return "-" if self.path is None else str(self.path)

    def source(self) -> Path | BinaryIO:
        """What to open."""
        return sys.stdin.buffer if self.path is None else self.path


def expand(arguments: list[str], suffixes: Collection[str], batch: Batch) -> list[Item]:
    """Files, '-', globs and whole folders (searched for `suffixes`) as items, in the order given, each sorted by name.

    Raises UsageError where standard input is named twice or is a terminal. An empty folder or glob is a bad item.
    """
    if arguments.count("-") > 1:
        raise UsageError("-: standard input can be read only once; name it once")
    if "-" in arguments and sys.__stdin__ is None:
        raise UsageError("-: standard input is closed; name a file")
    if "-" in arguments and sys.stdin.isatty():
        raise UsageError("-: standard input is a terminal; pipe a file into it, or name a file")
    items: list[Item] = []
    for argument in arguments:
        with batch.item():
            items += _expand(argument, suffixes)
    batch.alone = batch.alone and len(items) == 1
    return items


def _expand(argument: str, suffixes: Collection[str]) -> Iterator[Item]:
    path = at_home(Path(argument))
    if not argument:
        raise BadInputError("'': is no name; give the name of a file or folder")  # Path("") is the current folder
    if argument == "-":
        yield Item(None, Path("stdin"))
    elif is_folder(path):
        found = list_folder(path, suffixes)
        if not found.files:
            raise BadInputError(
                f"{path}: no file in this folder ends in any of {' '.join(sorted(suffixes))}; check the path"
            )
        if found.left_out.total:
            _log.warning("%s: %s", path, found.left_out)
        yield from (Item(file, file.relative_to(path)) for file in found.files)
    elif not os.path.lexists(path) and any(mark in str(path) for mark in "*?["):
        fixed = Path(*takewhile(lambda part: not any(mark in part for mark in "*?["), path.parts))
        pattern = path.relative_to(fixed)
        matches = sorted(
            match
            for match in fixed.glob(str(pattern))
            if not match.is_dir() and (is_hidden(pattern) or not is_hidden(match.relative_to(fixed)))
        )
        if not matches:
            raise BadInputError(f"{argument}: nothing matches; check the pattern")
        yield from (Item(match, Path(match.name)) for match in matches)
    else:
        yield Item(path, Path(path.name))


def pipe_video(write: Callable[[Path], None]) -> None:
    """Send a video file to standard output: it is finished by going back to its beginning, which a pipe cannot."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write(path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


class Outputs:
    """Where results go: beside their inputs, to one file, into a folder, or to standard output."""

    def __init__(self, target: str | None, *, many: bool, force: bool, resume: bool = False) -> None:
        """Raises UsageError or EnvironmentFaultError where `target` cannot take the results, before any work is done."""
        if target == "":
            raise UsageError("-o '': is no name; give the name of a file or folder")
        self.stdout = target == "-"
        self._force = force
        self._written: set[Path] = set()
        self._others: set[Path] = set()
        self._target = at_home(Path(target)) if target and not self.stdout else None
        self._folder = self._target is not None and (many or str(target).endswith("/") or is_folder(self._target))
        if self.stdout and many:
            raise UsageError("-o -: standard output takes the result of one input only; name a folder")
        if self.stdout and sys.__stdout__ is None:
            raise UsageError("-o -: standard output is closed; name a file")
        if self.stdout and sys.stdout.isatty():
            raise UsageError("-o -: standard output is a terminal; redirect it, or name a file")
        if self._target and self._folder and os.path.lexists(self._target) and not is_folder(self._target):
            why = "there are many results; name a folder" if many else "the name ends in '/'; leave that out"
            raise UsageError(f"{self._target}: is a file and {why}")
        if self._target and many and self._target.suffix.lower() in _FILES and not is_folder(self._target):
            raise UsageError(f"{self._target}: is the name of a file and there are many results; name a folder")
        if not resume:
            self.check()

    def check(self, results: int = 1) -> None:
        """Raises UsageError where a result would overwrite the file that was named, without --force, and
        EnvironmentFaultError where nothing can be written to it, or into the folder that was named.
        """
        if results and self._target and not self._folder and os.path.lexists(self._target) and not self._force:
            raise UsageError(f"{self._target}: exists already; choose another name, or --force to overwrite it")
        if results and self._target:
            check_writable(self._target, self._folder)

    def leave(self, path: Path) -> None:
        """Give no result this name, which something else is to have."""
        self._others.add(path.absolute())

    def is_named(self, path: Path) -> bool:
        """Whether the one result was asked to be this file."""
        return self._target is not None and not self._folder and self._target.absolute() == path.absolute()

    def suffix(self, default: str) -> str:
        """The suffix that the results will have."""
        return self._target.suffix if self._target and not self._folder else default

    def planned(self, item: Item, suffix: str) -> Path:
        """The file that this item's result would have were nothing there."""
        if self._target and not self._folder:
            return self._target
        place = self._target / item.place if self._target else item.path or item.place
        return place.with_name(fitting(place.stem, suffix))

    def path(self, item: Item, suffix: str) -> Path:
        """The file for this item's result; its folder is made. A name that was not asked for gets a number if taken."""
        path = self.planned(item, suffix)
        input_itself = item.path is not None and path.exists() and path.samefile(item.path)
        if self._target and not self._folder:
            if input_itself:
                raise UsageError(f"{path}: is the input itself; choose another name")
            self.check()  # --resume has found that it is another result
            return path
        if self._target:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(path.parent, error) from error
        # Two inputs of one name must not become one file, nor one its own input, whatever --force allows.
        if not self._force or path in self._written or path.absolute() in self._others or input_itself:
            planned, path = path, numbered(path)
            if path.absolute() in self._others:  # it has been claimed now, and the next one is another
                path = numbered(planned)
        self._written.add(path)
        return path
