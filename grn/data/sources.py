"""Where samples come from: folders, folders with captions, class folders and WebDataset tars; of pictures, or of clips.

A source is a sequence: it knows its length and gives any sample by number, so that a training run can shuffle with a permutation and
resume at an exact place. Tars are indexed once by their headers and read in place; nothing is ever extracted.
"""

import io
import json
import re
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from grn.data.archives import COMPRESSED, plain_tar
from grn.errors import BadInputError
from grn.files import display
from grn.media import READ_CLIP_SUFFIXES, READ_IMAGE_SUFFIXES, open_media, read_image

_SIDE_SUFFIXES = frozenset({".txt", ".cls", ".json"})
_MAX_SIDE_BYTES = 1 << 20  # captions and facts are short; a longer member is not one
_TAR_BLOCK = 512
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Sample:
    """One picture or clip with what is known of it. place: the file that holds it, and its key where that holds several."""

    key: str
    read: Callable[[], bytes] = field(repr=False)
    caption: str = ""
    label: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    def __str__(self) -> str:
        """What error messages call it."""
        return display(self.place or self.key)

    @property
    def captions(self) -> tuple[str, ...]:
        """All wordings of the caption: the list "captions" of the sample's JSON if it has one, else the caption."""
        return tuple(self.info.get("captions") or (self.caption,))

    def data(self) -> bytes:
        """The bytes of the file. BadInputError if they cannot be had."""
        try:
            return self.read()
        except OSError as error:
            raise BadInputError(f"{self}: cannot be read ({error.strerror or error}); restore the file") from error

    def image(self) -> np.ndarray:
        """The picture as uint8 RGB [H, W, 3], upright, alpha over white. BadInputError if it cannot be read."""
        data = self.data()
        try:
            return read_image(io.BytesIO(data))
        except BadInputError as error:
            raise self._bad(error) from error

    def clip(self, frames: int, fps: float | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """So many frames of the clip as uint8 RGB [frames, H, W, 3]. BadInputError if it cannot be read.

        fps: resampled to this rate by their times first. rng: from anywhere in the clip; None: from its beginning. A clip that is too
        short holds its last frame.
        """
        data = self.data()
        try:
            with open_media(io.BytesIO(data), fps=fps) as media:
                # Counted first, so that no more than is wanted of a long clip is ever in memory.
                start = 0 if rng is None else int(rng.integers(max(0, media.count_frames() - frames) + 1))
                found = list(media.part(start, frames))
        except BadInputError as error:
            raise self._bad(error) from error
        return np.stack(found + found[-1:] * (frames - len(found)))

    def size(self) -> tuple[int, int]:
        """(width, height), upright. BadInputError if it cannot be read."""
        data = self.data()
        try:
            with open_media(io.BytesIO(data)) as media:
                return media.width, media.height
        except BadInputError as error:
            raise self._bad(error) from error

    def _bad(self, error: BadInputError) -> BadInputError:
        # "-" is what the reader calls a stream.
        return BadInputError(f"{self}: {str(error).removeprefix('-: ')}")


class Source(Sequence[Sample]):
    """Samples in a fixed order, from one or many places."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = list(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return Source(self._samples[index]) if isinstance(index, slice) else self._samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def keep(self, **facts: Sequence[Any]) -> "Source":
        """The samples whose info has, for each named fact, one of the values given."""
        return Source([s for s in self if all(s.info.get(name) in values for name, values in facts.items())])


def open_source(path: Path | str, clips: bool = False) -> Source:
    """Open a folder, a WebDataset tar, or many of them: a folder of tars, `name-{000..012}.tar`, `name-*.tar`.

    A folder holds pictures at any depth, or with `clips` animations and videos; beside `name.png`, `name.txt` is its caption and `name.json`
    its facts. If all pictures lie in subfolders and none has a caption, the subfolders are classes, numbered in the order of their names.
    In a tar, the files of one key (their name up to its first dot) are a picture, and optionally its caption (.txt), class index (.cls) and
    facts (.json). Of the facts, "captions" is a list of wordings, and "caption" stands in for a missing .txt. Hidden files are left out.
    A compressed tar (.tgz, .tar.gz) is unpacked once, into the cache.

    Raises BadInputError where there is nothing, no picture, a damaged archive, or a caption or fact that cannot be read.
    """
    path = Path(path)
    suffixes, what = (READ_CLIP_SUFFIXES, "clips") if clips else (READ_IMAGE_SUFFIXES, "pictures")
    samples: list[Sample] = []
    if path.is_dir():
        shards = sorted(p for p in path.iterdir() if p.name.endswith((".tar", *COMPRESSED)) and _is_wanted(p.name))
        samples = _from_folder(path, suffixes) or _from_tars(shards, suffixes)
    elif path.is_file():
        samples = _from_tar(path, suffixes)
    else:
        shards = _shards(path)
        if not shards:
            raise BadInputError(f"{display(path)}: no such folder or tar; give a folder of {what} or a WebDataset .tar")
        samples = _from_tars(shards, suffixes)
    if not samples:
        raise BadInputError(f"{display(path)}: no {what} found (looked for {', '.join(sorted(suffixes))})")
    return Source(samples)


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


def _from_tars(paths: Sequence[Path], suffixes: Collection[str]) -> list[Sample]:
    return [sample for path in paths for sample in _from_tar(path, suffixes)]


def _is_wanted(name: str) -> bool:
    return not name.startswith(".")  # resource forks of another system, files that are still being written


def _from_folder(root: Path, suffixes: Collection[str]) -> list[Sample]:
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and _is_wanted(p.name) and p.is_file())
    samples = []
    for path in files:
        side = _read_sides({s: p for s in _SIDE_SUFFIXES if (p := path.with_suffix(s)).is_file()})
        samples.append(_sample(str(path.relative_to(root)), str(path), path.read_bytes, side))
    if all(path.parent != root for path in files) and not any(any(s.captions) for s in samples):
        names = [path.relative_to(root).parts[0] for path in files]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        return [
            replace(s, label=numbers[name]) if s.label is None else s for s, name in zip(samples, names, strict=True)
        ]
    return samples


def _read_sides(paths: Mapping[str, Path]) -> dict[str, bytes]:
    side = {}
    for suffix, path in paths.items():
        try:
            size, content = path.stat().st_size, b""
            if size <= _MAX_SIDE_BYTES:
                content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{display(path)}: cannot be read ({error.strerror or error}); restore it") from error
        _check_length(str(path), size)
        side[suffix] = content
    return side


def _check_length(name: str, size: int) -> None:
    if size > _MAX_SIDE_BYTES:
        raise BadInputError(
            f"{display(name)}: too long for a caption or facts (expected at most {_MAX_SIDE_BYTES} bytes, found {size}); shorten it"
        )


def _from_tar(path: Path, suffixes: Collection[str]) -> list[Sample]:
    groups: dict[str, dict[str, tarfile.TarInfo]] = {}
    plain = plain_tar(path)
    try:
        with tarfile.open(plain, "r:") as tar:
            for member in tar:
                _add_member(path, groups, member)
            end = tar.offset
        with plain.open("rb") as file:
            _check_end(path, file, end)
            found = (_tar_sample(path, file, key, files, suffixes) for key, files in groups.items())
            return [sample for sample in found if sample is not None]
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BadInputError(f"{display(path)}: not a readable tar ({error}); repack it uncompressed") from error
    except OSError as error:
        raise BadInputError(
            f"{display(path)}: cannot be read ({error.strerror or error}); restore the shard"
        ) from error


def _add_member(path: Path, groups: dict[str, dict[str, tarfile.TarInfo]], member: tarfile.TarInfo) -> None:
    folder, slash, name = member.name.rpartition("/")
    if not member.isreg() or not _is_wanted(name):
        return  # links and devices have no place in a shard and are never followed
    if member.issparse() or member.size < 0:
        raise BadInputError(
            f"{display(path)}: {display(member.name)} is not stored whole; repack the shard with plain files"
        )
    stem, dot, extension = name.partition(".")
    key, suffix = folder + slash + stem, (dot + extension).lower()
    if suffix in groups.setdefault(key, {}):
        raise BadInputError(f"{display(path)}: key {key!r} has two files {suffix}; repack the shard with unique keys")
    groups[key][suffix] = member


def _check_end(path: Path, file: io.BufferedReader, end: int) -> None:
    """tarfile takes an archive that was cut between two members, or has a damaged header in its middle, for complete."""
    file.seek(end)
    mark = file.read(_TAR_BLOCK)
    if len(mark) < _TAR_BLOCK:
        raise BadInputError(f"{display(path)}: cut off at byte {file.tell()} (no end mark); copy the shard again")
    if any(mark):
        raise BadInputError(
            f"{display(path)}: damaged at byte {end} (expected a header or the end mark); copy the shard again"
        )


def _tar_sample(
    path: Path, file: io.BufferedReader, key: str, members: Mapping[str, tarfile.TarInfo], suffixes: Collection[str]
) -> Sample | None:
    image = next((m for suffix, m in members.items() if suffix in suffixes), None)
    if image is None:
        dotted = next((m.name for suffix, m in members.items() if Path(suffix).suffix in suffixes), None)
        if dotted is not None:
            raise BadInputError(
                f"{display(path)}: {display(dotted)} is no picture of key {key!r}, which ends at the first dot; "
                "repack the shard with one dot in a name"
            )
        return None
    side = {}
    for suffix in _SIDE_SUFFIXES & members.keys():
        _check_length(f"{path}: {key}{suffix}", members[suffix].size)
        file.seek(members[suffix].offset_data)
        side[suffix] = file.read(members[suffix].size)
    return _sample(key, f"{path}: {key}", _Slice(Path(file.name), image.offset_data, image.size), side)


@dataclass(frozen=True)
class _Slice:
    """Reads some bytes of a file; unlike a closure it can be sent to a worker process."""

    path: Path
    offset: int
    size: int

    def __call__(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def _sample(key: str, place: str, read: Callable[[], bytes], side: Mapping[str, bytes]) -> Sample:
    try:
        info = json.loads(side.get(".json", b"{}"))
        if not isinstance(info, dict):
            raise ValueError(f"the JSON holds a {type(info).__name__} (expected an object)")
        captions = info.get("captions", [])
        if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
            raise ValueError('"captions" of the JSON must be a list of strings')
        caption = side.get(".txt", b"").decode("utf-8-sig").strip() or info.get("caption", "")
        if not isinstance(caption, str):
            raise ValueError('"caption" of the JSON must be a string')
        label = int(side[".cls"]) if ".cls" in side else None
        if label is not None and label < 0:
            raise ValueError(f"class {label} is below 0")
        return Sample(key, read, caption, label, info, place)
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            f"{display(place)}: unreadable caption, class or facts ({error}); repair or remove it"
        ) from error
