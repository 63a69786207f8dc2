"""WebDataset tars: indexed once by their headers and read in place; nothing is ever extracted.

The files of one key (their name up to its first dot) are a picture, and optionally its caption, class number and facts.
"""

import io
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grn.data.archives import plain_tar
from grn.data.index import Entry, Index, index_of
from grn.data.listing import LeftOut, Reason, is_hidden
from grn.data.samples import FilePart
from grn.data.sides import BESIDE_CODES, SIDE_SUFFIXES, Facts, check_length, read_sides
from grn.errors import BadInputError
from grn.files import display
from grn.media.suffixes import suffix_of

_BLOCK = tarfile.BLOCKSIZE
_READ_AHEAD = 1 << 16


@dataclass(frozen=True)
class _Member:
    """Where the bytes of a file are in a tar."""

    name: str
    offset: int
    size: int


_Groups = dict[str, dict[str, _Member]]


def index_tar(path: Path, suffixes: Collection[str]) -> Index:
    """The index of a tar: its pictures in their order, and what was left out.

    Of tars that were joined end to end, all are read. Raises BadInputError for a damaged archive, for a member that is
    not stored whole and for two files of one key and suffix.
    """
    plain = plain_tar(path)
    try:
        status = plain.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, sorted(suffixes))
    return index_of(
        f"tar {path} {plain.absolute()} {facts}",
        status.st_mtime,
        lambda left: _entries(path, plain, suffixes, left),
        plain,
    )


def _entries(path: Path, plain: Path, suffixes: Collection[str], left_out: LeftOut) -> Iterator[Entry]:
    try:
        with plain.open("rb") as file:
            for groups in _archives(path, file, left_out):
                for key, members in groups.items():
                    entry = _entry(path, plain, file, key, members, suffixes, left_out)
                    if entry is not None:
                        yield entry
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BadInputError(f"{display(path)}: not a readable tar ({error}); repack it uncompressed") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{display(path)}: cannot be read ({error.strerror or error}); restore the shard")


def _archives(path: Path, file: io.BufferedReader, left_out: LeftOut) -> Iterator[_Groups]:
    """The files by key and suffix, of every archive that was joined into this file."""
    start: int | None = 0
    while start is not None:
        file.seek(start)
        groups: _Groups = {}
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a million members are not kept twice
                _add(path, groups, member, left_out)
            end = tar.offset
        start = _next_archive(path, file, end)
        yield groups


def _add(path: Path, groups: _Groups, member: tarfile.TarInfo, left_out: LeftOut) -> None:
    if member.isdir():
        return
    if is_hidden(member.name):
        left_out.add(Reason.HIDDEN)
        return
    if not member.isreg():
        # Never followed: they may lead out of the archive.
        left_out.add(Reason.LINK if member.islnk() or member.issym() else Reason.SPECIAL)
        return
    if member.issparse() or member.size < 0:
        raise BadInputError(
            f"{display(path)}: {display(member.name)} is not stored whole; repack the shard with plain files"
        )
    folder, slash, name = member.name.rpartition("/")
    stem, dot, extension = name.partition(".")
    key, suffix = (folder + slash + stem).removeprefix("./"), (dot + extension).lower()
    if suffix in groups.setdefault(key, {}):
        raise BadInputError(
            f"{display(path)}: key {key!r} has two files {display(suffix)}; repack the shard with unique keys"
        )
    groups[key][suffix] = _Member(member.name, member.offset_data, member.size)


def _next_archive(path: Path, file: io.BufferedReader, end: int) -> int | None:
    """Where the next archive begins behind the end mark, or None where there is none.

    tarfile takes an archive that was cut between two members, or has a damaged header in its middle, for complete:
    without an end mark it is refused here.
    """
    file.seek(end)
    mark = file.read(_BLOCK)
    if len(mark) < _BLOCK:
        raise BadInputError(f"{display(path)}: cut off at byte {file.tell()} (no end mark); copy the shard again")
    if any(mark):
        raise BadInputError(
            f"{display(path)}: damaged at byte {end} (expected a header or the end mark); copy the shard again"
        )
    at = end + _BLOCK
    while block := file.read(_READ_AHEAD):
        if any(block):
            at += (len(block) - len(block.lstrip(b"\0"))) // _BLOCK * _BLOCK
            return _checked(path, file, at)
        at += len(block)
    return None


def _checked(path: Path, file: io.BufferedReader, at: int) -> int:
    """A place that a header stands at. Raises BadInputError for one where it does not."""
    file.seek(at)
    try:
        tarfile.TarInfo.frombuf(file.read(_BLOCK), tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError as error:
        raise BadInputError(
            f"{display(path)}: holds something else behind its end mark, at byte {at} ({error}); copy the shard again"
        ) from error
    return at


def _entry(
    path: Path,
    plain: Path,
    file: io.BufferedReader,
    key: str,
    members: Mapping[str, _Member],
    suffixes: Collection[str],
    left_out: LeftOut,
) -> Entry | None:
    pictures = [suffix for suffix in members if suffix in suffixes]
    if not pictures:
        _refuse_dotted(path, key, members, suffixes)
    for suffix, member in members.items():
        if suffix in SIDE_SUFFIXES and not pictures:
            left_out.add(Reason.ALONE)
        elif suffix in pictures[1:]:
            left_out.add(Reason.SECOND)
        elif suffix not in SIDE_SUFFIXES and suffix not in suffixes and not (pictures and suffix in BESIDE_CODES):
            left_out.add(Reason.OTHER_KIND, member.name)
    if not pictures:
        return None
    facts, fault = Facts(), ""
    try:
        sides = {}
        for suffix in SIDE_SUFFIXES & members.keys():
            check_length(f"{path}: {key}{suffix}", members[suffix].size)
            file.seek(members[suffix].offset)
            sides[suffix] = file.read(members[suffix].size)
        facts = read_sides(f"{path}: {key}", sides)
    except BadInputError as error:
        fault = str(error)
    picture, *more = (
        FilePart(plain, members[suffix].offset, members[suffix].size)
        for suffix in (pictures[0], *sorted(BESIDE_CODES & members.keys()))
    )
    return Entry(
        key,
        picture,
        f"{path}: {key}",
        facts.caption,
        facts.label,
        facts.info,
        dict(zip(sorted(BESIDE_CODES & members.keys()), more, strict=True)),
        tuple(part for part in key.split("/")[:-1] if part not in ("", "."))[:2],
        fault,
    )


def _refuse_dotted(path: Path, key: str, members: Mapping[str, _Member], suffixes: Collection[str]) -> None:
    dotted = next((member.name for suffix, member in members.items() if suffix_of(suffix) in suffixes), None)
    if dotted is not None:
        raise BadInputError(
            f"{display(path)}: {display(dotted)} is no picture of key {key!r}, which ends at the first dot; "
            "repack the shard with one dot in a name"
        )
