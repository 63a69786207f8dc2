"""SIGINT and SIGTERM end the command with its own exit codes, from its first moment on.

Only what is at hand at once is imported: a signal may come while everything else still is being imported.
"""

import os
import signal
from types import FrameType

received: list[int] = []  # for what some libraries make of what a signal raises: an error of their own


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, it passes every `except Exception` and lets clean-up run."""


def listen() -> None:
    """From now on SIGINT and SIGTERM raise, and a second one ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    if received:
        os._exit(128 + number)
    received.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
