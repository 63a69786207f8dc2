"""Where samples come from: folders, folders with captions, class folders and WebDataset tars; of pictures, or of clips.

A source is a sequence: it knows its length and gives any sample by number, so that a training run can shuffle with a
permutation and resume at an exact place.
"""

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from grn.data.archives import COMPRESSED
from grn.data.listing import LeftOut, Sides, is_hidden, list_folder
from grn.data.samples import FilePart, Sample
from grn.data.sides import SIDE_SUFFIXES, check_length, make_sample
from grn.data.tars import samples_of_tar
from grn.errors import BadInputError
from grn.files import display
from grn.media import READ_CLIP_SUFFIXES, READ_IMAGE_SUFFIXES

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS = 100_000
logger = logging.getLogger("grn.data")


class Source(Sequence[Sample]):
    """Samples in a fixed order, from one or many places.

    classes: the names of class folders by number; empty where classes have no names. left_out: which files of the place
    did not count.
    """

    def __init__(self, samples: Sequence[Sample], classes: Sequence[str] = (), left_out: LeftOut | None = None) -> None:
        self._samples = list(samples)
        self.classes = tuple(classes)
        self.left_out = left_out or LeftOut()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return Source(self._samples[index], self.classes) if isinstance(index, slice) else self._samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    @property
    def without_caption(self) -> int:
        """How many samples have no caption though others have; 0 where none has any."""
        without = sum(not any(sample.captions) for sample in self._samples)
        return 0 if without == len(self._samples) else without

    def keep(self, **facts: Sequence[Any]) -> "Source":
        """The samples whose info has, for each named fact, one of the values given."""
        kept = [s for s in self if all(s.info.get(name) in values for name, values in facts.items())]
        return Source(kept, self.classes, self.left_out)


def open_source(path: Path | str, clips: bool = False) -> Source:
    """Open a folder, a WebDataset tar, or many of them: a folder of tars, `name-{000..012}.tar`, `name-*.tar`.

    A folder holds pictures at any depth, or with `clips` animations and videos; beside `name.png`, `name.txt` is its
    caption, `name.cls` its class number and `name.json` its facts. In a tar, the files of one key (their name up to its
    first dot) belong together in the same way. Of the facts, "captions" is a list of wordings, and "caption" stands in
    for a missing .txt. If all pictures lie in subfolders and none has a caption, the subfolders are classes, numbered
    in the order of their names. What counts as a picture is told in `grn.data.listing`. A compressed tar (.tgz,
    .tar.gz) is unpacked once, into the cache. How many files were left out, and why, is logged and stays in the
    source's `left_out`.

    Raises BadInputError where there is nothing, no picture, a damaged archive, or a caption or fact that cannot be
    read.
    """
    path = Path(path)
    suffixes, what = (READ_CLIP_SUFFIXES, "clips") if clips else (READ_IMAGE_SUFFIXES, "pictures")
    if path.is_dir():
        source = _from_folder(path, suffixes)
        shards = sorted(p for p in path.iterdir() if _is_tar(p.name))
        if not len(source) and shards:
            source = _from_tars(shards, suffixes)
    elif path.is_file():
        source = _from_tars([path], suffixes)
    else:
        shards = _shards(path)
        if not shards:
            raise BadInputError(f"{display(path)}: no such folder or tar; give a folder of {what} or a WebDataset .tar")
        source = _from_tars(shards, suffixes)
    if not len(source):
        found = f"; {source.left_out}" if source.left_out.total else ""
        raise BadInputError(f"{display(path)}: no {what} found (looked for {', '.join(sorted(suffixes))}{found})")
    if source.left_out.total:
        logger.warning("%s: %s", display(path), source.left_out)
    return source


def _is_tar(name: str) -> bool:
    return name.lower().endswith((".tar", *COMPRESSED)) and not is_hidden(name)


def _shards(path: Path) -> list[Path]:
    """The tars that a name with a range {000..012} or a wildcard stands for; none if it has neither."""
    found = _RANGE.search(path.name)
    if found:
        first, last = int(found[1]), int(found[2])
        if not first <= last < first + _MAX_SHARDS:
            raise BadInputError(f"{display(path)}: range {found[0]} does not count up to at most {_MAX_SHARDS} shards")
        width = len(found[1])
        start, end = path.name[: found.start()], path.name[found.end() :]
        return [path.with_name(f"{start}{number:0{width}d}{end}") for number in range(first, last + 1)]
    return sorted(path.parent.glob(path.name)) if "*" in path.name else []


def _from_tars(paths: Sequence[Path], suffixes: Collection[str]) -> Source:
    samples: list[Sample] = []
    left_out = LeftOut()
    for path in paths:
        found, others = samples_of_tar(path, suffixes)
        samples += found
        left_out.update(others)
    folders = [PurePosixPath(sample.key).parent.parts for sample in samples]
    # A folder packed as a whole has its own name before all others.
    if folders and folders[0] and all(parts[:1] == folders[0][:1] for parts in folders):
        folders = [parts[1:] for parts in folders]
    return _with_classes(samples, folders, left_out)


def _from_folder(root: Path, suffixes: Collection[str]) -> Source:
    listing = list_folder(root, suffixes, SIDE_SUFFIXES)
    samples = []
    for path in listing.files:
        key = str(path.relative_to(root))
        samples.append(make_sample(key, str(path), FilePart(path), _read_sides(listing.beside(path))))
    return _with_classes(samples, [path.relative_to(root).parts[:-1] for path in listing.files], listing.left_out)


def _with_classes(samples: list[Sample], folders: Sequence[tuple[str, ...]], left_out: LeftOut) -> Source:
    """folders: those that each sample lies in, outermost first; they are classes where all have one and no sample a
    caption.
    """
    if not all(folders) or any(any(sample.captions) for sample in samples):
        return Source(samples, (), left_out)
    names = sorted({parts[0] for parts in folders})
    numbers = {name: number for number, name in enumerate(names)}
    labelled = [
        replace(sample, label=numbers[parts[0]]) if sample.label is None else sample
        for sample, parts in zip(samples, folders, strict=True)
    ]
    named = all(sample.label is None for sample in samples)  # a .cls may mean anything by its number
    return Source(labelled, names if named else (), left_out)


def _read_sides(paths: Sides) -> dict[str, bytes]:
    sides = {}
    for suffix, path in paths.items():
        try:
            check_length(str(path), path.stat().st_size)
            sides[suffix] = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{display(path)}: cannot be read ({error.strerror or error}); restore it") from error
    return sides
