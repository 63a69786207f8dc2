"""Frames -> a video file, one frame in memory at a time.

MP4 and MOV hold H.264 (4:2:0; 4:4:4 where a side is odd, since 4:2:0 cannot hold that size), WebM holds VP9, which
takes any size. GIF gets a palette for each frame. An animated WebP is put together here from still ones, each only as
large as what changed since the frame before. A finished file is opened again before it gets its name: its size and its
number of frames must be what was written.
"""

import contextlib
import io
import struct
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.files import atomic_path, display
from grn.media import ffmpeg
from grn.media.animation import walk
from grn.media.sniff import VIDEO_SUFFIXES

Frame = npt.NDArray[np.uint8]

_LARGEST = {".gif": 65_535, ".webp": 16_383}  # else 16,384, as H.264 encoders take
# Players show GIF pictures that ask for less than 0.02 s ten times as long.
_FASTEST = {".gif": 50, ".webp": 1000}
_DEMUXERS = {".mp4": "mov", ".mov": "mov", ".webm": "matroska", ".gif": "gif"}
_WEBP_QUALITY = 90


class _Encoder(Protocol):
    def write(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...

    def stop(self) -> None: ...


class VideoWriter:
    """Write frames uint8 [height, width, 3] to .mp4, .mov, .webm, .gif or .webp, at `fps` frames a second. Use it in a
    `with`.

    Raises UsageError on a suffix, size or rate that the format cannot hold, EnvironmentFaultError where writing fails
    or the finished file does not hold what was written. Then, and when the block raises, no file appears and an older
    one stays.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._suffix = path.suffix.lower()
        if self._suffix not in VIDEO_SUFFIXES:
            raise UsageError(
                f"{display(path)}: cannot write videos as '{path.suffix}'; use one of {', '.join(VIDEO_SUFFIXES)}"
            )
        largest, fastest = _LARGEST.get(self._suffix, 16_384), _FASTEST.get(self._suffix, 1000)
        if not (1 <= width <= largest and 1 <= height <= largest):
            sides = f"expected sides of 1 to {largest:,} for {self._suffix}"
            raise UsageError(
                f"{display(path)}: {width}x{height} is out of range ({sides}); choose another size or format"
            )
        if not 0.01 <= fps <= fastest:
            rates = f"expected 0.01 to {fastest} for {self._suffix}"
            raise UsageError(f"{display(path)}: {fps:g} frames a second is out of range ({rates}); choose another rate")
        self.path, self.width, self.height = path, width, height
        # Cameras' and films' rates are multiples of 1 / 1001.
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frames = 0

    def __enter__(self) -> "VideoWriter":
        kind = _WebpEncoder if self._suffix == ".webp" else _FfmpegEncoder
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self.path))
            self._encoder: _Encoder = kind(self._temporary, self.width, self.height, self.fps)
            stack.callback(self._encoder.stop)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: Frame) -> None:
        """Append one frame, uint8 [height, width, 3]."""
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
            self._verify()

    def _verify(self) -> None:
        try:
            width, height, frames = _measure(self._temporary, self._suffix)
        except (BadInputError, ValueError, struct.error) as error:
            raise EnvironmentFaultError(
                f"{display(self.path)}: the encoder wrote an unreadable file ({error}); try another format"
            ) from error
        if (width, height, frames) != (self.width, self.height, self.frames):
            expected, found = f"{self.frames} frames of {self.width}x{self.height}", f"{frames} of {width}x{height}"
            lost = f"the encoder lost something (expected {expected}, found {found})"
            raise EnvironmentFaultError(f"{display(self.path)}: {lost}; try another format")


def _measure(path: Path, suffix: str) -> tuple[int, int, int]:
    """Width, height and number of frames of a finished file."""
    if suffix == ".webp":
        with path.open("rb") as file:
            timeline = walk(file, "WEBP")
        with Image.open(path, formats=["WEBP"]) as image:
            return image.width, image.height, timeline.frames if timeline else 1
    info = ffmpeg.probe(path, _DEMUXERS[suffix], display(path))
    return info.width, info.height, ffmpeg.count_frames(path, _DEMUXERS[suffix])


class _FfmpegEncoder:
    """Raw frames into ffmpeg's standard input."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        source = [
            "-f",
            "rawvideo",
            "-pixel_format",
            "rgb24",
            "-video_size",
            f"{width}x{height}",
            "-framerate",
            str(fps),
            "-i",
            "pipe:0",
        ]
        # The same frames give the same bytes: no version strings, no random identifiers.
        target = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-y", f"file:{path}"]
        codec = _codec(path.suffix.lower(), odd=bool(width % 2 or height % 2))
        command = [ffmpeg.executable(), "-hide_banner", "-loglevel", "error", *source, *codec, *target]
        self._path = path
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log)
        assert self._process.stdin is not None
        self._pipe = self._process.stdin

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
        if self._process.wait():
            raise self._failure()

    def stop(self) -> None:
        """End the program, finished or not; safe to call twice."""
        self._process.kill()
        # What was still on its way to the program is of no use any more.
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()
        self._log.close()

    def _failure(self) -> OSError:
        self._process.wait()
        # An OSError, so that atomic_path names the target.
        return OSError(None, f"ffmpeg: {ffmpeg.complaint(ffmpeg.tail(self._log))}")


