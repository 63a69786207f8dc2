"""Where the processes that torchrun starts tell the one that leads that they have ended."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from grn.errors import BusyError, EnvironmentFaultError
from grn.files import locked

_LOCK = ".lock"
_PAUSE = 0.02  # seconds between looks
_LEFT_SECONDS = 3600  # older folders are swept if nobody leads in them


class Meeting:
    """A folder that all processes of a run know by what they are told at their start, which a later run may be told again.

    So the leader holds a lock of a random name in it: what others leave is for this name, and a leader that died is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._name, self._held = folder, secrets.token_hex(8), contextlib.ExitStack()

    def lead(self) -> None:
        """Be the leader until `close`, and sweep what leaders that died have left. EnvironmentFaultError where nothing can be written."""
        for old in self._folder.parent.glob("run-*"):
            with contextlib.suppress(OSError, EnvironmentFaultError):
                if time.time() - old.stat().st_mtime > _LEFT_SECONDS and _leader(old) is None:
                    shutil.rmtree(old)
        self._folder.mkdir(exist_ok=True)
        # Another process may look whether it is held, for which it holds it itself.
        self._held.enter_context(locked(self._folder / f"{self._name}{_LOCK}", wait=True))

    def wait(self, others: int, seconds: float) -> bool:
        """Whether so many others have told this leader within so many seconds that they have ended."""
        return _until(lambda: len(list(self._folder.glob(f"{self._name}-*"))) >= others, seconds)

    def close(self) -> None:
        """Lead no more."""
        self._held.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def tell(self, rank: str, seconds: float) -> None:
        """Tell the leader that the process of this rank has ended, as soon as there is one; nobody after so many seconds."""

        def told() -> bool:
            with contextlib.suppress(OSError, EnvironmentFaultError):  # it has ended meanwhile
                if (leader := _leader(self._folder)) is not None:
                    (self._folder / f"{leader}-{rank}").touch()
                    return True
            return False

        _until(told, seconds)


def held(lock: Path) -> bool:
    """Whether a process holds a lock file; one that nobody holds is removed."""
    try:
        with locked(lock):
            return False
    except BusyError:
        return True


def _leader(folder: Path) -> str | None:
    """The name of the one that leads in a folder now."""
    return next((lock.stem for lock in folder.glob(f"*{_LOCK}") if held(lock)), None)


def _until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE)
    return True
