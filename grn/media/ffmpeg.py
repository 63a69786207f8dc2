"""The ffmpeg program that comes with imageio-ffmpeg: probing, decoding to raw frames over a pipe, counting.

An input is opened with the one demuxer that its first bytes ask for and only from the local disk, so no file can make
ffmpeg open another. ffmpeg ends with status 0 on most damaged files; what tells is its error log, which is therefore
kept and read.
"""

import math
import re
import subprocess
import tempfile
import threading
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

from grn.errors import BadInputError, EnvironmentFaultError

# A decoder silent for this long hangs; a slow disk or a huge frame does not take so long.
SILENCE_SECONDS = 60.0
SCALING = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
TOLERANCE_US = 1000  # WebM rounds to milliseconds
_CLOSE_ENOUGH = 0.01  # ffmpeg prints average rates with two decimals


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself. width, height: upright; duration in seconds, None where the file does not say."""

    width: int
    height: int
    fps: Fraction
    pixel_format: str
    duration: float | None

    @property
    def has_alpha(self) -> bool:
        """Whether frames can be transparent."""
        return self.pixel_format.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya", "pal8"))


@dataclass(frozen=True)
class Cut:
    """Which frames to decode. start, duration: seconds; fps: None keeps the frames as they are, a number resamples by
    timestamp.
    """

    start: float = 0.0
    duration: float | None = None
    fps: float | None = None


class DecodeError(Exception):
    """The decoder stopped early or complained; the frames before were yielded."""


def executable() -> str:
    """Path of the ffmpeg program; EnvironmentFaultError where the machine has none."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise EnvironmentFaultError(
            f"ffmpeg: {error}; install imageio-ffmpeg's wheel for this machine or set IMAGEIO_FFMPEG_EXE"
        ) from error


def probe(path: Path, demuxer: str, name: str) -> VideoInfo:
    """Decode one frame to learn what all will look like. Raises BadInputError where there is no video to decode."""
    arguments = [
        *_input(path, demuxer),
        "-map",
        "0:V:0",
        "-frames:v",
        "1",
        "-vf",
        "showinfo=checksum=0",
        "-f",
        "null",
        "-",
    ]
    log = _run(["-loglevel", "level+info", *arguments], name)
    shown = re.search(r"^\[Parsed_showinfo.*\bfmt:(\S+) .*?\bs:(\d+)x(\d+)", log, re.M)
    if not shown:
        if "matches no streams" in log:
            raise BadInputError(f"{name}: holds no video, only other streams; give a file with pictures")
        raise BadInputError(f"{name}: holds no frame that can be decoded ({complaint(log)}); get a complete copy")
    length = re.search(r"^(?:\[info\])?   ?Duration: (\d+):(\d\d):(\d\d\.\d+)", log, re.M)
    seconds = 3600 * int(length[1]) + 60 * int(length[2]) + float(length[3]) if length else None
    return VideoInfo(int(shown[2]), int(shown[3]), _rate(log), shown[1], seconds or None)


def decode(path: Path, demuxer: str, info: VideoInfo, cut: Cut) -> Generator[npt.NDArray[np.uint8], None, None]:
    """Yield frames uint8 [H, W, 3], or [H, W, 4] where they have alpha, one in memory at a time. Raises DecodeError
    when something was wrong.
    """
    channels = 4 if info.has_alpha else 3
    command = _decode_command(path, demuxer, info, cut)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            while True:
                frame = np.empty((info.height, info.width, channels), np.uint8)
                filled, stalled = _fill(process, process.stdout, frame)
                if filled < frame.size:
                    break
                yield frame
            status = process.wait()
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        text = tail(log)
    if stalled:
        raise DecodeError(f"the decoder was silent for {SILENCE_SECONDS:.0f} s")
    # Frames before a start in mid-stream may refer to ones that were skipped; those complaints mean nothing.
    if status or filled or (text and not cut.start):
        raise DecodeError(complaint(text))


def count_frames(path: Path, demuxer: str) -> int:
    """How many video packets a file holds, without decoding them."""
    arguments = [*_input(path, demuxer), "-map", "0:V:0", "-c", "copy", "-f", "null", "-"]
    log = _run(["-loglevel", "error", "-progress", "pipe:2", "-nostats", *arguments], str(path))
    counts = re.findall(r"^frame=\s*(\d+)", log, re.M)
    return int(counts[-1]) if counts else 0