def _codec(suffix: str, *, odd: bool) -> list[str]:
    if suffix == ".gif":
        palettes = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:diff_mode=rectangle"
        return ["-filter_complex", palettes, "-loop", "0"]
    # Without a tag players guess the matrix from the size, and ours would be wrong for small or for large videos.
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    scale = f"scale=out_color_matrix=bt709:out_range=tv:flags={ffmpeg.SCALING}"
    if suffix == ".webm":
        codec = ["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]
        return ["-vf", f"{scale},format=yuv420p,{tags}", *codec]
    codec = ["-c:v", "libx264", "-crf", "17", "-preset", "medium", "-movflags", "+faststart"]
    return ["-vf", f"{scale},format={'yuv444p' if odd else 'yuv420p'},{tags}", *codec]


class _WebpEncoder:
    """An animated WebP written chunk by chunk: each frame is a still WebP of the rectangle that changed."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        self._file = path.open("wb")
        self._fps = fps
        self._count = 0
        self._before: Frame | None = None
        canvas = _uint24(width - 1) + _uint24(height - 1)
        header = _chunk(b"VP8X", b"\x02\0\0\0" + canvas) + _chunk(b"ANIM", b"\xff\xff\xff\xff\0\0")  # white, for ever
        self._file.write(b"RIFF\0\0\0\0WEBP" + header)

    def write(self, frame: Frame) -> None:
        left, top, part = _changed(self._before, frame)
        buffer = io.BytesIO()
        Image.fromarray(part, "RGB").save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
        begin, end = (round(1000 * count / self._fps) for count in (self._count, self._count + 1))
        size = _uint24(part.shape[1] - 1) + _uint24(part.shape[0] - 1)
        # Flag 2: put in place of what was there, not blended. A still's own chunks start after its 12 bytes of RIFF
        # header.
        place = _uint24(left // 2) + _uint24(top // 2) + size + _uint24(end - begin) + b"\x02"
        self._file.write(_chunk(b"ANMF", place + buffer.getvalue()[12:]))
        self._before = frame.copy()
        self._count += 1

    def finish(self) -> None:
        length = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", length - 8))
        self._file.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _changed(before: Frame | None, frame: Frame) -> tuple[int, int, Frame]:
    """Left, top (both even, as the format wants) and content of the smallest rectangle that differs from the frame
    before.
    """
    if before is None:
        return 0, 0, frame
    differs = (before != frame).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, frame[:1, :1]
    top, left = rows[0] // 2 * 2, columns[0] // 2 * 2
    return int(left), int(top), np.ascontiguousarray(frame[top : rows[-1] + 1, left : columns[-1] + 1])


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
