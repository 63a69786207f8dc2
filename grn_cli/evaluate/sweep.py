"""`grn eval sweep`: which sampling settings are best."""

from dataclasses import fields
from typing import Any

from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.scores import SPLITS, scores
from grn.evaluation.scores import Features as Measured
from grn.evaluation.sweep import Settings, grid, spread_of, values_of
from grn_cli.evaluate.generation import Generation, keep_report
from grn_cli.evaluate.sets import check_plot
from grn_cli.options.evaluate import Sweep
from grn_cli.options.sampling import Ranges

_SCORE = "frechet_inception_distance"


def sweep(options: Sweep) -> None:
    """Measure every setting on the same prompts and seeds."""
    check_plot(options.plot, options.force)
    axes = _axes(options)
    points = grid(axes, options.random, options.seed)
    work = Generation(options)
    for point in points:
        work.pipeline.settings(**_given(point))  # what does not go together is refused before anything is drawn
    prompts, reference = work.prompts(), work.reference()
    many = len(prompts)
    runs = [prompts[first : first + options.num] for first in range(0, many, options.num)]
    rows: list[dict[str, Any]] = []
    real = reference.features()
    for number, point in enumerate(points, 1):
        found = []
        for repeat, some in enumerate(runs):
            said = f"setting {number} of {len(points)}" + (f", run {repeat + 1}" if len(runs) > 1 else "")
            drawn = work.draw(some, said, seed=options.seed + repeat * options.num, **_given(point))
            if drawn is None or real is None:
                continue
            made = Measured(drawn.statistics, None, drawn.inception_score)
            metrics = ("fid", "isc") if drawn.inception_score and options.num >= SPLITS else ("fid",)
            steps = sum(drawn.steps) / len(drawn.steps)
            found.append({**scores(made, real, metrics), "mean_steps": steps, "seconds": drawn.seconds})
        if found:
            rows.append(_row(point, found))
            options.console.detail(", ".join(f"{name} {value}" for name, value in rows[-1].items()))
    if rows:
        _show(options, work, list(axes), rows)
    work.finish()


def _axes(options: Sweep) -> dict[str, list[Any]]:
    """The values of each setting that is given. UsageError where none is."""
    found = {}
    for one in fields(Ranges):
        text = getattr(options, one.name)
        if text is not None:
            try:
                found[one.name] = values_of(text)
            except UsageError as error:
                raise UsageError(f"--{one.name.replace('_', '-')}: {error}") from error
    if not found:
        raise UsageError("nothing to try; give values of a setting, as in --guidance 1.5:3:0.25")
    return found


def _given(point: Settings) -> Settings:
    """The fields of SamplerConfig that a point changes."""
    adaptive = {"adaptive": True} if {"k", "b", "tmin", "tmax"} & point.keys() else {}
    return {**adaptive, **({"adaptive": False} if "steps" in point else {}), **point}


def _row(point: Settings, found: list[dict[str, float]]) -> dict[str, Any]:
    """A point with the means of its runs' figures; of several runs also half of the interval that holds the mean."""
    row: dict[str, Any] = dict(point)
    for name in found[0]:
        row[name], half = spread_of([one[name] for one in found])
        if half is not None and name == _SCORE:
            row |= {f"{name}_interval": half, f"{name}_runs": [one[name] for one in found]}
    return row


def _show(options: Sweep, work: Generation, axes: list[str], rows: list[dict[str, Any]]) -> None:
    best = min(rows, key=lambda row: float(row[_SCORE]))
    shown = [("Frechet", _SCORE), ("+-", f"{_SCORE}_interval"), ("IS", "inception_score_mean")]
    shown += [("mean steps", "mean_steps"), ("seconds", "seconds")]
    shown = [(title, key) for title, key in shown if key in best]
    headers = [*axes, *(title for title, _ in shown), ""]
    cells = [
        [*(row[axis] for axis in axes), *(row[key] for _, key in shown), "best" if row is best else ""] for row in rows
    ]
    record = {
        "kind": "sweep",
        **work.record({}),
        "repeats": options.repeats,
        "axes": axes,
        "points": rows,
        "best": best,
    }
    keep_report(options.out, record)
    if options.plot:
        report.plot_sweep(rows, axes, _SCORE, work.network.name, options.plot)
    title = f"{work.pipeline.name}, {options.num} pictures a setting, seeds from {options.seed}; {work.network.name}"
    options.console.result(record, title, *report.table(headers, cells, options.markdown))
