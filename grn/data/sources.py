"""Where samples come from: folders, folders with captions, class folders, lists and WebDataset tars; of pictures, or of clips.

A source is a sequence: it knows its length and gives any sample by number, so that a training run can shuffle with a
permutation and resume at an exact place. What it knows of its samples is in indices on disk (`grn.data.index`): memory does
not grow with their number.
"""

import glob
import hashlib
import logging
import math
import random
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, product, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from grn.data.archives import COMPRESSED
from grn.data.index import Entry, Index, index_of
from grn.data.lines import index_lines
from grn.data.listing import LeftOut, Listing, Sides, is_hidden, list_folder
from grn.data.remote import fetched, is_url
from grn.data.samples import FilePart, Sample
from grn.data.sides import SIDE_SUFFIXES, Facts, check_length, read_sides
from grn.data.tables import PREFIX, Table, is_saved, open_table
from grn.data.tars import index_tar
from grn.errors import BadInputError
from grn.files import display, is_file, is_folder
from grn.media import READ_CLIP_SUFFIXES, READ_IMAGE_SUFFIXES
from grn.media.suffixes import suffix_of

_BRACES = re.compile(r"\{(?:\d{1,9}\.\.\d{1,9}|[\w.-]+(?:,[\w.-]+)+)\}")
_MAX_SHARDS = 100_000
_METADATA = "metadata.jsonl"
CODES_SUFFIXES = (".npz",)
logger = logging.getLogger("grn.data")


class Source(Sequence[Sample]):
    """Samples in a fixed order, from one or many places.

    classes: the names of class folders by number; empty where classes have no names. left_out: which files of the place
    did not count.
    """

    def __init__(self, samples: Sequence[Sample], classes: Sequence[str] = (), left_out: LeftOut | None = None) -> None:
        self._samples = samples
        self.classes = tuple(classes)
        self.left_out = left_out or LeftOut()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._samples[index]
        base, numbers = self._base()
        return Source(_Chosen(base, numbers[index]), self.classes)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def parts(self, most: int) -> "list[Source]":
        """The samples in parts of at most `most`, none of which reaches over the end of a tar or list."""
        ends = self._samples.ends if isinstance(self._samples, _Indexed) else [len(self)]
        starts = [n for start, end in zip([0, *ends], ends, strict=False) for n in range(start, end, most)]
        return [self[start:end] for start, end in zip(starts, [*starts[1:], len(self)], strict=True)]

    def identity(self) -> str:
        """A digest of the samples: of their bytes, or of files' names, sizes and times.

        A tar is hashed once; the files that a list names are taken to be as they were while the list is.
        """
        base, numbers = self._base()
        if isinstance(base, _Indexed | Table):
            found = base.identity(numbers)
        else:
            found = " ".join(hashlib.sha256(sample.data()).hexdigest() for sample in self)
        return hashlib.blake2b(found.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def labels(self) -> np.ndarray:
        """The class of each sample, int32 [N]; -1: it has none."""
        if isinstance(self._samples, _Indexed | Table):
            return self._samples.labels()
        return np.fromiter((-1 if s.label is None else s.label for s in self), np.int32, len(self))

    def captioned(self) -> np.ndarray:
        """Whether each sample has a caption, bool [N]."""
        if isinstance(self._samples, _Indexed | Table):
            return self._samples.captioned()
        return np.fromiter((any(sample.captions) for sample in self), bool, len(self))

    def keep(self, **facts: Sequence[Any]) -> "Source":
        """The samples whose info has, for each named fact, one of the values given."""
        if not facts:
            return self
        base, numbers = self._base()
        kept = (
            n for n, s in zip(numbers, self, strict=True) if all(s.info.get(name) in ok for name, ok in facts.items())
        )
        return Source(_Chosen(base, np.fromiter(kept, np.int64)), self.classes, self.left_out)

    @property
    def faults(self) -> int:
        """How many samples are known to be unreadable before they are read, of a place that was opened as a whole."""
        return self._samples.faults if isinstance(self._samples, _Indexed) else 0

    def _base(self) -> "tuple[Sequence[Sample], range | np.ndarray]":
        """The samples that these are chosen from, and their numbers."""
        if isinstance(self._samples, _Chosen):
            return self._samples.base, self._samples.numbers
        return self._samples, range(len(self))


class _Chosen(Sequence[Sample]):
    """Some of other samples, by their numbers."""

    def __init__(self, base: Sequence[Sample], numbers: "range | np.ndarray") -> None:
        self.base, self.numbers = base, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.base[int(self.numbers[index])]


class _Indexed(Sequence[Sample]):
    """The samples of several indices, one behind the other. tables: for each, the classes that its folders stand for."""

    def __init__(self, indices: Sequence[Index], tables: Sequence[np.ndarray] | None = None) -> None:
        self._indices, self._tables = indices, tables
        self.ends = list(accumulate(len(index) for index in indices))
        self.faults = sum(index.faults for index in indices)

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: Any) -> Any:
        number = range(len(self))[index]
        which = bisect_right(self.ends, number)
        start = self.ends[which - 1] if which else 0
        sample, folder = self._indices[which].sample(number - start)
        if sample.label is None and self._tables is not None:
            return replace(sample, label=int(self._tables[which][folder]))
        return sample

    def identity(self, numbers: "range | np.ndarray") -> str:
        """What the samples of these numbers follow from, the same wherever their index stands among others."""
        if not len(numbers):
            return ""
        first, last = (bisect_right(self.ends, int(number)) for number in (min(numbers), max(numbers)))
        inside = np.array(numbers) - (self.ends[first - 1] if first else 0)
        places = " ".join(index.identity() for index in self._indices[first : last + 1])
        return f"{places} {hashlib.sha256(inside.tobytes()).hexdigest()}"

    def column(self, name: str) -> np.ndarray:
        """One field of all rows."""
        return np.concatenate([index.rows()[name] for index in self._indices])

    def captioned(self) -> np.ndarray:
        """As `Source.captioned`."""
        return self.column("captions") > 0

    def labels(self) -> np.ndarray:
        """As `Source.labels`."""
        found = self.column("label")
        if self._tables is None:
            return found
        folders = [table[index.rows()["folder"]] for index, table in zip(self._indices, self._tables, strict=True)]
        return np.where(found < 0, np.concatenate(folders), found)


