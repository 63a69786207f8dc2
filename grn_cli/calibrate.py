"""`grn models calibrate`: k and b of complexity-aware sampling (equation 9)."""

from typing import Any

from grn.data.transforms import pick
from grn.errors import UsageError
from grn.evaluation.generation import captions, spread
from grn.evaluation.report import histogram
from grn.hub.resolve import resolve
from grn.models.folder import write_config
from grn.refine.schedule import adaptive_steps
from grn.refine.schedule import calibrate as find_b
from grn_cli.evaluate_sets import open_set
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
    b = round(find_b(entropies, options.k, bounds, options.mean), 3)
    steps = [adaptive_steps(entropy, options.k, b, bounds) for entropy in entropies]
    chosen = {"tmin": bounds[0], "tmax": bounds[1], "k": options.k, "b": b}
    if not options.dry_run:
        config = found.open().config
        sampling = pipeline.settings(tmin=bounds[0], tmax=bounds[1], k=options.k, b=b)
        write_config(found.folder, config.model_copy(update={"sampling": sampling}))
    mean = sum(steps) / len(steps)
    record = {"name": options.name, "folder": str(found.folder), **chosen, "mean": mean, "entropies": entropies}
    summary = f"k = {options.k:g}, b = {b:g}: mean {mean:.1f} steps, {min(steps)} to {max(steps)}, {len(steps)} prompts"
    options.console.result(record, *histogram(steps), summary)
