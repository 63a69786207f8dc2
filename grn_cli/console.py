"""What goes where: results to stdout, everything said about them to stderr.

Results are lines of text, or with --json one JSON object each (so many make NDJSON). Bars are drawn only on a terminal,
one display for all that are live at a time.
"""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from grn.files import display
from grn_cli.errors import say

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress

    from grn_cli.preview import Frames

T = TypeVar("T")


class Console:
    """Speaks for one command, as quiet or talkative as asked."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.terminal = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self.talkative = verbose or self.terminal
        self._display: Progress | None = None
        self._log = logging.getLogger("grn")
        self._log.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
        self._log.handlers = [_ToStderr()]
        self._log.propagate = False

    def hush(self) -> None:
        """Say nothing from here on but errors: another process of the same command speaks."""
        self.terminal = self.talkative = False
        self._log.setLevel(logging.ERROR)

    def result(self, record: dict[str, Any], *lines: str) -> None:
        """One result: `record` with --json, else `lines`, control characters escaped."""
        shown = [json.dumps(record, default=str)] if self.as_json else [display(line) for line in lines]
        sys.stdout.write("".join(line + "\n" for line in shown))
        sys.stdout.flush()

    def info(self, text: str) -> None:
        """Say what is good to know while watching: shown on a terminal, or with -v."""
        if self.talkative:
            say("info", text)

    def detail(self, text: str) -> None:
        """Say a detail: shown with -v only."""
        self._log.info(text)

    def warn(self, text: str) -> None:
        """Warn: shown unless -q."""
        self._log.warning(text)

    def progress(self, items: Iterable[T], description: str = "", total: float | None = None) -> Iterator[T]:
        """`items`, with a bar on the terminal: count, rate and time left."""
        length = len(items) if total is None and isinstance(items, Sized) else total
        with self.bar(description, length) as bar:
            for item in items:
                yield item
                bar.advance()

    def picture(self, frames: "Frames") -> None:
        """Show a picture, or some of a clip's frames side by side, on the terminal."""
        from grn_cli.preview import preview  # only --show needs it

        preview(frames, self._display.console if self._display else _console())

    @contextmanager
    def bar(self, description: str, total: float | None = None) -> Iterator["Bar"]:
        """A bar on the terminal, nothing elsewhere. Bars that are live at once share a display."""
        if not self.terminal:
            yield Bar()
            return
        outermost = self._display is None
        if self._display is None:
            self._display = _display()
            self._display.start()
        task = self._display.add_task(display(description), total=total, note="")
        try:
            yield Bar(self._display, task)
        finally:
            if outermost:
                self._display.stop()
                self._display = None
            else:
                self._display.remove_task(task)


class Bar:
    """One bar of a display, or none."""

    def __init__(self, display: "Progress | None" = None, task: Any = None) -> None:
        self._display, self._task = display, task

    def advance(self, by: float = 1) -> None:
        """Count so many more as done."""
        if self._display is not None:
            self._display.update(self._task, advance=by)

    def to(self, completed: float, note: str = "", total: float | None = None) -> None:
        """Set how many are done, and `total` where that has changed."""
        if self._display is not None:
            self._display.update(self._task, completed=completed, total=total, note=note)


def _console() -> "RichConsole":
    from rich.console import Console as RichConsole  # only a terminal needs it

    return RichConsole(stderr=True)


def _display() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn

    class Pace(ProgressColumn):
        """Rate and time left since the beginning: rich's own forget steps that are half a minute apart."""

        def render(self, task: Task) -> Any:
            from rich.text import Text

            if not task.completed or not task.elapsed:
                return Text("")
            rate = task.completed / task.elapsed
            shown = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
            if task.total is None:
                return Text(shown)
            left = round((task.total - task.completed) / rate)
            return Text(f"{shown}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        Pace(),
        console=_console(),
        expand=True,
        transient=True,
        # Results belong to standard output even while a bar is live; on a terminal they are shown above it.
        redirect_stdout=sys.stdout.isatty(),
    )


class _ToStderr(logging.Handler):
    """The library's log, in the command's own form."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # where standard error is a file on a full disk, the work goes on
            say(record.levelname.lower(), record.getMessage())
