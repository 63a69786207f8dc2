"""One picture or clip of a data set, with what is known of it."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grn.errors import BadInputError
from grn.files import display
from grn.media import Media, open_media, read_image

_MOST_FRAMES = 10**7  # of a clip
_SLOWEST, _FASTEST = 1e-2, 1e6  # frames a second


@dataclass(frozen=True)
class FilePart:
    """Reads some bytes of a file, or with size None all; unlike a closure it can be sent to a worker process."""

    path: Path
    offset: int = 0
    size: int | None = None

    def __call__(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read() if self.size is None else file.read(self.size)


@dataclass(frozen=True)
class Unreadable:
    """Stands where the bytes of a sample would be read, of which the caption, class or facts cannot be understood."""

    message: str

    def __call__(self) -> bytes:
        raise BadInputError(self.message)


@dataclass(frozen=True)
class Wording:
    """One caption of several: its text, its type ("" where it has none), and how often it is drawn in relation to the others."""

    text: str
    type: str = ""
    weight: float = 1.0


def wordings(caption: str, info: Mapping[str, Any]) -> tuple[Wording, ...]:
    """All wordings of a caption: the facts' list "captions" if there is one, else the caption, maybe "".

    An entry of the list is a text, or an object with "content" and optionally "type" and "weight". Raises ValueError where
    it is neither.
    """
    listed = info.get("captions", [])
    if not isinstance(listed, list):
        raise ValueError('"captions" of the JSON must be a list of strings')
    return tuple(map(_wording, listed)) or (Wording(caption),)


def _wording(entry: Any) -> Wording:
    if isinstance(entry, str):
        return Wording(entry)
    facts = entry if isinstance(entry, dict) else {}
    text, kind, weight = facts.get("content"), facts.get("type", ""), facts.get("weight", 1.0)
    if not (isinstance(text, str) and isinstance(kind, str) and isinstance(weight, int | float) and 0 <= weight < 1e9):
        raise ValueError(
            '"captions" of the JSON must be a list of strings, or of objects with "content", "type" and "weight"'
        )
    return Wording(text, kind, float(weight))


@dataclass(frozen=True)
class Sample:
    """One picture or clip. place: the file that holds it, and its key where that holds several; more: further files of it."""

    key: str
    read: Callable[[], bytes] = field(repr=False)
    caption: str = ""
    label: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    more: Mapping[str, FilePart] = field(default_factory=dict)

    def __str__(self) -> str:
        """What error messages call it: of codes, what they were made from."""
        return display(str(self.info.get("made_from") or self.place or self.key))

    @property
    def captions(self) -> tuple[str, ...]:
        """The texts of all wordings of the caption."""
        return tuple(one.text for one in self.wordings)

    @property
    def wordings(self) -> tuple[Wording, ...]:
        """All wordings of the caption, by the sample's facts if they list some. BadInputError if they cannot be read."""
        if isinstance(self.read, Unreadable):
            self.read()
        return wordings(self.caption, self.info)

    def data(self) -> bytes:
        """The bytes of the file. BadInputError if they cannot be had."""
        try:
            return self.read()
        except OSError as error:
            raise BadInputError(f"{self}: cannot be read ({error.strerror or error}); restore the file") from error
        except ValueError as error:  # a name that no file can have
            raise BadInputError(f"{self}: cannot be read ({display(str(error))}); repair its name") from error

    def image(self) -> np.ndarray:
        """The picture as uint8 RGB [H, W, 3], upright, alpha over white. BadInputError if it cannot be read."""
        data = self.data()
        try:
            return read_image(io.BytesIO(data))
        except BadInputError as error:
            raise self.fault(error) from error

    def clip(
        self,
        frames: int,
        fps: float | None = None,
        rng: np.random.Generator | None = None,
        fitted: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """So many frames of the clip as uint8 RGB [frames, H, W, 3]; one that is too short holds its last frame.

        As `frames` else.
        """
        found = self.frames(frames, fps, rng, fitted)
        missing = frames - len(found)
        return np.concatenate([found, found[-1:].repeat(missing, 0)]) if missing else found

    def frames(
        self,
        most: int,
        fps: float | None = None,
        rng: np.random.Generator | None = None,
        fitted: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """At most so many frames of the clip as uint8 RGB [T, H, W, 3]. BadInputError if it cannot be read.

        fps: resampled to this rate by their times first. rng: from anywhere in the clip; None: from its beginning.
        fitted: scales and crops each frame [H, W, 3] as it comes, so that one alone is ever in memory as it is stored.
        """
        try:
            with self.media(fps) as media:
                # Counted first, so that no more than is wanted of a long clip is ever in memory.
                start = 0 if rng is None else clip_start(media.count_frames(), most, rng)
                shown = media.part(start, most)
                return np.stack(list(shown if fitted is None else map(fitted, shown)))
        except BadInputError as error:
            raise self.fault(error) from error

    def media(self, fps: float | None = None) -> Media:
        """The opened file, to stream its frames. What it raises goes through `fault`.

        Where the facts have "begin_frame_id" and "end_frame_id", the frames from one up to, not including, the other; they
        are counted at the facts' "fps", or the file's.
        """
        if isinstance(self.read, FilePart) and self.read.size is None:
            return self._opened(self.read.path, fps)  # a long video is not read into memory
        data = self.data()
        return self._opened(io.BytesIO(data), fps)

    def _opened(self, source: Path | io.BytesIO, fps: float | None) -> Media:
        begin, end = self.info.get("begin_frame_id"), self.info.get("end_frame_id")
        if begin is None or end is None:
            return open_media(source, fps=fps)
        if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin < end <= _MOST_FRAMES):
            raise BadInputError(f"{self}: frames {begin!s:.20} to {end!s:.20} are no range")
        rate = self.info.get("fps")
        if not (isinstance(rate, int | float) and _SLOWEST <= rate <= _FASTEST):  # also where it is no number
            with open_media(source) as media:
                rate = media.fps or 1.0
            if isinstance(source, io.BytesIO):
                source.seek(0)
        return open_media(source, fps=fps, start=begin / rate, duration=(end - begin) / rate)

    def fault(self, error: BadInputError) -> BadInputError:
        """An error of reading its file, with the sample's name in place of the stream's."""
        text = str(error)
        return error if text.startswith(f"{self}: ") else BadInputError(f"{self}: {text.removeprefix('-: ')}")


def clip_start(length: int, frames: int, rng: np.random.Generator) -> int:
    """Where `frames` frames begin in a clip of `length`, anywhere alike likely; 0 where it is too short."""
    return int(rng.integers(max(0, length - frames) + 1))
