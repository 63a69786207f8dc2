"""A command's options as one frozen dataclass, whose base classes are the panels of its help.

    @dataclass(frozen=True, kw_only=True)
    class Tokenize(Computing, Speaking):
        inputs: list[str] = argument("Images, videos, folders or globs of them.", "INPUT")
        rounds: int | None = option("Quantization rounds.", "1..16", parser=rounds)

Typer itself reads options from a function's parameters: forty of them would be named three times on their way to the
work, and shared ones once for every command. So `signature` makes that function's parameters from the fields.
"""

import inspect
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from grn.errors import UsageError
from grn.files import check_name


def option(
    text: str, metavar: str | None = None, *names: str, default: Any = None, check: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> Any:  # fmt: skip
    """A field that is an option. names: as on the command line, by default --field-name. check: raises BadParameter; that of
    a model is `named`.
    """
    if check is None and metavar and {"MODEL", "TOKENIZER", "ENCODER"} & {*metavar.split("|")}:
        check = named
    settings |= {"callback": _given(check)} if check else {}
    settings |= {"autocompletion": offers(metavar)} if metavar and not {*metavar.split("|")} <= FILES else {}
    return field(
        default=default, metadata={"typer": (typer.Option, names, {"help": text, "metavar": metavar, **settings})}
    )


def argument(text: str, metavar: str, default: Any = MISSING) -> Any:
    """A field that is a positional argument, required where it has no default."""
    settings = {"help": text, "metavar": metavar, "autocompletion": offers(metavar)}
    return field(default=default, metadata={"typer": (typer.Argument, (), settings)})


def signature(options: type) -> inspect.Signature:
    """The parameters by which Typer reads the fields of a class and of its bases, in that order."""
    hints, found = get_type_hints(options, include_extras=True), []
    by_name = {one.name: one for one in fields(options)}
    for base in options.__mro__:
        for name in [name for name in vars(base).get("__annotations__", {}) if name in by_name]:
            one = by_name.pop(name)
            kind, names, settings = one.metadata["typer"]
            if hints[name] is bool and not names:
                names = (f"--{name.replace('_', '-')}",)  # else Typer adds --no-NAME
            if kind is typer.Option:
                settings = {**settings, "rich_help_panel": vars(base).get("PANEL")}
            default = inspect.Parameter.empty if one.default is MISSING else one.default
            made: Any = Annotated[hints[name], kind(*names, **settings)]
            found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=made))
    return inspect.Signature(found)


def choices(metavar: str | None) -> tuple[tuple[str, ...], bool]:
    """The words that a metavar stands for, and whether files do: "auto|cpu|cuda[:N]" is auto cpu cuda, "1..3" is 1 2 3.

    MODEL is a generator's name, TOKENIZER a tokenizer's, ENCODER a text encoder's, NAME any; FILE, FOLDER and the like
    are files.
    """
    words: list[str] = []
    files = False
    for part in re.sub(r"\[.*?\]", "", metavar or "").rstrip(".").split("|"):
        if part in FILES:
            files = True
        elif part in KINDS:
            from grn.hub.registry import names

            words += names(KINDS[part])
        elif part == "RECIPE":
            from grn_cli.recipes import names as recipes

            words, files = [*words, *recipes()], True
        elif span := re.fullmatch(r"(\d+)\.\.(\d+)", part):
            words += [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
        elif re.fullmatch(r"[a-z][a-z0-9_-]*", part):
            words.append(part)
    return tuple(words), files


FILES = {"INPUT", "CODES", "FILE", "FOLDER", "PATH", "TAR"}
KINDS = {"NAME": None, "MODEL": "generator", "TOKENIZER": "tokenizer", "ENCODER": "text-encoder"}


def offers(metavar: str) -> Callable[[str], list[str]]:
    """For Typer's own completion: the words that begin as what is typed."""
    return lambda incomplete: [word for word in choices(metavar)[0] if word.startswith(incomplete)]


def _given(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if value is None else check(value)


def at_home(value: Any) -> Any:
    """A path that begins with "~" as the shell would have it; anything else as it is."""
    with suppress(RuntimeError):  # there is no such user
        return value.expanduser() if isinstance(value, Path) else value
    return value


# Checks


def device(value: str) -> str:
    """ "auto", "cpu", "cuda" or "cuda:1"."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N")
    return value


def rounds(value: int) -> int:
    """Check a number of rounds, 1 to 16."""
    if not 1 <= value <= 16:
        raise typer.BadParameter(f"{value} is out of range (expected 1 to 16)")
    return value


def named(value: str) -> str:
    """Check that a name is not empty, as an unset variable of a shell is."""
    if not value.strip():
        raise typer.BadParameter("is empty; name a model or a folder, or leave it out")
    return value


def finite(value: float) -> float:
    """Check that a number is one; "inf" and "nan" are floats, too."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is out of range (expected a finite number)")
    return value


def new_file(value: Any) -> Any:
    """The name of a file or folder to write: no work is to end in a name that no file can have."""
    try:
        check_name(at_home(Path(value)))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def size(value: str) -> str:
    """ "256" or "320x240"."""
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})?", value):
        raise typer.BadParameter(f"{value!r} is no size; give a number of pixels, or WIDTHxHEIGHT")
    return value


def several_sizes(value: str) -> str:
    """ "256" or "320x240,240x320"."""
    for one in value.split(","):
        size(one)
    return value


def sides(value: str) -> tuple[int, int]:
    """(width, height) of a checked size."""
    found = [int(side) for side in value.split("x")]
    return found[0], found[-1]
