"""Frames -> a video file, one frame in memory at a time.

MP4 and MOV hold H.264 (4:2:0; 4:4:4 where a side is odd, since 4:2:0 cannot hold that size), WebM holds VP9, which
takes any size. GIF gets a palette for each frame. A finished file is opened again before it gets its name: it must be
as long as its structure says, and its size and number of frames must be what was written.
"""

import contextlib
import os
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.files import atomic_path, display
from grn.media import ffmpeg
from grn.media.decode import count_packets
from grn.media.gif import read_gif
from grn.media.note import put_gif_comment
from grn.media.picture import as_frame
from grn.media.probe import probe
from grn.media.structure import missing_end
from grn.media.suffixes import WRITE_CLIP_SUFFIXES, suffix_of
from grn.media.webp import WebpEncoder, read_webp

Frame = npt.NDArray[np.uint8]

_LARGEST = {".gif": 65_535, ".webp": 16_383}  # else 16,384, as H.264 encoders take
# Players show pictures of 0.01 s or less ten times as long; a GIF counts in hundredths, a WebP in thousandths.
_FASTEST = {".gif": 50, ".webp": 90}
_DEMUXERS = {".mp4": "mov", ".mov": "mov", ".webm": "matroska"}


class _Encoder(Protocol):
    def write(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...

    def stop(self) -> None: ...


def clip_suffix_of(path: Path) -> str:
    """The suffix in lower case; UsageError where it is of no format that clips are written in."""
    suffix = suffix_of(path)
    if suffix not in WRITE_CLIP_SUFFIXES:
        raise UsageError(
            f"{display(path)}: cannot write videos as '{path.suffix}'; use one of {', '.join(WRITE_CLIP_SUFFIXES)}"
        )
    return suffix


class VideoWriter:
    """Write frames to .mp4, .mov, .webm, .gif or .webp, at `fps` frames a second. Use it in a `with`.

    Raises UsageError on a suffix, size or rate that the format cannot hold, EnvironmentFaultError where writing fails
    or the finished file does not hold what was written. Then, and when the block raises, no file appears and an older
    one stays.
    """

    def __init__(self, path: str | os.PathLike[str], width: int, height: int, fps: float, note: str = "") -> None:
        """note: what the file is to say of how it was made (`read_note`)."""
        self.path = Path(path)
        self._suffix = clip_suffix_of(self.path)
        name = display(self.path)
        largest, fastest = _LARGEST.get(self._suffix, 16_384), _FASTEST.get(self._suffix, 1000)
        if not (1 <= width <= largest and 1 <= height <= largest):
            sides = f"expected sides of 1 to {largest:,} for {self._suffix}"
            raise UsageError(f"{name}: {width}x{height} is out of range ({sides}); choose another size or format")
        if not 0.01 <= fps <= fastest:
            rates = f"expected 0.01 to {fastest} for {self._suffix}"
            raise UsageError(f"{name}: {fps:g} frames a second is out of range ({rates}); choose another rate")
        self.width, self.height, self._note = width, height, note
        # Cameras' and films' rates are multiples of 1 / 1001.
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frames = 0

    def __enter__(self) -> "VideoWriter":
        kind = WebpEncoder if self._suffix == ".webp" else _FfmpegEncoder
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self.path, self._verify))
            self._encoder: _Encoder = kind(self._temporary, self.width, self.height, self.fps, self._note)
            stack.callback(self._encoder.stop)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: Frame | Image.Image) -> None:
        """Append one frame: uint8 [height, width, 3], or a PIL image of that size, transparency laid over white."""
        frame = as_frame(frame, (255, 255, 255)) if isinstance(frame, Image.Image) else frame
        assert frame.dtype == np.uint8, f"a frame is uint8, not {frame.dtype}"
        assert frame.shape == (self.height, self.width, 3), f"expected {self.height}x{self.width}x3, not {frame.shape}"
        self._encoder.write(frame)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            # Passing the error through lets atomic_path see it, remove its file and explain a full disk.
            if error is not None:
                raise error
            if not self.frames:
                raise EnvironmentFaultError(
                    f"{display(self.path)}: there was no frame to write; check what the frames come from"
                )
            self._encoder.finish()
            if self._note and self._suffix == ".gif":
                put_gif_comment(self._temporary, self._note)

    def _verify(self, written: Path) -> None:
        try:
            width, height, frames = _measure(written, self._suffix)
        except (BadInputError, ValueError, struct.error) as error:
            raise EnvironmentFaultError(
                f"{display(self.path)}: the encoder wrote an unreadable file ({error}); try another format"
            ) from error
        if (width, height, frames) != (self.width, self.height, self.frames):
            expected, found = f"{self.frames} frames of {self.width}x{self.height}", f"{frames} of {width}x{height}"
            lost = f"the encoder lost something (expected {expected}, found {found})"
            raise EnvironmentFaultError(f"{display(self.path)}: {lost}; try another format")


