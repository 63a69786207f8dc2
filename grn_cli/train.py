"""`grn train`: a recipe -> a trained model folder."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from grn.errors import BadInputError, ConfigError, EnvironmentFaultError, UsageError
from grn.training.checkpoint import verify_checkpoint
from grn.training.estimate import Estimate
from grn.training.loop import Stopped
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, load_recipe, text_of
from grn.training.run import check, measure, parameters
from grn.training.run import train as run_training
from grn_cli.console import Console
from grn_cli.errors import message, say
from grn_cli.options.train import Train
from grn_cli.recipes import find
from grn_cli.signals import Terminated

Recipe = TokenizerRecipe | GeneratorRecipe
Report = Callable[[int, dict[str, float]], None]


def train(options: Train) -> None:
    """Train, or say what would be trained."""
    console = options.console
    try:
        compiling = [f"run.compile={options.compile.value}"] if options.compile else []
        recipe = load_recipe(find(options.recipe), [*(options.overrides or ()), *compiling])
    except UsageError as error:
        raise UsageError(f"--set {error}") from error
    folder = options.out or Path("runs") / recipe.name
    if options.dry_run:
        _dry_run(recipe, folder, console)
        return
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _check_folder(folder, options.resume)
    checkpoint = Path(options.resume) if options.resume not in ("auto", "never") else None
    try:
        with _reporting(console, recipe) as (report, on_step):
            run_training(
                recipe,
                folder,
                report,
                on_step=on_step,
                resume=checkpoint,
                progress=lambda items: console.progress(items, "encode"),
                stop_after=float("inf") if options.stop_after is None else options.stop_after,
            )
    except Stopped as stop:
        if not console.quiet:
            say("info", f"{folder}: stopped; the same command continues it")
        raise (Terminated if stop.signum == signal.SIGTERM else KeyboardInterrupt) from None
    console.result({"model": str(folder / "final")}, str(folder / "final"))


def _dry_run(recipe: Recipe, folder: Path, console: Console) -> None:
    """The resolved recipe, which may be kept and trained; in comments behind it what it would train and take."""
    count, samples, cost = parameters(recipe), _samples(recipe, console), _cost(recipe, console)
    record = {
        "kind": recipe.kind,
        "name": recipe.name,
        "parameters": count,
        "samples": samples,
        "estimate": cost and asdict(cost),
        "recipe": recipe.model_dump(mode="json"),
    }
    steps, batch = recipe.run.steps, recipe.run.batch_size
    answer = {
        "trains": f"{recipe.kind} {recipe.name}, {count / 1e6:.1f}M parameters, into {folder}",
        "data": f"{samples or 'no'} samples; {steps} steps of {batch}",
    }
    if cost is not None:
        answer |= {
            "time": f"{_duration(steps * cost.step_seconds)}, {cost.step_seconds:.3g} s a step; sheets, distances and reading come on top",
            "memory": f"{cost.memory / 1e9:.1f} GB",
            "speed": f"{cost.flop_per_s / 1e9:,.0f} GFLOP/s, {cost.peak_share:.0%} of the peak, by steps of {cost.samples} here",
        }
    resolved = text_of(recipe)
    # The console would escape these as \x.., which TOML does not know.
    resolved = re.sub("[\x80-\xa0\xad]", lambda found: f"\\u{ord(found[0]):04x}", resolved)
    console.result(
        record, *resolved.split("\n")[:-1], "", *(f"# {name + ':':8}{text}" for name, text in answer.items())
    )


def _cost(recipe: Recipe, console: Console) -> Estimate | None:
    """Measured; a recipe may be checked where it could not run: that is a warning."""
    try:
        return measure(recipe)
    except EnvironmentFaultError as error:
        console.warn(f"not measured: {message(error)}")
        return None


def _duration(seconds: float) -> str:
    """ "41.0 s", "12.3 min", "3.2 h" or "8.1 days"."""
    unit, name = next((one for one in ((86400, "days"), (3600, "h"), (60, "min")) if seconds >= 2 * one[0]), (1, "s"))
    return f"{seconds / unit:.1f} {name}"


def _samples(recipe: Recipe, console: Console) -> int | None:
    """How many samples a recipe finds. A recipe may be checked where its data are not: that is a warning, all else an error."""
    try:
        return check(recipe)
    except BadInputError as error:
        console.warn(message(error))
        return None


def _check_folder(folder: Path, resume: str) -> None:
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
def _reporting(console: Console, recipe: Recipe) -> Iterator[tuple[Report, Callable[[int], None]]]:
    """A bar on a terminal, which every step moves, else a line to stderr at every report."""
    if not console.terminal:
        yield (lambda step, row: None) if console.quiet else _line, lambda step: None
        return
    note = ""

    def report(step: int, row: dict[str, float]) -> None:
        nonlocal note
        note = _figures(row)
        bar.to(step, note)

    with console.bar(f"train {recipe.name}", recipe.run.steps) as bar:
        yield report, lambda step: bar.to(step, note)


def _line(step: int, row: dict[str, float]) -> None:
    left = f", {row['seconds_left'] / 60:.0f} min left" if "seconds_left" in row else ""
    say("info", f"step {step}: {_figures(row)}{left}")


_SPEED = ("samples_per_s", "tokens_per_s", "flop_per_s", "peak_share", "data_wait", "memory_gb", "seconds_left")


def _figures(row: dict[str, float]) -> str:
    """The figures that matter while one watches; log.jsonl has them all."""
    shown = [
        f"{'learning rate' if name == 'lr' else name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if name not in ("step", *_SPEED) and "/" not in name  # those are by selection ratio
    ]
    if "samples_per_s" not in row:  # a distance
        return ", ".join(shown)
    return (
        f"{', '.join(shown)}, {row['samples_per_s']:.1f} samples/s, {row['tokens_per_s']:,.0f} tokens/s, "
        f"{row['flop_per_s'] / 1e9:,.0f} GFLOP/s ({row['peak_share']:.0%} of the peak), {row['data_wait']:.0%} waiting for data, "
        f"{row['memory_gb']:.1f} GB"
    )
