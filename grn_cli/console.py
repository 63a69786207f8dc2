"""What goes where: results to stdout, everything said about them to stderr.

Results are lines of text, or with --json one JSON object each (so many make NDJSON). Bars are drawn only on a terminal.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from grn.files import display
from grn_cli.errors import say

T = TypeVar("T")


class Console:
    """Speaks for one command, as quiet or talkative as asked."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.terminal = sys.stderr.isatty() and not quiet
        self.talkative = verbose or self.terminal
        self._log = logging.getLogger("grn")
        self._log.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
        self._log.handlers = [_ToStderr()]
        self._log.propagate = False

    def result(self, record: dict[str, Any], *lines: str) -> None:
        """One result: `record` with --json, else `lines`, control characters escaped."""
        shown = [json.dumps(record, default=str)] if self.as_json else [display(line) for line in lines]
        sys.stdout.write("".join(line + "\n" for line in shown))
        sys.stdout.flush()

    def info(self, text: str) -> None:
        """Something good to know while watching: shown on a terminal, or with -v."""
        if self.talkative:
            say("info", text)

    def detail(self, text: str) -> None:
        """Shown with -v only."""
        self._log.info(text)

    def warn(self, text: str) -> None:
        """Shown unless -q."""
        self._log.warning(text)

    def progress(self, items: Iterable[T], description: str = "", total: float | None = None) -> Iterator[T]:
        """`items`, with a bar on the terminal: count, rate and time left."""
        if not self.terminal:
            yield from items
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=RichConsole(stderr=True), transient=True) as bar:
            length = len(items) if total is None and isinstance(items, Sized) else total
            task = bar.add_task(display(description), total=length, rate="")
            for item in items:
                yield item
                speed = bar.tasks[0].speed
                bar.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "")


class _ToStderr(logging.Handler):
    """The library's log, in the command's own form."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.levelname.lower(), record.getMessage())
