"""What a video says of itself, learned by decoding its first frame."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from PIL import Image

from grn.errors import BadInputError
from grn.media import ffmpeg

_CLOSE_ENOUGH = 0.01  # ffmpeg prints average rates with two decimals
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own ones leave the transparency out
_WITH_ALPHA = ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya", "pal8")
_RGB = ("rgb", "bgr", "gbr", "0rgb", "0bgr", "argb", "abgr", "gray", "ya", "mono", "pal8")
_HD_WIDTH, _HD_HEIGHT = 1280, 577  # from either on, players take untagged video for HD
_PIXEL_SHAPES = (Fraction(1, 10), Fraction(10))


@dataclass(frozen=True)
class Colours:
    """ffmpeg's names for what the samples mean, "unknown" where the file does not say. range: "tv" or "pc"."""

    matrix: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"
    range: str = "unknown"

    @property
    def is_hdr(self) -> bool:
        """Whether white is a certain brightness, and highlights are brighter."""
        return self.transfer in ("smpte2084", "arib-std-b67")

    @property
    def is_wide(self) -> bool:
        """Whether the primaries reach far beyond sRGB's, so that colours would look dull."""
        return self.primaries in ("bt2020", "smpte431", "smpte432")


@dataclass(frozen=True)
class VideoInfo:
    """width, height: upright, in square pixels. fps: the exact rate of the timestamps, or the average of frames that
    come unevenly. start: the first frame's time in the file, in seconds. duration: in seconds, None where the file does
    not say. decoder: the one to decode with, None for ffmpeg's own choice.
    """

    width: int
    height: int
    fps: Fraction
    pixel_format: str
    duration: float | None
    start: float = 0.0
    colours: Colours = Colours()
    decoder: str | None = None

    @property
    def has_alpha(self) -> bool:
        """Whether frames can be transparent."""
        return self.pixel_format.startswith(_WITH_ALPHA)


def probe(path: Path, demuxer: str, name: str) -> VideoInfo:
    """Decode one frame to learn what all will look like. Raises BadInputError where there is no video to decode."""
    log = _first_frame(path, demuxer, None, name)
    codec = re.search(r"^(?:\[info\])?   ?Stream #.* Video: (\w+)", log, re.M)
    decoder = _ALPHA_DECODERS.get(codec[1]) if codec else None
    if (
        decoder
        and re.search(r"^(?:\[info\])?\s+alpha_mode\s*: 1\s*$", log, re.M | re.I)
        and ffmpeg.has("decoder", decoder)
    ):
        log = _first_frame(path, demuxer, decoder, name)
    else:
        decoder = None
    shown = re.search(r"^\[Parsed_showinfo.*\bfmt:(\S+) .*?\bsar:(\d+)/(\d+) .*?\bs:(\d+)x(\d+)", log, re.M)
    if not shown:
        if "matches no streams" in log:
            raise BadInputError(f"{name}: holds no video, only other streams; give a file with pictures")
        raise BadInputError(
            f"{name}: holds no frame that can be decoded ({ffmpeg.complaint(log)}); get a complete copy"
        )
    width, height = _square_pixels(int(shown[4]), int(shown[5]), int(shown[2]), int(shown[3]))
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise BadInputError(
            f"{name}: is too large (at most {Image.MAX_IMAGE_PIXELS:,} pixels are read); make it smaller first"
        )
    length = re.search(r"^(?:\[info\])?   ?Duration: (\d+):(\d\d):(\d\d\.\d+)", log, re.M)
    seconds = 3600 * int(length[1]) + 60 * int(length[2]) + float(length[3]) if length else None
    return VideoInfo(
        width,
        height,
        _rate(log),
        shown[1],
        seconds or None,
        _start(log),
        _colours(log, shown[1], int(shown[4]), int(shown[5])),
        decoder,
    )


def _first_frame(path: Path, demuxer: str, decoder: str | None, name: str) -> str:
    source = ["-loglevel", "level+info", *ffmpeg.input_arguments(path, demuxer, decoder)]
    return ffmpeg.run(
        [*source, "-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0", "-f", "null", "-"], name
    )


def _square_pixels(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """The size at which pixels that are across / down times as wide as high become square; nothing gets smaller."""
    shape = Fraction(across, down) if across and down else Fraction(1)
    if not _PIXEL_SHAPES[0] <= shape <= _PIXEL_SHAPES[1]:
        return width, height
    return (round(width * shape), height) if shape > 1 else (width, round(height / shape))


def _colours(log: str, pixel_format: str, width: int, height: int) -> Colours:
    found = re.search(
        r"^\[Parsed_showinfo.*\bcolor_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", log, re.M
    )
    colours = Colours(found[2], found[3], found[4], found[1]) if found else Colours()
    if pixel_format.startswith(_RGB):
        return replace(colours, matrix="gbr")
    if colours.matrix != "unknown":
        return colours
    if colours.is_hdr or colours.primaries == "bt2020":
        return replace(colours, matrix="bt2020nc")
    # What players do: HD is told by its size, whichever way up it is shown.
    hd = max(width, height) >= _HD_WIDTH or min(width, height) >= _HD_HEIGHT
    return replace(colours, matrix="bt709" if hd or colours.is_wide else "unknown")


def _start(log: str) -> float:
    base = re.search(r"^\[Parsed_showinfo.*config in time_base: (\d+)/(\d+)", log, re.M)
    first = re.search(r"^\[Parsed_showinfo.*\bn: *0 pts: *(-?\d+)", log, re.M)
    return int(first[1]) * int(base[1]) / int(base[2]) if base and first and int(base[2]) else 0.0


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
