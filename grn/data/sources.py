"""Where samples come from: folders, folders with captions, class folders and WebDataset tars.

A source is a sequence: it knows its length and gives any sample by number, so that a training run can shuffle with a permutation and
resume at an exact place. Tars are indexed once by their headers and read in place; nothing is ever extracted.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grn.errors import BadInputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_SIDE_SUFFIXES = frozenset({".txt", ".cls", ".json"})
_MAX_SIDE_BYTES = 1 << 20  # captions and facts are short; a longer member is not one


@dataclass(frozen=True)
class Sample:
    """One picture with what is known of it."""

    key: str
    read: Callable[[], bytes] = field(repr=False)
    caption: str = ""
    label: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def captions(self) -> tuple[str, ...]:
        """All wordings of the caption: the list "captions" of the sample's JSON if it has one, else the caption."""
        return tuple(self.info.get("captions") or (self.caption,))

    def image(self) -> np.ndarray:
        """The picture as uint8 RGB [H, W, 3], upright, alpha over white. BadInputError if it cannot be read."""
        from grn.media import read_image

        try:
            return read_image(io.BytesIO(self.read()))
        except BadInputError as error:
            raise BadInputError(f"{self.key}: {error}") from error


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


def open_source(path: Path | str) -> Source:
    """Open a folder or a WebDataset tar.

    A folder holds pictures at any depth; `name.txt` beside `name.png` is its caption. If all pictures lie in subfolders and none has a
    caption, the subfolders are classes, numbered in the order of their names. In a tar, the files of one key are a picture, and
    optionally its caption (.txt), class index (.cls) and facts (.json).

    Raises BadInputError where there is nothing, no picture, or a damaged archive.
    """
    path = Path(path)
    if path.is_dir():
        samples = _from_folder(path)
    elif path.is_file():
        samples = _from_tar(path)
    else:
        raise BadInputError(f"{path}: no such folder or tar; give a folder of pictures or a WebDataset .tar")
    if not samples:
        raise BadInputError(f"{path}: no pictures found (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    return Source(samples)


def _from_folder(root: Path) -> list[Sample]:
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    sides = [_read_sides({s: p.with_suffix(s) for s in _SIDE_SUFFIXES if p.with_suffix(s).is_file()}) for p in files]
    classes: dict[str, int] = {}
    if all(p.parent != root for p in files) and not any(side.get(".txt") for side in sides):
        names = sorted({p.relative_to(root).parts[0] for p in files})
        classes = {name: number for number, name in enumerate(names)}
    samples = []
    for path, side in zip(files, sides, strict=True):
        name = path.relative_to(root)
        label = classes.get(name.parts[0])
        samples.append(_sample(str(name), path.read_bytes, side, label))
    return samples


def _read_sides(paths: Mapping[str, Path]) -> dict[str, bytes]:
    for path in paths.values():
        if path.stat().st_size > _MAX_SIDE_BYTES:
            raise BadInputError(f"{path}: too long for a caption or facts (limit {_MAX_SIDE_BYTES} bytes)")
    return {suffix: path.read_bytes() for suffix, path in paths.items()}


def _from_tar(path: Path) -> list[Sample]:
    groups: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue  # links and devices have no place in a shard and are never followed
                key, dot, extension = member.name.rpartition(".")
                suffix = (dot + extension).lower()
                if suffix in groups.setdefault(key, {}):
                    raise BadInputError(
                        f"{path}: key {key!r} has two files {suffix}; repack the shard with unique keys"
                    )
                groups[key][suffix] = member
            _check_end(path, tar)
        with path.open("rb") as file:
            return [sample for key, files in groups.items() if (sample := _tar_sample(path, file, key, files))]
    except (tarfile.TarError, EOFError) as error:
        raise BadInputError(f"{path}: not a readable tar ({error}); repack it uncompressed") from error


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """tarfile takes an archive that was cut between two members for complete; the end mark tells."""
    members = tar.getmembers()
    end = 0 if not members else members[-1].offset_data + (members[-1].size + 511) // 512 * 512
    if path.stat().st_size < end + 512:
        raise BadInputError(f"{path}: cut off at byte {path.stat().st_size} (no end mark); copy the shard again")


def _tar_sample(path: Path, file: io.BufferedReader, key: str, members: Mapping[str, tarfile.TarInfo]) -> Sample | None:
    image = next((m for suffix, m in members.items() if suffix in IMAGE_SUFFIXES), None)
    if image is None:
        return None
    side = {}
    for suffix in _SIDE_SUFFIXES & members.keys():
        if members[suffix].size > _MAX_SIDE_BYTES:
            raise BadInputError(
                f"{path}: {key}{suffix} is too long for a caption or facts (limit {_MAX_SIDE_BYTES} bytes)"
            )
        file.seek(members[suffix].offset_data)
        side[suffix] = file.read(members[suffix].size)
    return _sample(key, _Slice(path, image.offset_data, image.size), side, None)


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


def _sample(key: str, read: Callable[[], bytes], side: Mapping[str, bytes], label: int | None) -> Sample:
    try:
        info = json.loads(side.get(".json", b"{}"))
        if not isinstance(info, dict):
            raise ValueError(f"the JSON holds a {type(info).__name__} (expected an object)")
        if ".cls" in side:
            label = int(side[".cls"])
        return Sample(key, read, side.get(".txt", b"").decode().strip(), label, info)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{key}: unreadable caption, class or facts ({error})") from error
