"""The `grn` command: names and one line of help are known at once, a command's module is imported when it is run.

A command is a function in a module of this package, named in `COMMANDS`; its parameters are its options.
"""

import importlib
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from grn_cli import errors

Table = dict[str, tuple[str, Any]]

# name: (one line of help, "module:function" or a table of subcommands)
COMMANDS: Table = {
    "tokenize": ("Turn images and videos into codes files.", "tokenize:tokenize"),
    "reconstruct": ("Turn codes files back into images and videos.", "reconstruct:reconstruct"),
    "generate": ("Make pictures or clips from words or classes.", "generate:generate"),
    "train": ("Train a tokenizer or a generator from a recipe.", "train:train"),
    "eval": (
        "Measure models.",
        {
            "fid": ("Frechet distance between generated and reference pictures.", "evaluate:fid"),
            "recon": (
                "What a tokenizer loses at each number of rounds: PSNR, SSIM, Frechet distance, bits per pixel.",
                "evaluate:recon",
            ),
            "adaptive": (
                "Complexity-aware against fixed sampling: steps taken, Frechet distances and time on the same prompts.",
                "evaluate:adaptive",
            ),
            "motion": (
                "How much generated clips move, beside the data's: mean frame difference, and share of moving pixels.",
                "evaluate_clips:motion",
            ),
            "stats": (
                "Gather the feature statistics of a folder or tar of pictures, for `grn eval fid --reference`.",
                "evaluate:stats",
            ),
            "video": (
                "Frechet distance between two sets of clips, by features of pairs of frames.",
                "evaluate_clips:video",
            ),
        },
    ),
    "models": (
        "List, inspect, fetch, convert and calibrate models.",
        {
            "list": ("List the models known by name.", "models:list_models"),
            "show": ("Show where a model is found and what it is.", "models:show"),
            "pull": ("Fetch a model from the hub, once.", "models:pull"),
            "convert": ("Turn a published checkpoint into a model folder.", "models:convert"),
            "calibrate": (
                "Choose k and b of complexity-aware sampling for a mean number of steps.",
                "models:calibrate",
            ),
        },
    ),
}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    table: Table = COMMANDS

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self.table:
            self.commands[cmd_name] = load(cmd_name, *self.table[cmd_name])
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.table and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}{_nearest(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[0]) for name, entry in self.table.items()])


def load(name: str, help_line: str, target: str | Table) -> TyperCommand | TyperGroup:
    """The command or group of a table entry."""
    if isinstance(target, dict):
        group: type[TyperGroup] = type("LazySubgroup", (LazyGroup,), {"table": target})
        return group(name=name, help=help_line, context_settings=dict(_SETTINGS), rich_markup_mode=None)
    module, function = target.split(":")
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, short_help=help_line, context_settings=dict(_SETTINGS))(
        getattr(importlib.import_module(f"grn_cli.{module}"), function)
    )
    made: Any = typer.main.get_command(single)
    assert isinstance(made, TyperCommand)
    return made


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
    help="Generative Refinement Networks: tokenize, reconstruct, train, generate and evaluate images and video.",
)


def _version(wanted: bool) -> None:
    if wanted:
        import grn

        typer.echo(f"grn {grn.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def root() -> TyperGroup:
    """The whole command as an object."""
    made: Any = typer.main.get_command(app)
    assert isinstance(made, TyperGroup)
    return made


def run(arguments: list[str]) -> int:
    """Run one command line, without the program's name, and return the exit code; without arguments, show the help."""
    try:
        group = root()
        with group.make_context("grn", arguments or ["--help"]) as context:
            group.invoke(context)
        sys.stdout.flush()
    except BaseException as error:
        return errors.report(error)
    return 0


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    # A name that the terminal's encoding lacks is shown escaped instead of ending the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise errors.Terminated


def _nearest(name: str, table: Table) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, table, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
