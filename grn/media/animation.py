"""Animated GIF and WebP: how long each picture is shown, and when.

Pillow counts only the pictures that it manages to read, so a file cut between two of them would look complete. The
structure is walked here first, which also gives the times without decoding anything.
"""

import itertools
import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

# A length field can claim 4 GiB, which would be allocated before anything is read.
_LONGEST = 1 << 28
# Browsers show pictures without a time for 0.1 s.
_UNTIMED = Fraction(1, 10)
_RATES = [Fraction(rate) for rate in range(1, 121)] + [Fraction(rate * 1000, 1001) for rate in (24, 30, 60)]


@dataclass(frozen=True)
class Timeline:
    """`times`: when each picture appears and, last, when the final one ends, in seconds from 0. `tick`: the format's
    unit of time.
    """

    times: tuple[Fraction, ...]
    tick: Fraction

    @property
    def frames(self) -> int:
        return len(self.times) - 1

    @property
    def fps(self) -> Fraction:
        """The usual rate (1 to 120, or 24, 30, 60 / 1.001) that rounds to these very times, else the average rate."""
        average = self.frames / self.times[-1]
        for rate in sorted(_RATES, key=lambda rate: abs(rate - average)):
            if all(abs(index / rate - time) <= self.tick for index, time in enumerate(self.times)):
                return rate
        return average

    def cut(self, start: float, duration: float | None) -> tuple[range, "Timeline"]:
        """Which pictures appear in [start, start + duration), and their times from `start` on."""
        first, end = _exact(start), self.times[-1]
        if duration is not None:
            end = min(end, first + _exact(duration))
        chosen = [index for index in range(self.frames) if first <= self.times[index] < end]
        if not chosen:
            return range(0), self
        times = tuple(self.times[index] - first for index in chosen)
        stop = min(self.times[chosen[-1] + 1], end) - first
        return range(chosen[0], chosen[-1] + 1), Timeline((*times, stop), self.tick)

    def repeats(self, fps: float | None) -> list[int]:
        """How often to show each picture at a constant rate, where frame k is the picture on screen at k / fps; None:
        once each.
        """
        if fps is None:
            return [1] * self.frames
        # Times are rounded to the tick, so half a tick late is in time.
        slots = [max(0, math.ceil((time - self.tick / 2) * Fraction(fps))) for time in self.times]
        # A jump between two pictures begins with the next one.
        slots[0] = 0
        # However short, a clip has one frame.
        slots[-1] = max(slots[-1], 1)
        return [after - before for before, after in itertools.pairwise(slots)]


def walk(file: BinaryIO, form: str) -> Timeline | None:
    """The timeline of a GIF or an animated WebP; None for other files. Raises ValueError or struct.error where the
    structure breaks off.
    """
    if form == "GIF":
        return _timeline(_gif_delays(file), Fraction(1, 100))
    if form == "WEBP":
        delays = _webp_delays(file)
        return _timeline(delays, Fraction(1, 1000)) if delays else None
    return None


def _timeline(delays: list[int], tick: Fraction) -> Timeline:
    times = [Fraction(0)]
    for delay in delays:
        times.append(times[-1] + (delay * tick or _UNTIMED))
    return Timeline(tuple(times), tick)


def _exact(seconds: float) -> Fraction:
    """A time as it was meant: 0.4 is 2/5, not the nearest binary fraction above it."""
    return Fraction(round(seconds * 1_000_000), 1_000_000)


def _gif_delays(file: BinaryIO) -> list[int]:
    """Hundredths of a second for each picture."""
    (flags,) = struct.unpack("<10xBxx", _take(file, 13))
    _skip_palette(file, flags)
    delays: list[int] = []
    delay = 0
    while True:
        (kind,) = _take(file, 1)
        if kind == 0x3B:  # trailer
            break
        if kind == 0x21:  # extension
            (label,) = _take(file, 1)
            body = _blocks(file)
            if label == 0xF9 and len(body) >= 4:
                (delay,) = struct.unpack("<xHx", body[:4])
        elif kind == 0x2C:  # picture
            (flags,) = struct.unpack("<8xB", _take(file, 9))
            _skip_palette(file, flags)
            _take(file, 1)
            _blocks(file)
            delays.append(delay)
            delay = 0
        else:
            raise ValueError(f"unknown GIF block {kind:#04x}")
    if not delays:
        raise ValueError("no picture in the file")
    return delays


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        _take(file, 3 * 2 ** ((flags & 7) + 1))


def _blocks(file: BinaryIO) -> bytes:
    """A chain of sub-blocks; only the first is returned, which is all that extensions need."""
    first = b""
    while True:
        (length,) = _take(file, 1)
        if length == 0:
            return first
        body = _take(file, length)
        first = first or body


def _webp_delays(file: BinaryIO) -> list[int]:
    """Milliseconds for each picture; none for a still."""
    (declared,) = struct.unpack("<4xI4x", _take(file, 12))
    delays: list[int] = []
    position = 4
    while position + 8 <= declared:
        name, length = struct.unpack("<4sI", _take(file, 8))
        body = _take(file, length)
        _take(file, max(0, min(length % 2, declared - position - 8 - length)))
        position += 8 + length + length % 2
        if name == b"ANMF":
            delays.append(int.from_bytes(body[12:15], "little"))
    return delays


def _take(file: BinaryIO, length: int) -> bytes:
    data = file.read(min(length, _LONGEST))
    if len(data) < length:
        raise ValueError("the file ends early")
    return data
