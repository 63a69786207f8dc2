"""Any image or video as a stream of upright, opaque RGB frames of one size.

Timing: without `fps`, frames come as they are stored, and `Media.fps` is the stored rate (the average where it varies).
With `fps`, frame k is the one on screen at k / fps: pictures are repeated or left out by their timestamps.
A still image is one frame; fps, start and duration mean nothing to it.
"""

import abc
import contextlib
import itertools
import logging
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.errors import BadInputError, UsageError
from grn.media.decode import Cut, DecodeError, count_decoded, decode
from grn.media.image_file import ImageFile, open_image
from grn.media.picture import ImageInput, as_frame, parse_colour
from grn.media.probe import VideoInfo, probe
from grn.media.resize import fit
from grn.media.samples import Colour, lay_over
from grn.media.source import Source, open_source
from grn.media.structure import doubtful, missing_end
from grn.media.suffixes import suffix_of

Frame = npt.NDArray[np.uint8]
MediaInput = ImageInput | Sequence[Image.Image]
Frames = Generator[Frame, None, None]
logger = logging.getLogger("grn.media")

_RATES = (0.001, 1000.0)  # frames a second
_SHORTEST, _LONGEST = 1e-6, 1e9  # seconds


@dataclass(frozen=True)
class _Options:
    background: Colour
    size: tuple[int, int] | None
    cut: Cut
    allow_partial: bool


@runtime_checkable
class FrameStream(Protocol):
    """What takes frames needs of an opened image or video: of `Media`, or of what passes its frames on."""

    name: str
    kind: Literal["image", "video"]
    fps: float | None

    def __iter__(self) -> Iterator[Frame]: ...


