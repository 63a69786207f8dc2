"""The folder of a training run: who may write in it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from grn.files import cannot_write, locked


def lock(folder: Path) -> Callable[[], None]:
    """Claim a run folder for this process; returns what gives it back.

    BusyError if another live process has it, EnvironmentFaultError if nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    held = contextlib.ExitStack()
    held.enter_context(locked(folder / "lock"))
    return held.close
