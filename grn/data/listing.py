"""Which files of a folder or a tar count: one rule for every command and every kind of place.

Names count in any case of letters. Hidden files and folders (their name begins with a dot) do not count, which leaves
out resource forks of another system (`._x.png`), check-points of notebooks and files that are still being written. In a
folder, links to files and folders are followed; in a tar they are not. What does not count is counted, by reason.
"""

import enum
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from grn.errors import BadInputError
from grn.files import display
from grn.media.suffixes import suffix_of

_MOST_LINKS = (
    4  # links to folders on the way to a file: folders that link to each other would be gone through without end
)
_MOST_SUFFIXES = 5  # that are named in one line


class Reason(enum.Enum):
    """Why something does not count, as it is said of several."""

    HIDDEN = "hidden"
    OTHER_KIND = "of other kinds"
    LOST_LINK = "links that lead nowhere or in a circle"
    LINK = "links inside a tar"
    SPECIAL = "neither files nor folders"
    ALONE = "captions, classes or facts without a picture"
    SECOND = "further pictures of one key"


@dataclass
class LeftOut:
    """How many files or folders did not count, by reason; of other kinds, by suffix too."""

    reasons: Counter[Reason] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)

    def add(self, reason: Reason, name: str | PurePath = "") -> None:
        """Count one more."""
        self.reasons[reason] += 1
        if reason is Reason.OTHER_KIND:
            self.suffixes[suffix_of(name) or "no suffix"] += 1

    def update(self, other: "LeftOut") -> None:
        """Take in what was left out elsewhere."""
        self.reasons.update(other.reasons)
        self.suffixes.update(other.suffixes)

    def counts(self) -> list[dict[str, int]]:
        """As JSON."""
        return [{reason.name: count for reason, count in self.reasons.items()}, dict(self.suffixes)]

    @classmethod
    def from_counts(cls, counts: list[dict[str, int]]) -> "LeftOut":
        """What `counts` gave."""
        reasons, suffixes = counts
        return cls(Counter({Reason[name]: count for name, count in reasons.items()}), Counter(suffixes))

    @property
    def total(self) -> int:
        """All of them."""
        return self.reasons.total()

    def __str__(self) -> str:
        """As a message: "8 left out: 3 hidden, 5 of other kinds (.md, .csv)"; empty where nothing was."""
        parts = []
        for reason in Reason:
            if count := self.reasons[reason]:
                kinds = ""
                if reason is Reason.OTHER_KIND:
                    named = [display(suffix) for suffix, _ in self.suffixes.most_common(_MOST_SUFFIXES)]
                    kinds = f" ({', '.join(named)}{', ...' if len(self.suffixes) > len(named) else ''})"
                parts.append(f"{count} {reason.value}{kinds}")
        return f"{self.total} left out: {', '.join(parts)}" if parts else ""


Sides = dict[str, Path]
"""What lies beside a picture, by suffix in lower case: its caption, class or facts."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder that count, sorted by name.

    sides: for a file without its suffix, what lies beside it.
    """

    files: list[Path]
    sides: dict[Path, Sides]
    left_out: LeftOut

    def facts(self) -> tuple[str, float]:
        """A digest of names, sizes and times of all files, and the time of the newest. Raises BadInputError for one that is gone."""
        digest, newest = hashlib.blake2b(str(self.left_out).encode(), digest_size=16), 0
        for path in self.files:
            for one in (path, *self.beside(path).values()):
                try:
                    status = one.stat()
                except OSError as error:
                    raise BadInputError(
                        f"{display(one)}: cannot be read ({error.strerror or error}); restore it"
                    ) from error
                facts = f"\0{one}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
                digest.update(facts.encode(errors="surrogateescape"))
                newest = max(newest, status.st_mtime_ns)
        return digest.hexdigest(), newest / 1e9

    def beside(self, path: Path) -> Sides:
        """What lies beside one of the files."""
        return self.sides.get(path.with_suffix(""), {})


def is_hidden(path: str | PurePath) -> bool:
    """Whether a file, or a folder on the way to it, is hidden. path: relative to the folder or tar."""
    return any(part.startswith(".") and part not in (".", "..") for part in PurePosixPath(path).parts)


def list_folder(root: Path, suffixes: Collection[str], sides: Collection[str] = ()) -> Listing:
    """The files at any depth of a folder whose suffix, in lower case, is one of `suffixes`, and what lies beside them.

    sides: suffixes, in lower case, of files that belong to another one of the same name. Raises BadInputError where a
    folder may not be read, or where two files beside a picture differ in the case of their suffix alone.
    """
    files: list[Path] = []
    beside: dict[Path, Sides] = {}
    left_out = LeftOut()
    for path in _walk(root, left_out):
        suffix = suffix_of(path)
        if suffix in suffixes:
            files.append(path)
        elif suffix in sides:
            of_one = beside.setdefault(path.with_suffix(""), {})
            if suffix in of_one:
                raise BadInputError(f"{display(path)}: lies beside {display(of_one[suffix].name)}; remove one of them")
            of_one[suffix] = path
        else:
            left_out.add(Reason.OTHER_KIND, path)
    stems = {path.with_suffix("") for path in files}
    for stem, lone in beside.items():
        for _ in lone if stem not in stems else ():
            left_out.add(Reason.ALONE)
    return Listing(sorted(files), beside, left_out)


def _walk(root: Path, left_out: LeftOut) -> Iterable[Path]:
    """Every file that is not hidden, links followed."""
    # A folder, those that it lies in and itself, links on the way.
    waiting: list[tuple[Path, tuple[tuple[int, int], ...], int]] = [(root, (_identity(root.stat()),), 0)]
    while waiting:
        folder, above, links = waiting.pop()
        for entry in _entries(folder):
            path = Path(entry.path)
            if entry.name.startswith("."):
                left_out.add(Reason.HIDDEN)
            elif not entry.is_dir():
                if entry.is_file():
                    yield path
                else:
                    left_out.add(Reason.LOST_LINK if entry.is_symlink() else Reason.SPECIAL)
            else:
                here, passed = _identity(entry.stat()), links + entry.is_symlink()
                if here in above or passed > _MOST_LINKS:
                    left_out.add(Reason.LOST_LINK)
                else:
                    waiting.append((path, (*above, here), passed))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise BadInputError(
            f"{display(folder)}: cannot be listed ({error.strerror or error}); check its permissions"
        ) from error


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