class Media(abc.ABC):
    """An opened image or video; iterate it for its frames, uint8 [height, width, 3]. Use it in a `with`, or close it.

    kind: "image" or "video"; width, height: of the frames that come; fps: None for an image; expected_frames: how many
    frames the file promises, None where it does not (for progress bars only: the true count is what comes); damage:
    after the last frame, what partial input lacked.
    """

    def __init__(self, name: str, options: _Options) -> None:
        self.name = name
        self.kind: Literal["image", "video"] = "image"
        self.fps: float | None = None
        self.expected_frames: int | None = 1
        self.damage: str | None = None
        self.width, self.height = 0, 0
        self._options = options
        self._stack = contextlib.ExitStack()
        self._running: list[Frames] = []

    def __iter__(self) -> Frames:
        return self.part(0, None)

    def part(self, first: int, count: int | None) -> Frames:
        """The frames with these numbers among all that iterating gives, fewer where it has fewer; count None: all from
        the first on. Only one frame is in memory at a time. A video is decoded from its beginning each time.

        Raises BadInputError where a file is damaged before the end of the part, or has no frame there.
        """
        frames = self._frames(first, count)
        self._running.append(frames)
        for frame in frames:
            yield fit(frame, self._options.size)

    @abc.abstractmethod
    def count_frames(self) -> int:
        """How many frames iterating gives. A video is decoded for it to its end, without a frame being kept.

        Raises BadInputError where the file is damaged, unless partial input is allowed.
        """

    @abc.abstractmethod
    def _frames(self, first: int, count: int | None) -> Frames:
        """What `part` gives, before it is fitted to a size."""

    def __enter__(self) -> "Media":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder and close the file."""
        for frames in self._running:
            frames.close()
        self._stack.close()


class _Pictures(Media):
    """Frames that are there already: arrays and PIL images."""

    def __init__(self, pictures: Sequence[Frame | Image.Image], options: _Options, clip: bool) -> None:
        super().__init__("picture", options)
        if not pictures:
            raise UsageError("picture: is a clip of no frames (expected at least one)")
        self._pictures = pictures
        self.kind = "video" if clip else "image"
        shown = as_frame(pictures[0], options.background)
        self.width, self.height = options.size or (shown.shape[1], shown.shape[0])
        self.expected_frames = len(pictures)

    def count_frames(self) -> int:
        return len(self._pictures)

    def _frames(self, first: int, count: int | None) -> Frames:
        for picture in itertools.islice(self._pictures, first, None if count is None else first + count):
            yield as_frame(picture, self._options.background)


class _Image(Media):
    """An image file, or an animation that Pillow decodes."""

    def __init__(self, source: Source, options: _Options, stack: contextlib.ExitStack) -> None:
        super().__init__(source.name, options)
        self._found: ImageFile = stack.enter_context(open_image(source))
        self._chosen, self._repeats = range(1), [1]
        animation, cut = self._found.animation, options.cut
        self._moves = animation is not None and animation.timeline.frames > 1
        if animation is not None and self._moves:
            self.kind = "video"
            self.fps = cut.fps or float(animation.timeline.fps)
            self._chosen, timeline = animation.timeline.cut(cut.start, cut.duration)
            if not self._chosen:
                raise _nothing_there(source.name, cut)
            self._repeats = timeline.repeats(cut.fps)
            self.expected_frames = sum(self._repeats)
            if source.container.decoder == "PNG" and source.path and suffix_of(source.path) == ".png":
                # Nobody expects a clip of that name; what else a file is called does not matter.
                logger.warning(
                    f"{source.name}: is an animated PNG; its {animation.timeline.frames} pictures are a clip"
                )
        # The first picture tells the upright size, and whether the file can be decoded at all.
        self._first = next(iter(self._pictures(self._chosen[:1])))
        self.width, self.height = options.size or (self._first.shape[1], self._first.shape[0])
        if self._moves:
            self._stack = stack.pop_all()
        else:
            stack.close()  # and with it the decoder's own copy of the pixels

    def count_frames(self) -> int:
        return sum(self._repeats)

    def _pictures(self, chosen: range) -> Iterable[Frame]:
        if not self._moves:
            return [self._found.still(self._options.background)]
        return self._found.frames(self._options.background, chosen)

    def _frames(self, first: int, count: int | None) -> Frames:
        end = math.inf if count is None else first + count
        number = 0
        pictures = iter([self._first] if len(self._chosen) == 1 else self._pictures(self._chosen))
        for times in self._repeats:
            if number >= end:
                return
            picture = next(pictures)
            for _ in range(times):
                if first <= number < end:
                    yield picture.copy()
                number += 1


class _Video(Media):
    """A video file that ffmpeg decodes."""

    def __init__(self, source: Source, options: _Options, stack: contextlib.ExitStack) -> None:
        super().__init__(source.name, options)
        assert source.path is not None, "videos have a path"
        self._path, self._demuxer = source.path, source.container.decoder
        self._lacking = missing_end(source.file, self._demuxer)
        if self._lacking and not options.allow_partial:
            raise _partial(source.name, self._lacking)
        if not self._lacking and (odd := doubtful(source.file, self._demuxer)):
            logger.warning(f"{source.name}: {odd}")
        self._info: VideoInfo = probe(self._path, self._demuxer, source.name)
        self.kind = "video"
        self.fps = options.cut.fps or float(self._info.fps)
        self.width, self.height = options.size or (self._info.width, self._info.height)
        self.expected_frames = self._promised(options.cut, self.fps)
        self._stack = stack.pop_all()

    def _promised(self, cut: Cut, fps: float) -> int | None:
        if self._info.duration is None:
            return None
        seconds = max(0.0, min(self._info.duration - cut.start, math.inf if cut.duration is None else cut.duration))
        return max(1, round(seconds * fps))

    def count_frames(self) -> int:
        try:
            return count_decoded(self._path, self._demuxer, self._info, self._options.cut)
        except DecodeError as error:
            if not self._options.allow_partial:
                raise _partial(self.name, str(error)) from error
        return sum(1 for _ in self)

    def _frames(self, first: int, count: int | None) -> Frames:
        cut = replace(self._options.cut, first=first, count=count)
        frames = decode(self._path, self._demuxer, self._info, cut)
        found, damage = 0, self._lacking
        try:
            for frame in frames:
                found += 1
                yield _over(frame, self._options.background) if frame.shape[2] == 4 else frame
        except DecodeError as error:
            damage = damage or str(error)
            if not self._options.allow_partial:
                raise _partial(self.name, f"{damage}; {found} frames were read") from error
        finally:
            frames.close()
        if not found:
            raise _nothing_there(self.name, self._options.cut, damage)
        if damage:
            self.damage = f"{self.name}: {damage}; used the {found} frames that could be read"
            if self.expected_frames is not None:
                self.damage += f" of about {self.expected_frames}"
            logger.warning(self.damage)


def open_media(
    source: MediaInput,
    *,
    background: str = "white",
    size: int | tuple[int, int] | None = None,
    fps: float | None = None,
    start: float = 0.0,
    duration: float | None = None,
    allow_partial: bool = False,
) -> Media:
    """Open an image or a video, to stream its frames.

    source: a path, a binary stream, a PIL image or a list of them (a clip), or an array uint8 [H, W], [H, W, 3],
    [H, W, 4] or, of a clip, [T, H, W, 3]. background: the colour behind transparent pixels. size: (width, height), or
    one number for a square; scaled to cover it and cropped to the centre. fps: resample by timestamp. start, duration:
    seconds from the first frame; frames with start <= time < start + duration come. allow_partial: decode a cut or
    damaged video as far as it goes, with a logged warning, instead of refusing it. Pictures in memory have no times, so
    that fps, start and duration mean nothing to them.

    Raises UsageError on options out of range; BadInputError on a file that is no image or video or not a complete one,
    while iterating too.
    """
    options = _check(background, size, Cut(start, duration, fps), allow_partial)
    if isinstance(source, np.ndarray):
        return _Pictures(list(source) if source.ndim == 4 else [source], options, clip=source.ndim == 4)
    if isinstance(source, Image.Image):
        return _Pictures([source], options, clip=False)
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _Pictures(source, options, clip=True)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        return (_Video if opened.container.is_video else _Image)(opened, options, stack)


@contextlib.contextmanager
def opened(source: MediaInput | FrameStream) -> Iterator[FrameStream]:
    """What is open already, as it is; anything else as `open_media` opens it, and closed at the end."""
    if isinstance(source, FrameStream):
        yield source
    else:
        with open_media(source) as media:
            yield media


def _check(background: str, size: int | tuple[int, int] | None, cut: Cut, allow_partial: bool) -> _Options:
    if isinstance(size, int):
        size = (size, size)
    limit = Image.MAX_IMAGE_PIXELS or math.inf
    if size is not None and (min(size) < 1 or size[0] * size[1] > limit):
        raise UsageError(f"size: {size[0]}x{size[1]} is out of range (expected 1x1 to {limit:,} pixels)")
    if cut.fps is not None and not _RATES[0] <= cut.fps <= _RATES[1]:
        raise UsageError(f"fps: {cut.fps} is out of range (expected {_RATES[0]:g} to {_RATES[1]:g})")
    if not 0 <= cut.start <= _LONGEST:
        raise UsageError(f"start: {cut.start} is out of range (expected 0 to {_LONGEST:g} seconds)")
    if cut.duration is not None and not _SHORTEST <= cut.duration <= _LONGEST:
        raise UsageError(f"duration: {cut.duration} is out of range (expected {_SHORTEST:g} to {_LONGEST:g} seconds)")
    return _Options(parse_colour(background), size, cut, allow_partial)


def _over(frame: Frame, background: Colour) -> Frame:
    """RGBA [H, W, 4] over a plain background: RGB [H, W, 3]."""
    image = Image.fromarray(frame, "RGBA")
    return np.array(lay_over(image.convert("RGB"), image.getchannel("A"), background))


def _partial(name: str, damage: str) -> BadInputError:
    return BadInputError(
        f"{name}: is damaged or cut off ({damage}); get a complete copy, or allow partial input to use what is there"
    )


def _nothing_there(name: str, cut: Cut, damage: str | None = None) -> BadInputError:
    if damage:
        return BadInputError(f"{name}: is damaged or cut off ({damage}) and has no frame there; get a complete copy")
    if cut.start or cut.duration:
        end = "its end" if cut.duration is None else f"{cut.start + cut.duration:g} s"
        return BadInputError(
            f"{name}: has no frame from {cut.start:g} s to {end}; choose an earlier start or a longer duration"
        )
    return BadInputError(f"{name}: holds no frame that can be decoded; get a complete copy")
