"""Work in numbered pieces that any number of processes share: each piece is done once, whoever does it.

Processes need nothing in common but a folder; one may end at any time, and another does what it had begun.
"""

import time
from collections.abc import Callable, Generator
from pathlib import Path

from grn.errors import BusyError
from grn.files import locked

_PAUSE = 0.2  # seconds between looks at what others are doing


def shares(folder: Path, count: int, done: Callable[[int], bool], wait: bool = True) -> Generator[int, None, None]:
    """The numbers below `count` that this process is to do: those not `done` that no other one is doing.

    A piece is held, by a lock in `folder`, until the next one is asked for. wait: when none is left but what others
    hold, until they have done it, and take over what they leave undone; else the end.
    """
    left = [number for number in range(count) if not done(number)]
    while left:
        taken = []
        for number in left:
            if done(number):
                continue
            try:
                with locked(folder / f".{number:06d}.lock"):
                    if not done(number):
                        yield number
            except BusyError:
                taken.append(number)
        left = [number for number in taken if not done(number)] if wait else []
        if left:
            time.sleep(_PAUSE)