def tail(log: IO[bytes]) -> str:
    """The last of what a program wrote to its log."""
    log.seek(0, 2)
    log.seek(max(0, log.tell() - 16_384))
    return log.read().decode("utf-8", "replace")


def complaint(log: str) -> str:
    """The first error in a log of ffmpeg's, without its prefixes, as part of a one-line message."""
    lines = [line for line in log.splitlines() if line.strip()]
    if any("[error]" in line or "[fatal]" in line for line in lines):
        lines = [line for line in lines if "[error]" in line or "[fatal]" in line]
    elif any("[info]" in line for line in lines):
        lines = []
    if not lines:
        return "ffmpeg gives no reason"
    text = re.sub(r"^(\[[^\]]*\]\s*)+", "", lines[0]).strip()
    return "".join(c for c in text if c.isprintable())[:200]


def _decode_command(path: Path, demuxer: str, info: VideoInfo, cut: Cut) -> list[str]:
    # Naming the size keeps every frame as long as the first where the resolution changes midway.
    chain = f"scale={info.width}:{info.height}:flags={SCALING},format={'rgba' if info.has_alpha else 'rgb24'}"
    part = ["-ss", f"{cut.start:.6f}"] if cut.start else []
    part += ["-t", f"{cut.duration:.6f}"] if cut.duration is not None else []
    limit: list[str] = []
    if cut.fps is not None:
        # The filter rounds to the nearest slot, which would show frames half an interval early. Moved by that half,
        # less a tolerance for files that round their timestamps, each frame is shown from its own time on.
        late = max(0, round(500_000 / cut.fps) - TOLERANCE_US)
        # After a jump the next frame stands for the time jumped to.
        first = ":start_time=0" if cut.start else ""
        rate = Fraction(cut.fps).limit_denominator(100_000)
        chain = f"settb=AVTB,setpts=PTS+{late},fps={rate}{first},{chain}"
        if cut.duration is not None:
            # The last frame may last longer than the part asked for.
            limit = ["-frames:v", str(max(1, math.ceil((cut.duration - TOLERANCE_US / 1e6) * cut.fps)))]
    output = ["-map", "0:V:0", "-vf", chain, "-fps_mode", "passthrough", *limit, "-f", "rawvideo", "pipe:1"]
    return [executable(), "-hide_banner", "-nostdin", "-loglevel", "error", *part, *_input(path, demuxer), *output]


def _input(path: Path, demuxer: str) -> list[str]:
    limit = ["-max_pixels", str(Image.MAX_IMAGE_PIXELS)] if Image.MAX_IMAGE_PIXELS else []
    # The prefix keeps a name like http: or -x a file's name.
    return [*limit, "-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{path}"]


def _run(arguments: list[str], name: str) -> str:
    command = [executable(), "-hide_banner", "-nostdin", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SILENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            f"{name}: the decoder was silent for {SILENCE_SECONDS:.0f} s; get a complete copy"
        ) from error
    return done.stderr.decode("utf-8", "replace")


def _fill(process: subprocess.Popen[bytes], pipe: IO[bytes], frame: npt.NDArray[np.uint8]) -> tuple[int, bool]:
    """Read one frame from the pipe; how many bytes came, and whether the program had to be ended for its silence."""
    stalled = threading.Event()

    def end() -> None:
        stalled.set()
        process.kill()

    timer = threading.Timer(SILENCE_SECONDS, end)
    timer.daemon = True
    timer.start()
    view, filled = frame.reshape(-1).data, 0
    try:
        while filled < len(view) and (got := pipe.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += got
    finally:
        timer.cancel()
    return filled, stalled.is_set()


def _rate(log: str) -> Fraction:
    """Frames a second: the exact rate that the timestamps allow where frames really come at it, else (variable rate)
    the average.
    """
    average = re.search(r"^(?:\[info\])?   ?Stream #.* Video: .*?, ([\d.]+)(k?) fps\b", log, re.M)
    exact = re.search(r"^\[Parsed_showinfo.*config in .*frame_rate: (\d+)/(\d+)", log, re.M)
    guess = Fraction(int(exact[1]), int(exact[2])) if exact and int(exact[1]) and int(exact[2]) else None
    if average:
        rate = Fraction(average[1]) * (1000 if average[2] else 1)
        # An average above what the timestamps allow is only the clock of a file that does not know its average.
        if rate and (guess is None or rate < guess - max(_CLOSE_ENOUGH, float(guess) / 1000)):
            return rate
    return guess or Fraction(25)