def _measure(path: Path, suffix: str) -> tuple[int, int, int]:
    """Width, height and number of frames of a finished file. Raises ValueError where its end is missing."""
    with path.open("rb") as file:
        if suffix in (".gif", ".webp"):
            animation = read_gif(file) if suffix == ".gif" else read_webp(file)
            if animation is None:
                raise ValueError("no picture in the file")
            return *animation.size, animation.timeline.frames
        if lacking := missing_end(file, _DEMUXERS[suffix]):
            raise ValueError(lacking)
    info = probe(path, _DEMUXERS[suffix], display(path))
    return info.width, info.height, count_packets(path, _DEMUXERS[suffix])


class _FfmpegEncoder:
    """Raw frames into ffmpeg's standard input."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction, note: str = "") -> None:
        layout = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
        source = [*layout, "-framerate", str(fps), "-i", "pipe:0"]
        # The same frames give the same bytes: no version strings, no random identifiers.
        comment = ["-metadata", f"comment={note}"] if note and path.suffix.lower() != ".gif" else []
        target = [*comment, "-fflags", "+bitexact", "-flags:v", "+bitexact", "-y", f"file:{path}"]
        codec = _codec(path.suffix.lower(), odd=bool(width % 2 or height % 2))
        command = [ffmpeg.executable(), "-hide_banner", "-loglevel", "error", *source, *codec, *target]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stdin is not None, "asked for"
        assert self._process.stderr is not None, "asked for"
        self._pipe = self._process.stdin
        self._log = ffmpeg.Log(self._process.stderr)

    def write(self, frame: Frame) -> None:
        try:
            self._pipe.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as error:
            raise self._failure() from error

    def finish(self) -> None:
        try:
            self._pipe.close()
        except BrokenPipeError as error:
            raise self._failure() from error
        if self._process.wait() or self._log.text().strip():
            raise self._failure()

    def stop(self) -> None:
        """End the program, finished or not; safe to call twice."""
        self._process.kill()
        # What was still on its way to the program is of no use any more.
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    def _failure(self) -> OSError:
        self._process.wait()
        # An OSError, so that atomic_path names the target.
        return OSError(None, f"ffmpeg: {ffmpeg.complaint(self._log.text())}")


def _codec(suffix: str, *, odd: bool) -> list[str]:
    if suffix == ".gif":
        # A palette of its own for each frame rules out leaving pixels as they were: their numbers mean other colours.
        palettes = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
        return ["-filter_complex", palettes, "-loop", "0"]
    # Without a tag players guess the matrix from the size, and ours would be wrong for small or for large videos.
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    scale = f"scale=out_color_matrix=bt709:out_range=tv:flags={ffmpeg.SCALING}"
    if suffix == ".webm":
        codec = ["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]
        return ["-vf", f"{scale},format=yuv420p,{tags}", *codec]
    codec = ["-c:v", "libx264", "-crf", "17", "-preset", "medium", "-movflags", "+faststart"]
    return ["-vf", f"{scale},format={'yuv444p' if odd else 'yuv420p'},{tags}", *codec]