def open_codes(paths: Sequence[Path]) -> Source:
    """The samples of tars that `grn.data.shards` has made. Raises BadInputError for one that cannot be read."""
    return _from_files(paths, CODES_SUFFIXES)


def open_source(path: Path | str, clips: bool = False, codes: bool = False) -> Source:
    """Open a folder, a WebDataset tar, a list, or many of them: a folder of tars, `{train,val}-{000..012}.tar`, `*/name-*.tar`.

    A folder holds pictures at any depth, or with `clips` animations and videos; beside `name.png`, `name.txt` is its
    caption, `name.cls` its class number and `name.json` its facts. In a tar, the files of one key (their name up to its
    first dot) belong together in the same way. Of the facts, "captions" is a list of wordings, and "caption" stands in
    for a missing .txt. If all pictures lie in subfolders and none has a caption, the subfolders are classes, numbered
    in the order of their names. What counts as a picture is told in `grn.data.listing`. A compressed tar (.tgz,
    .tar.gz) is unpacked once, into the cache. How many files were left out, and why, is logged and stays in the
    source's `left_out`. A sample whose caption, class or facts cannot be understood is one that cannot be read.

    A folder with a metadata.jsonl holds what that lists, and .jsonl files are lists themselves (`grn.data.lines`), as is a
    folder of nothing else. Tars may be URLs (`grn.data.remote`). A folder that the `datasets` library has saved, or
    "datasets:NAME:SPLIT" of the hub, are its rows (`grn.data.tables`). codes: tars of tokenized data (`grn.data.shards`).

    Raises BadInputError where there is nothing, no picture, none that can be read, or a damaged archive.
    """
    suffixes: Collection[str]
    suffixes, what = (READ_CLIP_SUFFIXES, "clips") if clips else (READ_IMAGE_SUFFIXES, "pictures")
    if codes:
        suffixes, what = CODES_SUFFIXES, "codes"
    if str(path).startswith(PREFIX) or is_saved(Path(path)):
        table = open_table(str(path))
        return Source(table, table.classes)
    if is_url(str(path)):
        urls = _expanded(str(path))
        source = _from_files([fetched(url, lambda copy: index_tar(copy, suffixes)) for url in urls], suffixes)
    elif is_folder(Path(path)):
        source = _in_folder(Path(path), suffixes)
    else:
        path = Path(path)
        found = [path] if is_file(path) else _shards(path)
        if not found:
            raise BadInputError(
                f"{display(path)}: no such folder or tar; give a folder of {what}, a WebDataset .tar or a .jsonl list"
            )
        source = _from_files(found, suffixes)
    if not len(source):
        found_else = f"; {source.left_out}" if source.left_out.total else ""
        raise BadInputError(f"{display(path)}: no {what} found (looked for {', '.join(sorted(suffixes))}{found_else})")
    if source.left_out.total:
        logger.warning("%s: %s", display(path), source.left_out)
    if source.faults == len(source):
        source[0].data()  # says what is wrong with it
    return source


