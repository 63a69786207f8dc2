"""`grn eval adaptive`: complexity-aware beside fixed sampling."""

from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.generation import compare
from grn_cli.evaluate.generation import Generation, keep_report
from grn_cli.evaluate.sets import check_plot
from grn_cli.generate.job import overrides
from grn_cli.options.evaluate import Adaptive


def adaptive(options: Adaptive) -> None:
    """Generate the same prompts with both schedules, and compare."""
    if options.tmin > options.tmax:
        raise UsageError(f"--tmin {options.tmin} is above --tmax {options.tmax}; swap them")
    check_plot(options.plot, options.force)
    work = Generation(options)
    prompts, reference, name = work.prompts(), work.reference(), work.pipeline.name
    measured = reference.features()
    fixed = work.draw(prompts, "fixed", adaptive=False)
    drawn = work.draw(prompts, "adaptive", adaptive=True)
    if fixed is None or drawn is None or measured is None:
        return work.finish()
    real = measured.statistics
    found = compare(fixed, drawn, real)
    mean = sum(drawn.steps) / len(drawn.steps)
    if options.plot:
        title = f"{name}, {len(prompts)} prompts, mean {mean:.1f} steps"
        report.plot_steps(drawn.steps, (options.tmin, options.tmax), title, options.plot)
    record = {
        "kind": "adaptive",
        **work.record({**overrides(options), "adaptive": True}),
        "reference": real.count or None,
        "fixed": {"steps": options.steps, "frechet": found.distances[0], "seconds": found.seconds[0]},
        "adaptive": {"mean_steps": mean, "frechet": found.distances[1], "seconds": found.seconds[1]},
        "frechet_ratio": found.distance_ratio,
        "time_ratio": found.time_ratio,
        "steps": drawn.steps,
        "entropies": drawn.entropies,
        "prompts": prompts,
    }
    keep_report(options.out, record)
    lines = [
        *report.histogram(drawn.steps),
        f"mean {mean:.1f} steps, {min(drawn.steps)} to {max(drawn.steps)}, {len(prompts)} prompts by {name}",
        f"Frechet distance {found.distances[1]:.3f} against {found.distances[0]:.3f} with {options.steps} fixed steps: "
        f"{found.distance_ratio:.3f} times ({drawn.statistics.network})",
        f"time {found.seconds[1]:.1f} s against {found.seconds[0]:.1f} s: {found.time_ratio:.2f} times as fast",
    ]
    options.console.result(record, *lines)
    return work.finish()
