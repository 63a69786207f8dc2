"""Whatever ends a command early -> one line on stderr and an exit code.

Codes: 2 wrong usage, 3 bad input media, 4 bad codes, weights or config, 5 the machine's fault, 6 training diverged,
1 anything else, 130 interrupted, 143 terminated. A closed pipe is silent and gives 141, as it does for any shell tool.
GRN_DEBUG=1 adds the traceback.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from grn import errors
from grn.files import display
from grn_cli.signals import Terminated, received

_CODES: dict[type[BaseException], int] = {
    errors.UsageError: 2,
    errors.BadInputError: 3,
    errors.CodesError: 4,
    errors.ConfigError: 4,
    errors.ModelMismatchError: 4,
    errors.ModelNotFoundError: 4,
    errors.EnvironmentFaultError: 5,
    errors.TrainingDivergedError: 6,
    errors.GrnError: 1,
    MemoryError: 5,
    OSError: 5,
}
# What the library says -> what to do about it in the command's words: its errors know nothing of options.
_REMEDIES: list[tuple[type[BaseException], str, str]] = [
    (errors.ModelMismatchError, "^the codes were made with ", "name it with --tokenizer, or --force to decode anyway"),
    (errors.CodesError, "larger than one file holds", "see --start and --duration"),
    (errors.UsageError, "is no class of ", "give another --class"),
    (errors.UsageError, "draws from words, not from class numbers", "give a prompt, and no --class"),
    (errors.BadInputError, "no such statistics file", "make one with grn eval stats"),
    (errors.BadInputError, "not a statistics file", "make one with grn eval stats"),
    (errors.ModelMismatchError, "statistics come from different networks", "compute both with the same --features"),
    (errors.BadInputError, "or allow partial input", "grn tokenize has --allow-partial for that"),
    (errors.BadInputError, "give the bytes as a stream", "'-' is standard input"),
    (errors.UsageError, "write to a file or to a stream", "'-' is standard output"),
    (errors.ConfigError, "^run.trackers: the package tensorboard", "pip install 'grn[track]'"),
    (errors.EnvironmentFaultError, "needs matplotlib", "pip install 'grn[plot]', or leave out --plot"),
]
# What options are called in other programs for pictures, and here.
_HABITS = {
    "--num-inference-steps": "--steps",
    "--guidance-scale": "--guidance",
    "--cfg-scale": "--guidance",
    "--height": "--size",
    "--width": "--size",
    "--num-images": "--num",
    "--num-images-per-prompt": "--num",
    "--num-frames": "--seconds",
    "--output": "--out",
    "--checkpoint": "--model",
}
SOME_BAD = 3
_CLOSED_PIPE = 141


class Stop(BaseException):
    """End now with this exit code; everything has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def report(error: BaseException) -> int:
    """Say what went wrong in one line, if anything is to be said, and return the exit code."""
    if os.environ.get("GRN_DEBUG") == "1":
        traceback.print_exception(error)
    if received:
        return 128 + received[0]
    if isinstance(error, OSError):
        _flush_stdout()
    if isinstance(error, BrokenPipeError):
        return _CLOSED_PIPE
    if isinstance(error, KeyboardInterrupt | Terminated):
        return 130 if isinstance(error, KeyboardInterrupt) else 143
    if isinstance(error, Stop):
        return error.code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    # typer's own endings: which class they derive from depends on whether typer is old enough to use click.
    if hasattr(error, "format_message"):
        say("error", _usage(error))
        return 2
    if hasattr(error, "exit_code"):
        return int(error.exit_code)
    say("error", message(error))
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """The exit code of a kind of error."""
    if _out_of_memory(error):
        return 5
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)


def message(error: BaseException) -> str:
    """What to tell the user."""
    if isinstance(error, errors.GrnError):
        text = str(error)
        said = [remedy for kind, said, remedy in _REMEDIES if isinstance(error, kind) and re.search(said, text)]
        return "; ".join(filter(None, (text, _remedy(error) or next(iter(said), ""))))
    if _out_of_memory(error):
        return "out of memory; use a smaller size or batch, or another --device"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; check the disk and the permissions"
    return f"unexpected {type(error).__name__}: {error}; run again with GRN_DEBUG=1 for the details and report it"


def _remedy(error: errors.GrnError) -> str:
    """What to do about an error in the command's own words, "" where the error says enough."""
    if isinstance(error, errors.UndecidedError):
        values = "|".join(error.choices) or error.setting.upper()
        return f"say it with --{error.setting.replace('_', '-')} {values}"
    if isinstance(error, errors.BusyError):
        return "or name another folder with -o"
    if isinstance(error, errors.ModelNotFoundError):
        name = display(error.name)
        return {
            "network": f"`grn models pull {name}` fetches it, without --offline and HF_HUB_OFFLINE",
            "folder": "published weights are fetched by name (`grn models pull NAME`), yours are turned into a folder "
            "by `grn models convert`",
            "files": f"turn a file that you have into a folder with `grn models convert FILE -o FOLDER --name {name}`",
            "vocabulary": "give it with --vocabulary",
        }.get(error.lack, "")
    return ""


def say(kind: str, text: str) -> None:
    """One line on stderr, with control characters escaped."""
    print(f"grn: {kind}: {display(text)}", file=sys.stderr, flush=True)


class Batch:
    """The items of one command: a bad one is reported and the rest done; where there is but one, its error ends it."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.failed = 0

    @contextmanager
    def item(self) -> Iterator[None]:
        """Wrap the work on one item."""
        try:
            yield
        except (errors.UsageError, errors.EnvironmentFaultError):
            raise  # no other item would fare better
        except errors.GrnError as error:
            if self.alone:
                raise
            say("error", message(error))
            self.failed += 1

    def finish(self) -> None:
        """End the command with the code for a batch in which something was bad."""
        if self.failed:
            raise Stop(SOME_BAD)


def _usage(error: Any) -> str:
    text = " ".join(error.format_message().split()).rstrip(".").replace(": Value error, ", ": ")
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context else ""
    if text.startswith("No such option") and context:
        hint = _meant(error.option_name, context) + hint
    return text[:1].lower() + text[1:] + hint


def _meant(unknown: str, context: Any) -> str:
    """What may have been meant by an option that there is not: ours for another program's, or the name of a file."""
    if not unknown.startswith("--"):
        return f"; a name that begins with '-' stands behind '--': {context.command_path} -- {unknown}..."
    ours = _HABITS.get(unknown.replace("_", "-"), "")
    return f"; here it is {ours}" if any(ours in option.opts for option in context.command.params) else ""


def _out_of_memory(error: BaseException) -> bool:
    # torch is not imported for this: its error is known by its name, and the CPU allocator's only by its text.
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return named or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _flush_stdout() -> None:
    # Python flushes standard output once more on its way out, and would complain of it again.
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