def _in_folder(path: Path, suffixes: Collection[str]) -> Source:
    if (path / _METADATA).is_file():
        return _from_files([path / _METADATA], suffixes)
    source = _from_folder(path, suffixes)
    for ends in ((".tar", *COMPRESSED), (".jsonl",)):
        files = [] if len(source) else list_folder(path, {suffix_of(f"x{end}") for end in ends}).files
        if files := [one for one in files if one.name.lower().endswith(ends)]:
            return _from_files(files, suffixes)
    return source


def _shards(path: Path) -> list[Path]:
    """The files that a path with braces or wildcards stands for; none if it has neither."""
    names = _expanded(str(path))
    if not glob.has_magic(str(path)):
        return [Path(name) for name in names] if names != [str(path)] else []
    return [found for name in names for found in _matching(Path(name))]


def _matching(pattern: Path) -> list[Path]:
    """What a pattern stands for, sorted; nothing hidden, and for ** nothing behind links, which may lead in a circle."""
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    try:
        found = [one for one in fixed.glob(str(pattern.relative_to(fixed))) if not is_hidden(one.relative_to(fixed))]
    except (OSError, ValueError) as error:
        raise BadInputError(f"{display(pattern)}: cannot be looked for ({display(str(error))}); change it") from error
    return sorted(found)


def _expanded(text: str) -> list[str]:
    """With every {000..012} and {a,b} spelt out, the last one fastest. Raises BadInputError for none or too many."""
    choices: list[Sequence[str | int]] = []
    widths = []
    for brace in _BRACES.findall(text):
        first, _, last = brace[1:-1].partition("..")
        choices.append(brace[1:-1].split(",") if "," in brace else range(int(first), int(last) + 1))
        widths.append(len(first))
    if not 1 <= (count := math.prod(map(len, choices))) <= _MAX_SHARDS:
        raise BadInputError(f"{display(text)}: stands for {count} shards (expected 1 to {_MAX_SHARDS})")
    between, found = _BRACES.split(text), []
    for chosen in product(*choices):
        spelt = (f"{one:0{width}d}" if isinstance(one, int) else one for one, width in zip(chosen, widths, strict=True))
        found.append("".join(part for pair in zip(between, (*spelt, ""), strict=True) for part in pair))
    return found


def _from_files(paths: Sequence[Path], suffixes: Collection[str]) -> Source:
    """Of tars or lists."""
    # Several processes that start together each go through them in an order of their own, and find what others have indexed.
    found = {
        path: (index_lines if path.name.lower().endswith(".jsonl") else index_tar)(path, suffixes)
        for path in random.Random().sample(paths, len(paths))
    }
    return _of_indices([found[path] for path in paths], packed=True)


def _from_folder(root: Path, suffixes: Collection[str]) -> Source:
    listing = list_folder(root, suffixes, SIDE_SUFFIXES)
    facts, newest = listing.facts()
    key = f"folder {root} {root.absolute()} {sorted(suffixes)} {facts}"
    return _of_indices([index_of(key, newest, lambda left: _entries(root, listing, left))])


def _entries(root: Path, listing: Listing, left_out: LeftOut) -> Iterator[Entry]:
    left_out.update(listing.left_out)
    for path in listing.files:
        inside = path.relative_to(root)
        facts, fault = Facts(), ""
        try:
            facts = read_sides(str(path), _read_sides(listing.beside(path)))
        except BadInputError as error:
            fault = str(error)
        folders = inside.parts[:-1][:2]
        yield Entry(str(inside), FilePart(path), str(path), facts.caption, facts.label, facts.info, {}, folders, fault)


def _of_indices(indices: Sequence[Index], packed: bool = False) -> Source:
    """Folders are classes where every sample lies in one and none has a caption.

    packed: a folder that was packed as a whole has its own name before all others, which is no class.
    """
    left_out = LeftOut()
    for index in indices:
        left_out.update(index.left_out)
    folders = [index.folders for index in indices]
    found = [parts for index, parts in zip(indices, folders, strict=True) if len(index)]
    tops = {parts[:1] for several in found for parts in several}
    first = int(packed and len(tops) == 1)
    if not all(found) or not all(len(parts) > first for several in found for parts in several):
        return Source(_Indexed(indices), (), left_out)
    names = sorted({parts[first] for several in found for parts in several})
    numbers = {name: number for number, name in enumerate(names)}
    tables = [np.array([numbers[parts[first]] for parts in several], np.int32) for several in folders]
    named = all(bool((index.rows()["label"] < 0).all()) for index in indices)  # a .cls may mean anything by its number
    return Source(_Indexed(indices, tables), names if named else (), left_out)


def _read_sides(paths: Sides) -> dict[str, bytes]:
    sides = {}
    for suffix, path in paths.items():
        try:
            check_length(str(path), path.stat().st_size)
            sides[suffix] = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{display(path)}: cannot be read ({error.strerror or error}); restore it") from error
    return sides
