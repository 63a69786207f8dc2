"""The `grn` command: names and one line of help are known at once, options are imported for a command's help, its work
when it is run.

A command is one class of options in `grn_cli.options`, and the function that takes it, which the class names.
"""

import gc
import importlib
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from grn_cli import errors

Table = dict[str, tuple[str, Any]]

# name: (one line of help, the class of its options in grn_cli.options, or a table of subcommands)
COMMANDS: Table = {
    "tokenize": ("Turn images and videos into codes files.", "tokenize:Tokenize"),
    "reconstruct": ("Turn codes files back into images and videos.", "tokenize:Reconstruct"),
    "generate": ("Make pictures or clips from words or classes.", "generate:Generate"),
    "train": ("Train a tokenizer or a generator from a recipe.", "train:Train"),
    "eval": (
        "Measure models.",
        {
            "fid": ("Frechet distance between generated and reference pictures.", "evaluate:Fid"),
            "recon": ("What a tokenizer loses at each number of rounds.", "evaluate:Recon"),
            "sweep": ("Try sampling settings on the same prompts, and find the best.", "evaluate:Sweep"),
            "adaptive": ("Compare complexity-aware with fixed sampling on the same prompts.", "evaluate:Adaptive"),
            "motion": ("How much generated clips move, beside the data's.", "evaluate:Motion"),
            "stats": ("Gather the feature statistics of pictures, as a reference.", "evaluate:Stats"),
            "video": ("Frechet distance between two sets of clips.", "evaluate:Video"),
            "geneval": ("Draw the folder that GenEval measures, and show what it found.", "evaluate:GenEval"),
            "vbench": ("Draw the folder that VBench measures, and show what it found.", "evaluate:VBench"),
            "report": ("Show a measurement or a training run as one HTML page.", "evaluate:Report"),
            "compare": ("Show the results of several measurements side by side.", "evaluate:Compare"),
        },
    ),
    "models": (
        "List, show, fetch, convert and calibrate models.",
        {
            "list": ("List the models known by name.", "models:List"),
            "show": ("Show where a model is found and what it is.", "models:Show"),
            "pull": ("Fetch a model from the hub, once.", "models:Pull"),
            "convert": ("Turn a published checkpoint into a model folder.", "models:Convert"),
            "calibrate": ("Fit complexity-aware sampling to a mean number of steps.", "models:Calibrate"),
        },
    ),
    "inspect": ("Say what a file or model folder says of itself.", "models:Inspect"),
    "env": ("Say what is installed and found, for a report of a fault.", "models:Env"),
}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class PlainCommand(TyperCommand):
    """A command whose help begins with examples and shows its options in panels, without rich."""

    examples: tuple[str, ...] = ()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in self.examples))
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            # -h is the only option without a panel that is not the command's own: it belongs to what all have.
            own = (
                "Arguments" if param.param_type_name == "argument" else "Options" if param.name != "help" else "Common"
            )
            if record := param.get_help_record(ctx):
                name, text = record
                panels.setdefault(getattr(param, "rich_help_panel", None) or own, []).append(
                    (name.split(" <")[0], text)
                )
        for title, records in panels.items():
            with formatter.section(title):
                formatter.write_dl(records)


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
            found = get_close_matches(args[0], self.table, n=1)
            ctx.fail(f"no such command {args[0]!r}" + (f"; did you mean {found[0]!r}?" if found else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in self.table.items()])


def load(name: str, line: str, target: str | Table) -> TyperCommand | TyperGroup:
    """The command or group of a table entry. A command's help is that line, then what its options' class says."""
    if isinstance(target, dict):
        group: type[TyperGroup] = type("LazySubgroup", (LazyGroup,), {"table": target})
        return group(name=name, help=line, context_settings=dict(_SETTINGS), rich_markup_mode=None)
    options = _named("grn_cli.options", target)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(
        name, cls=PlainCommand, short_help=line, help=f"{line}\n\n{options.MORE}", context_settings=dict(_SETTINGS)
    )(_function(options))
    made: Any = typer.main.get_command(single)
    assert isinstance(made, PlainCommand)
    made.examples = options.EXAMPLES
    return made


def _function(options: Any) -> Callable[..., None]:
    """What Typer calls with every option by name."""
    from grn_cli.options.fields import at_home, signature

    def run(**values: Any) -> None:
        given = options(**{name: at_home(value) for name, value in values.items()})
        _ = given.console  # from here on, what the library logs is heard
        work = _named("grn_cli", options.WORK)
        if not gc.isenabled():  # as the process begins: what has been imported need not be looked through ever again
            gc.freeze()
            gc.enable()
        work(given)

    found: Any = run
    found.__signature__ = signature(options)
    found.__annotations__ = {name: parameter.annotation for name, parameter in found.__signature__.parameters.items()}
    return run


def _named(package: str, place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(f"{package}.{module}"), name)


app = typer.Typer(
    cls=LazyGroup,
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


def main() -> int:
    """Run the process's own command line and return its exit code."""
    _open_closed_streams()
    # Threads of torch that wait for each other spin for milliseconds before they sleep. On cores that others use too
    # that is most of the time: 26 s of processor for a picture that takes 4. libgomp reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # A name that the terminal's encoding lacks is shown escaped instead of ending the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return run(sys.argv[1:])


def _open_closed_streams() -> None:
    """Where a standard stream is closed, the first files opened would take its number and get what is meant for it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - the stream stays open
