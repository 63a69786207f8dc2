"""Long work of `grn eval` that any number of processes (torchrun) share, kept in a folder until it is done."""

import contextlib
import functools
import getpass
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from grn.errors import EnvironmentFaultError
from grn.evaluation.blocks import BLOCK, Arrays, Blocks
from grn.files import cache_folder, cannot_write, display, locked
from grn_cli.console import Bar, Console
from grn_cli.evaluate.meeting import Meeting, held
from grn_cli.evaluate.sets import Chosen, leads

CLIPS = 8  # of a block
_RUN = ".run"  # the end of locks of runs that need a folder
# Seconds that the first process waits for others to come and see that nothing is left, and these for it.
_PATIENCE = 60.0


class Shared:
    """The work of one command: of the processes that share it, the first speaks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._folders: list[Path] = []
        self._held = contextlib.ExitStack()
        self._meeting: Meeting | None = None
        if not leads():
            console.hush()
        if _processes() > 1:
            run = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
            self._meeting = Meeting(self.cache / f"run-{name_of(run)}")
            if leads():
                self._meeting.lead()

    @functools.cached_property
    def cache(self) -> Path:
        """The folder of works in the cache; where that cannot be written, one of the user's own among temporary files."""
        folder = cache_folder("evaluations")
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        aside = Path(tempfile.gettempdir()) / f"grn-{os.getuid() if hasattr(os, 'getuid') else getpass.getuser()}"
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            about = aside.lstat()
        except OSError as error:
            raise cannot_write(aside, error) from error
        if not stat.S_ISDIR(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
            raise EnvironmentFaultError(f"{display(aside)}: is no folder of yours; set GRN_CACHE to one")
        self._console.warn(
            f"{display(folder)}: cannot be written; what is measured is kept in {display(aside)} (GRN_CACHE names another folder)"
        )
        return aside

    def folder(self, name: str) -> Path:
        """A folder for the work of this name, in the cache until `finish`."""
        folder = self.cache / name
        self._folders.append(folder)
        if leads():
            Blocks(folder, 0)  # makes it
            # Another run that ends may look whether it is held, for which it holds it itself.
            self._held.enter_context(locked(folder / f".{secrets.token_hex(8)}{_RUN}", wait=True))
        return folder

    def measure(
        self, said: str, decides: Any, samples: Chosen, measure: Callable[[Iterable[Any]], Arrays], size: int = BLOCK
    ) -> Blocks:
        """Measure samples, `size` at a time; whole only for the process that leads.

        decides: all that decides what is measured beside the samples, as JSON.
        """
        blocks = Blocks(self.folder(name_of([samples.identity, decides, size])), samples.count, size)
        left = blocks.left()
        if left < samples.count:
            self._console.info(f"{samples.count - left} of {samples.count} are measured already")
        with self._console.bar(said, left) as bar:
            blocks.run(
                lambda numbers: measure(_counted(samples.take(numbers), bar)),
                lambda now: bar.to(left - now),
                wait=leads(),
            )
        return blocks

    def finish(self) -> None:
        """Let go of the work once no other process would begin it again; of one that does not lead, say that it has ended."""
        if not leads():
            if self._meeting is not None:
                self._meeting.tell(os.environ["RANK"], _PATIENCE)
            return
        if self._meeting is not None:
            self._meeting.wait(_processes() - 1, _PATIENCE)
            self._meeting.close()
        self._held.close()
        for folder in self._folders:
            if not any(map(held, folder.glob(f".*{_RUN}"))):  # else the last run that measures the same lets go of it
                shutil.rmtree(folder, ignore_errors=True)


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def name_of(decides: Any) -> str:
    """A file's name for what decides a measurement, as JSON."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def blocks_of(batch_size: int) -> int:
    """Samples of a block that whole batches fill."""
    return -(-BLOCK // batch_size) * batch_size


def _counted(items: Iterable[Any], bar: Bar) -> Iterator[Any]:
    for item in items:
        yield item
        bar.advance()
