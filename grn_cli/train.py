"""`grn train`: a recipe -> a trained model folder."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grn_cli.console import Console
from grn_cli.errors import Terminated, say
from grn_cli.options import Common, command

if TYPE_CHECKING:
    from grn.training.config import GeneratorRecipe, TokenizerRecipe

    Recipe = TokenizerRecipe | GeneratorRecipe
Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainOptions:
    """The options of `grn train`."""

    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Run folder; runs/NAME if not given.")
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value of the recipe, as section.key=value; repeatable."
        ),
    ] = None
    resume: Annotated[
        str,
        typer.Option(
            "--resume",
            metavar="auto|never|FOLDER",
            help="Continue the run folder's newest checkpoint, none, or this one.",
        ),
    ] = "auto"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and say what it would train.")] = False
    stop_after: Annotated[
        float | None,
        typer.Option("--stop-after", metavar="SECONDS", min=0, help="Stop with a checkpoint after so long."),
    ] = None


@command
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file; see the recipes folder.")],
    options: TrainOptions,
    common: Common,
) -> None:
    """Train a tokenizer or a generator from a recipe.

    Relative paths in a recipe are relative to the current folder. Prints the path of the finished model folder.
    """
    from grn.training.config import load_recipe
    from grn.training.loop import Stopped
    from grn.training.run import parameters, train

    loaded = load_recipe(recipe, options.overrides or ())
    folder = options.out or Path("runs") / loaded.name
    if options.dry_run:
        count = parameters(loaded)
        record = {
            "kind": loaded.kind,
            "name": loaded.name,
            "parameters": count,
            "recipe": loaded.model_dump(mode="json"),
        }
        common.console.result(
            record,
            f"{loaded.kind} {loaded.name}: {count / 1e6:.1f}M parameters, {loaded.run.steps} steps of {loaded.run.batch_size}, "
            f"into {folder}",
        )
        return
    _check_common(common)
    _check_folder(folder, options.resume)
    checkpoint = Path(options.resume) if options.resume not in ("auto", "never") else None
    try:
        with _reporting(common.console, loaded) as report:
            problems = train(
                loaded,
                folder,
                report,
                resume=checkpoint,
                progress=lambda items: common.console.progress(items, "encode"),
                stop_after=float("inf") if options.stop_after is None else options.stop_after,
            )
    except Stopped as stop:
        if not common.console.quiet:
            say("info", f"{folder}: stopped; the same command continues it")
        raise (Terminated if stop.signum == signal.SIGTERM else KeyboardInterrupt) from None
    for problem in problems:
        common.console.warn(f"passed over a damaged checkpoint: {problem}")
    common.console.result({"model": str(folder / "final")}, str(folder / "final"))


def _check_common(common: Common) -> None:
    """Refuse what the options of every command cannot mean here."""
    import torch

    from grn.errors import UsageError

    if common.force:
        raise UsageError("--force: a run is continued and never overwritten; choose another folder with -o")
    if common.dtype is not None:
        raise UsageError("--dtype: training keeps float32 weights and chooses its arithmetic itself; leave it out")
    used = "cuda" if torch.cuda.is_available() else "cpu"
    if common.device not in ("auto", used):
        common.torch_device()
        raise UsageError(
            f"--device {common.device}: training takes every device that it sees; hide some with CUDA_VISIBLE_DEVICES"
        )
    if common.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _check_folder(folder: Path, resume: str) -> None:
    from grn.errors import ConfigError, UsageError
    from grn.training.checkpoint import verify_checkpoint

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; choose another folder with -o")
    if resume == "never" and any(folder.glob("step-*")):
        raise UsageError(f"{folder}: holds checkpoints and --resume is never; choose another folder with -o")
    if resume not in ("auto", "never"):
        if not (Path(resume) / "manifest.json").is_file():
            raise UsageError(f"--resume {resume}: no checkpoint there; give auto, never or a step-NNNNNNNN folder")
        if problem := verify_checkpoint(Path(resume)):
            raise ConfigError(f"--resume {problem}; give an undamaged step-NNNNNNNN folder, or auto")


@contextmanager
def _reporting(console: Console, recipe: "Recipe") -> Iterator[Report]:
    """A bar on a terminal, else a line to stderr at every report."""
    if not console.terminal:
        yield (lambda step, row: None) if console.quiet else _line
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=RichConsole(file=sys.stderr)) as bar:
        task = bar.add_task(recipe.name, total=recipe.run.steps, figures="")
        yield lambda step, row: bar.update(task, completed=step, figures=_figures(row))


def _line(step: int, row: dict[str, float]) -> None:
    minutes = row["seconds_left"] / 60
    say("info", f"step {step}: {_figures(row)}, {minutes:.0f} min left")


def _figures(row: dict[str, float]) -> str:
    shown = [
        f"{name} {value:.4g}" for name, value in row.items() if name not in ("step", "seconds_left", "samples_per_s")
    ]
    return f"{', '.join(shown)}, {row['samples_per_s']:.1f} samples/s"
