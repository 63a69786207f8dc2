"""Video -> raw frames over a pipe from ffmpeg, one in memory at a time.

Decoding always begins at the first frame and leaves out what comes before a start: only then is a frame's time known in
every container, are frames that refer to earlier ones whole, and is damage anywhere before the end noticed.
"""

import logging
import math
import re
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from grn.media import ffmpeg
from grn.media.probe import VideoInfo

logger = logging.getLogger("grn.media")

TOLERANCE_US = 1000  # WebM rounds to milliseconds
# Of HDR, what a white sheet of paper has (ITU-R BT.2408) becomes nearly white, and what is brighter up to a usual peak
# is bent into the little that is left above.
_PAPER_WHITE, _PEAK, _BENT_FROM = 203, 1000, 0.7


@dataclass(frozen=True)
class Cut:
    """Which frames to decode. start, duration: seconds; fps: None keeps the frames as they are, a number resamples by
    timestamp. first, count: of the frames that this leaves, those with these numbers; None: all from the first on.
    """

    start: float = 0.0
    duration: float | None = None
    fps: float | None = None
    first: int = 0
    count: int | None = None


class DecodeError(Exception):
    """The decoder stopped early or complained; the frames before were yielded."""


def decode(path: Path, demuxer: str, info: VideoInfo, cut: Cut) -> Generator[npt.NDArray[np.uint8], None, None]:
    """Yield frames uint8 [H, W, 3], or [H, W, 4] where they have alpha, one in memory at a time. Raises DecodeError
    when something was wrong.
    """
    channels = 4 if info.has_alpha else 3
    command = [*_command(path, demuxer, info, cut, _colour_filters(info)), "-f", "rawvideo", "pipe:1"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None, "asked for"
    assert process.stderr is not None, "asked for"
    log = ffmpeg.Log(process.stderr)
    try:
        with ffmpeg.Watchdog(process) as watchdog:
            while True:
                frame = np.empty((info.height, info.width, channels), np.uint8)
                watchdog.restart()
                filled = _fill(process.stdout, frame)
                if filled < frame.size:
                    break
                watchdog.pause()
                yield frame
            status = process.wait()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    _judge(status or int(filled > 0), log.text(), watchdog)


def count_decoded(path: Path, demuxer: str, info: VideoInfo, cut: Cut) -> int:
    """How many frames `decode` would yield, decoding them all and keeping none. Raises DecodeError when something was
    wrong.
    """
    command = _command(path, demuxer, info, cut, [])
    process = subprocess.Popen(
        [*command, "-f", "null", "-progress", "pipe:1", "-stats_period", "1", "-"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None, "asked for"
    assert process.stderr is not None, "asked for"
    log, count = ffmpeg.Log(process.stderr), 0
    with process, ffmpeg.Watchdog(process) as watchdog:
        for line in process.stdout:
            if (found := re.match(rb"frame=\s*(\d+)", line)) and int(found[1]) > count:
                count = int(found[1])
                watchdog.restart()
    _judge(process.returncode, log.text(), watchdog)
    return count


def _judge(status: int, log: str, watchdog: ffmpeg.Watchdog) -> None:
    if watchdog.bit:
        raise DecodeError(f"the decoder was silent for {ffmpeg.SILENCE_SECONDS:.0f} s")
    if status or log.strip():
        raise DecodeError(ffmpeg.complaint(log))


def count_packets(path: Path, demuxer: str) -> int:
    """How many video packets a file holds, without decoding them."""
    arguments = [*ffmpeg.input_arguments(path, demuxer), "-map", "0:V:0", "-c", "copy", "-f", "null", "-"]
    log = ffmpeg.run(["-loglevel", "error", "-progress", "pipe:2", "-nostats", *arguments], str(path))
    counts = re.findall(r"^frame=\s*(\d+)", log, re.M)
    return int(counts[-1]) if counts else 0


def _command(path: Path, demuxer: str, info: VideoInfo, cut: Cut, colours: list[str]) -> list[str]:
    # Frames are timed from the first one: an AVI with B-frames, or a file whose sound starts earlier, begins later. In
    # microseconds, since a clock that only counts frames would round a start or a duration to whole ones.
    chain = ["settb=AVTB,setpts=PTS-STARTPTS"]
    part: list[str] = []
    limit: list[str] = []
    if cut.duration is not None:
        # Read no further than that; a frame more, since this is rounded by the file's own clock.
        part = ["-t", f"{max(0.0, info.start) + cut.start + cut.duration + 1 / info.fps:.6f}"]
    if cut.start or cut.duration is not None:
        end = "" if cut.duration is None else f":end={cut.start + cut.duration:.6f}"
        chain += [f"trim=start={cut.start:.6f}{end}", f"setpts=PTS-{round(cut.start * 1e6)}"]
    if cut.fps is not None:
        # The filter rounds to the nearest slot, which would show frames half an interval early. Moved by that half,
        # less a tolerance for files that round their timestamps, each frame is shown from its own time on.
        late = max(0, round(500_000 / cut.fps) - TOLERANCE_US)
        rate = Fraction(cut.fps).limit_denominator(100_000)
        # After a jump the next frame stands for the time jumped to.
        chain.append(f"setpts=PTS+{late},fps={rate}:start_time=0")
        if cut.duration is not None:
            # The last frame may last longer than the part asked for.
            limit = ["-frames:v", str(max(1, math.ceil((cut.duration - TOLERANCE_US / 1e6) * cut.fps)))]
    if cut.first or cut.count is not None:
        end = "" if cut.count is None else f":end_frame={cut.first + cut.count}"
        chain.append(f"trim=start_frame={cut.first}{end}")
    # One chain of filters for the whole file: made anew where the resolution changes, it would count from zero again.
    source = [*part, "-reinit_filter", "0", *ffmpeg.input_arguments(path, demuxer, info.decoder)]
    # From here on frames are only counted: two whose times fall together when rounded would be taken for a fault.
    filters = ",".join([*chain, *colours, "setpts=N"])
    timing = ["-fps_mode", "passthrough", "-enc_time_base", "1:1000000"]
    target = ["-map", "0:V:0", "-vf", filters, *timing, *limit]
    return [ffmpeg.executable(), "-hide_banner", "-nostdin", "-loglevel", "error", *source, *target]


def _colour_filters(info: VideoInfo) -> list[str]:
    """To square pixels in RGB, as sRGB has it."""
    colours = info.colours
    rgb, planes = ("rgba", "gbrap") if info.has_alpha else ("rgb24", "gbrp")
    # Naming the size keeps every frame as long as the first where the resolution changes midway.
    size = f"scale={info.width}:{info.height}:flags={ffmpeg.SCALING}"
    if not (colours.is_hdr or colours.is_wide):
        # Only named where it may be a guess; the others ffmpeg reads from the frames themselves.
        matrix = ":in_color_matrix=bt709" if colours.matrix == "bt709" else ""
        return [f"{size}{matrix},format={rgb}"]
    if not ffmpeg.has("filter", "zscale"):
        kind = "HDR" if colours.is_hdr else "wide-gamut"
        logger.warning(
            f"{kind} video: this ffmpeg has no zscale filter, so its colours are not converted and look dull"
        )
        return [f"{size},format={rgb}"]
    primaries = "bt2020" if colours.primaries == "unknown" else colours.primaries
    known = f"pin={primaries}:min={colours.matrix}"
    if not colours.is_hdr:
        transfer = "bt709" if colours.transfer == "unknown" else colours.transfer
        return [size, f"zscale={known}:tin={transfer}:p=bt709:t={transfer}:m=gbr:r=full,format={planes},format={rgb}"]
    return [
        size,
        f"zscale={known}:tin={colours.transfer}:t=linear:npl={_PAPER_WHITE},format={planes}f32le,zscale=p=bt709",
        f"tonemap=mobius:param={_BENT_FROM}:peak={_PEAK / _PAPER_WHITE:.3f}:desat=0",
        f"zscale=t=iec61966-2-1:m=gbr:r=full,format={planes},format={rgb}",
    ]


def _fill(pipe: IO[bytes], frame: npt.NDArray[np.uint8]) -> int:
    """Read one frame from the pipe; how many bytes of it came."""
    view, filled = frame.reshape(-1).data, 0
    while filled < len(view) and (got := pipe.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += got
    return filled
