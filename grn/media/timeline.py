"""When each picture of an animation is on screen."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

# Browsers show a picture that asks for at most 0.01 s, or for no time at all, for 0.1 s: GIF, WebP and APNG alike.
_TOO_SHORT = Fraction(1, 100)
_INSTEAD = Fraction(1, 10)
_RATES = [Fraction(rate) for rate in range(1, 121)] + [Fraction(rate * 1000, 1001) for rate in (24, 30, 60)]


@dataclass(frozen=True)
class Timeline:
    """`times`: when each picture appears and, last, when the final one ends, in seconds from 0. `tick`: the format's
    unit of time.
    """

    times: tuple[Fraction, ...]
    tick: Fraction

    @classmethod
    def of(cls, delays: Iterable[Fraction], tick: Fraction) -> "Timeline":
        """Make a timeline from how long each picture asks to be shown, in seconds."""
        times = [Fraction(0)]
        for delay in delays:
            times.append(times[-1] + (delay if delay > _TOO_SHORT else _INSTEAD))
        return cls(tuple(times), tick)

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
        """Keep what appears in [start, start + duration): the pictures' numbers, and their times from `start` on."""
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


def _exact(seconds: float) -> Fraction:
    """A time as it was meant: 0.4 is 2/5, not the nearest binary fraction above it."""
    return Fraction(round(seconds * 1_000_000), 1_000_000)
