"""Any image or video file as a stream of upright, opaque RGB frames of one size.

Timing: without `fps`, frames come as they are stored, and `Media.fps` is the stored rate (the average where it varies).
With `fps`, frame k is the one on screen at k / fps: pictures are repeated or left out by their timestamps.
A still image is one frame; fps, start and duration mean nothing to it.
"""

import contextlib
import logging
import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.errors import BadInputError, UsageError
from grn.media import ffmpeg
from grn.media.ffmpeg import Cut, DecodeError
from grn.media.picture import Colour, OpenImage, decoding, fit, lay_over, open_image, parse_colour, to_rgb
from grn.media.sniff import Source, open_source
from grn.media.structure import missing_end

Frame = npt.NDArray[np.uint8]
Frames = Generator[Frame, None, None]
logger = logging.getLogger("grn.media")


@dataclass(frozen=True)
class _Options:
    background: Colour
    size: tuple[int, int] | None
    cut: Cut
    allow_partial: bool


class Media:
    """An opened image or video; iterate it once for its frames, uint8 [height, width, 3]. Use it in a `with`, or close
    it.

    kind: "image" or "video"; width, height: of the frames that come; fps: None for an image; expected_frames: how many
    frames the file promises, None where it does not (for progress bars only: the true count is what comes); damage:
    after the last frame, what partial input lacked.
    """

    def __init__(self, source: Source, options: _Options, stack: contextlib.ExitStack) -> None:
        self.name = source.name
        self.kind: Literal["image", "video"] = "image"
        self.fps: float | None = None
        self.expected_frames: int | None = 1
        self.damage: str | None = None
        self.width, self.height = 0, 0
        self._options = options
        self._stack = stack
        if source.container.is_video:
            self._frames = self._video(source)
        else:
            self._frames = self._pictures(stack.enter_context(open_image(source)))
        if options.size:
            self.width, self.height = options.size

    def __iter__(self) -> Frames:
        for frame in self._frames:
            yield fit(frame, self._options.size)

    def __enter__(self) -> "Media":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder and close the file."""
        self._frames.close()
        self._stack.close()

    def _pictures(self, found: OpenImage) -> Frames:
        chosen, repeats = range(1), [1]
        cut = self._options.cut
        if found.timeline is not None and found.timeline.frames > 1:
            self.kind = "video"
            self.fps = cut.fps or float(found.timeline.fps)
            chosen, timeline = found.timeline.cut(cut.start, cut.duration)
            if not chosen:
                raise _nothing_there(found.name, cut)
            repeats = timeline.repeats(cut.fps)
            self.expected_frames = sum(repeats)
        # The first picture tells the upright size, and whether the file can be decoded at all.
        first = self._picture(found, chosen[0])
        self.height, self.width = first.shape[:2]
        return self._repeat(found, first, chosen, repeats)

    def _repeat(self, found: OpenImage, first: Frame, chosen: range, repeats: list[int]) -> Frames:
        for index, times in zip(chosen, repeats, strict=True):
            frame = first if index == chosen[0] else self._picture(found, index)
            for _ in range(times):
                yield frame.copy()

    def _picture(self, found: OpenImage, index: int) -> Frame:
        with decoding(found.name):
            if found.timeline is not None:
                found.image.seek(index)
            return np.array(to_rgb(found.image, self._options.background))

    def _video(self, source: Source) -> Frames:
        path, demuxer, cut = source.path, source.container.decoder, self._options.cut
        assert path is not None, "videos have a path"
        lacking = missing_end(source.file, demuxer)
        if lacking and not self._options.allow_partial:
            raise _partial(source.name, lacking)
        info = ffmpeg.probe(path, demuxer, source.name)
        self.kind = "video"
        self.fps = cut.fps or float(info.fps)
        self.width, self.height = info.width, info.height
        self.expected_frames = None
        if info.duration is not None:
            seconds = max(0.0, min(info.duration - cut.start, math.inf if cut.duration is None else cut.duration))
            self.expected_frames = max(1, round(seconds * self.fps))
        return self._decode(source, ffmpeg.decode(path, demuxer, info, cut), lacking)

    def _decode(self, source: Source, frames: Frames, lacking: str | None) -> Frames:
        count, damage = 0, lacking
        try:
            for frame in frames:
                count += 1
                yield lay_over(frame, self._options.background) if frame.shape[2] == 4 else frame
        except DecodeError as error:
            damage = damage or str(error)
            if not self._options.allow_partial:
                raise _partial(source.name, f"{damage}; {count} frames were read") from error
        finally:
            frames.close()
        if not count:
            raise _nothing_there(source.name, self._options.cut)
        if damage:
            self.damage = f"{source.name}: {damage}; used the {count} frames that could be read"
            if self.expected_frames is not None:
                self.damage += f" of about {self.expected_frames}"
            logger.warning(self.damage)


def open_media(
    source: Path | BinaryIO,
    *,
    background: str = "white",
    size: int | tuple[int, int] | None = None,
    fps: float | None = None,
    start: float = 0.0,
    duration: float | None = None,
    allow_partial: bool = False,
) -> Media:
    """Open an image or a video, from a file or a binary stream, to stream its frames.

    background: the colour behind transparent pixels. size: (width, height), or one number for a square; scaled to cover
    it and cropped to the centre. fps: resample by timestamp. start, duration: seconds; frames with start <= time <
    start + duration come. allow_partial: decode a cut or damaged video as far as it goes, with a logged warning,
    instead of refusing it. Raises UsageError on options out of range; BadInputError on a file that is no image or video
    or not a complete one, while iterating too.
    """
    options = _check(background, size, Cut(start, duration, fps), allow_partial)
    with contextlib.ExitStack() as stack:
        media = Media(stack.enter_context(open_source(source)), options, stack)
        media._stack = stack.pop_all()
        return media


def _check(background: str, size: int | tuple[int, int] | None, cut: Cut, allow_partial: bool) -> _Options:
    if isinstance(size, int):
        size = (size, size)
    limit = Image.MAX_IMAGE_PIXELS or math.inf
    if size is not None and (min(size) < 1 or size[0] * size[1] > limit):
        raise UsageError(f"size: {size[0]}x{size[1]} is out of range (expected 1x1 to {limit:,} pixels)")
    if cut.fps is not None and not 0 < cut.fps <= 1000:
        raise UsageError(f"fps: {cut.fps} is out of range (expected more than 0, at most 1000)")
    if not 0 <= cut.start < math.inf:
        raise UsageError(f"start: {cut.start} is out of range (expected seconds, 0 or more)")
    if cut.duration is not None and not 0 < cut.duration < math.inf:
        raise UsageError(f"duration: {cut.duration} is out of range (expected more than 0 seconds)")
    return _Options(parse_colour(background), size, cut, allow_partial)


def _partial(name: str, damage: str) -> BadInputError:
    return BadInputError(
        f"{name}: is damaged or cut off ({damage}); get a complete copy, or allow partial input to use what is there"
    )


def _nothing_there(name: str, cut: Cut) -> BadInputError:
    if cut.start or cut.duration:
        end = "its end" if cut.duration is None else f"{cut.start + cut.duration:g} s"
        return BadInputError(
            f"{name}: has no frame from {cut.start:g} s to {end}; choose an earlier start or a longer duration"
        )
    return BadInputError(f"{name}: holds no frame that can be decoded; get a complete copy")
