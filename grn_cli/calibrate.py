"""`grn models calibrate`: k and b of complexity-aware sampling (equation 9)."""

from typing import Any

from grn.data.transforms import pick
from grn.errors import UsageError
from grn.evaluation.generation import captions, spread
from grn.evaluation.report import histogram, plot_steps, table
from grn.evaluation.sweep import values_of
from grn.hub.resolve import resolve
from grn.models.folder import write_config
from grn.refine.schedule import adaptive_steps
from grn.refine.schedule import calibrate as find_b
from grn_cli.evaluate.sets import check_plot, open_set
from grn_cli.loading import load_pipeline
from grn_cli.options.models import Calibrate


def calibrate(options: Calibrate) -> None:
    """Measure entropies, find b, and store it."""
    found = resolve(options.name, offline=options.offline, kind="generator")
    pipeline = load_pipeline(str(found.folder), options)
    settings = pipeline.settings(adaptive=True, tmin=options.tmin, tmax=options.tmax)
    bounds = (settings.tmin, settings.tmax)
    if not bounds[0] <= options.mean <= bounds[1]:
        raise UsageError(f"--mean {options.mean:g}: lies outside tmin {bounds[0]} to tmax {bounds[1]}; widen them")
    others = values_of(options.others) if options.others else []
    if not all(isinstance(k, int | float) for k in others):
        raise UsageError(f"--others {options.others}: expected numbers, as in 400,800")
    check_plot(options.plot, options.force)
    labels = getattr(pipeline.generator.config, "num_classes", None)
    prompts: Any = (
        captions(pick(open_set(options.captions, options), options.num, options.seed))
        if labels is None
        else spread(labels, options.num)
    )
    measured = settings.warmup + 1  # steps after which the entropy is known
    seeds = range(options.seed, options.seed + len(prompts))
    results = pipeline.stream(prompts, seed=seeds, adaptive=True, tmin=measured, tmax=measured)
    entropies = [float(r.entropy or 0.0) for r in options.console.progress(results, "entropy", len(prompts))]
    rows = [_row(entropies, k, bounds, options.mean) for k in (options.k, *others)]
    b, steps = rows[0]["b"], [adaptive_steps(entropy, options.k, rows[0]["b"], bounds) for entropy in entropies]
    chosen = {"tmin": bounds[0], "tmax": bounds[1], "k": options.k, "b": b}
    if not options.dry_run:
        config = found.open().config
        sampling = pipeline.settings(tmin=bounds[0], tmax=bounds[1], k=options.k, b=b)
        write_config(found.folder, config.model_copy(update={"sampling": sampling}))
    mean = rows[0]["mean"]
    record = {"name": options.name, "folder": str(found.folder), **chosen, "mean": mean, "entropies": entropies}
    record |= {"rows": rows, "prompts": prompts}
    if options.plot:
        title = f"{pipeline.name}, {len(steps)} prompts: k = {options.k:g}, b = {b:g}, mean {mean:.1f} steps"
        plot_steps(steps, bounds, title, options.plot)
    summary = f"k = {options.k:g}, b = {b:g}: mean {mean:.1f} steps, {min(steps)} to {max(steps)}, {len(steps)} prompts"
    shown = table(list(rows[0]), [list(row.values()) for row in rows]) if others else []
    options.console.result(record, *histogram(steps), summary, *shown)


def _row(entropies: list[float], k: float, bounds: tuple[int, int], mean: float) -> dict[str, Any]:
    """A line of table 11: the b that makes the mean number of steps what is wanted, and what it does."""
    b = round(find_b(entropies, k, bounds, mean), 3)
    steps = [adaptive_steps(entropy, k, b, bounds) for entropy in entropies]
    least, most = (sum(step == bound for step in steps) / len(steps) for bound in bounds)
    found = {"k": k, "b": b, "tmin": bounds[0], "tmax": bounds[1], "mean": sum(steps) / len(steps)}
    return {**found, "at_tmin": least, "at_tmax": most}
