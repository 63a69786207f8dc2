"""The folder of a training run: who may write in it."""

import os
from collections.abc import Callable
from pathlib import Path

from grn.errors import EnvironmentFaultError


def lock(folder: Path) -> Callable[[], None]:
    """Claim a run folder for this process; returns what gives it back. EnvironmentFaultError if another live process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            owner = path.read_text().split()
            host, pid = (owner[0], int(owner[1])) if len(owner) == 2 and owner[1].isdigit() else ("?", 0)
            if host == os.uname().nodename and not Path(f"/proc/{pid}").exists():
                path.unlink(missing_ok=True)  # its owner died
                continue
            raise EnvironmentFaultError(
                f"{folder}: in use by process {pid} on {host}; wait for it or choose another folder with -o"
            ) from None
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{os.uname().nodename} {os.getpid()}")
        return lambda: path.unlink(missing_ok=True)
    raise EnvironmentFaultError(f"{folder}: another process claimed the run just now; choose another folder with -o")
