"""`grn eval`: what models are worth, in numbers."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grn.data.transforms import batches, clip_batches, preparation
from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.frechet import gather
from grn.evaluation.generation import compare
from grn.evaluation.reconstruction import evaluate_rounds
from grn.evaluation.records import load_record, side_by_side
from grn.evaluation.scores import SPLITS, check_metrics, scores
from grn.evaluation.scores import Features as Measured
from grn.evaluation.video import pair_network_name
from grn.features.lpips import Lpips
from grn.files import numbered
from grn.hbq import MAX_ROUNDS
from grn_cli.evaluate_sets import Generation, chosen, feature_network, keep_report, refuse_existing
from grn_cli.generate_job import overrides
from grn_cli.loading import device_of, load_tokenizer
from grn_cli.options.evaluate import Adaptive, Compare, Fid, Recon, Stats

# What older versions called them.
_OURS = {
    "frechet": "frechet_inception_distance",
    "inception_score": "inception_score_mean",
    "inception_score_deviation": "inception_score_std",
}


def stats(options: Stats) -> None:
    """Gather the feature statistics of a set."""
    refuse_existing(options.out, options.force)
    samples = chosen(options.data, options)
    device = device_of(options)
    network = feature_network(options, device)
    shown = options.console.progress(samples, "pictures")
    found = gather(batches(shown, options.size, options.batch_size, device), network, preparation(options.size))
    out = options.out or numbered(Path(options.data.resolve().name).with_suffix(".npz"))
    found.save(out)
    record = {"output": str(out), "features": found.network, "pictures": found.count, "preparation": found.preparation}
    options.console.result(record, str(out))
    options.console.info(f"{found.count} pictures, {found.preparation}, {found.network}")


def parse_rounds(text: str) -> list[int | None]:
    """ "1,2,4,none" -> [1, 2, 4, None]. Raises UsageError."""
    found: list[int | None] = []
    for word in (part.strip().lower() for part in text.split(",")):
        if word == "none":
            found.append(None)
        elif word.isascii() and word.isdigit() and 1 <= int(word) <= MAX_ROUNDS:
            found.append(int(word))
        else:
            raise UsageError(
                f"--rounds: {word!r} is neither a number from 1 to {MAX_ROUNDS} nor 'none'; try 1,2,4,none"
            )
    return found


def recon(options: Recon) -> None:
    """Take a set through a tokenizer at several numbers of rounds, and measure."""
    rounds, frames = parse_rounds(options.rounds), options.frames
    if options.fps is not None and frames is None:
        raise UsageError("--fps: is the rate of clips; give --frames too")
    refuse_existing(options.plot, options.force)
    samples = chosen(options.data, options, clips=frames is not None)
    device = device_of(options)
    tokenizer = load_tokenizer(options.tokenizer, options)
    network = feature_network(options, device)
    lpips = Lpips(options.lpips) if options.lpips else None
    kind = "pictures" if frames is None else "clips"
    shown = options.console.progress(samples, kind)
    pixels = (
        clip_batches(shown, options.size, (frames, options.fps), options.batch_size, device)
        if frames
        else batches(shown, options.size, options.batch_size, device)
    )
    rows = evaluate_rounds(tokenizer, pixels, rounds, network, lpips, clips=frames is not None)
    more = [("LPIPS", [row.lpips for row in rows]), ("MS-SSIM", [row.ms_ssim for row in rows])]
    more = [(name, values) for name, values in more if values[0] is not None]
    headers = ["rounds", "bits/pixel", "PSNR", "SSIM", "Frechet", *(name for name, _ in more)]
    cells = [
        [row.rounds or "none", row.bits_per_pixel, row.psnr, row.ssim, row.frechet, *(values[i] for _, values in more)]
        for i, row in enumerate(rows)
    ]
    pictures = f"{len(samples)} {kind} of {options.size}x{options.size}" + (f", {frames} frames" if frames else "")
    measured = network.name if frames is None else pair_network_name(network)
    title = f"{tokenizer.name}, {pictures}; Frechet distance with {measured}"
    record = {
        "tokenizer": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "features": measured,
        kind: len(samples),
        "size": options.size,
        **({"frames": frames} if frames else {}),
        "rows": [_finite(asdict(row)) for row in rows],
    }
    if options.plot:
        report.plot_rounds(rows, measured, options.plot)
    table = report.table(headers, cells, options.markdown)
    options.console.result(record, title, *([""] if options.markdown else []), *table)


def fid(options: Fid) -> None:
    """Generate, and hold the pictures against a reference."""
    work = Generation(options)
    prompts, reference = work.prompts(), work.reference()
    classes = hasattr(work.network, "probabilities")
    metrics = _metrics(options, classes)
    check_metrics(metrics, reference.pictures is not None, classes, options.num)
    keep = "kid" in metrics or "prc" in metrics
    drawn = work.draw(prompts, "generate", keep)
    if drawn is None:
        return
    real = reference.features(drawn.size, keep)
    found = scores(Measured(drawn.statistics, drawn.features, drawn.inception_score), real, metrics)
    record = {
        "kind": "generation",
        **work.record(overrides(options)),
        "reference": real.statistics.count or None,
        "preparation": real.statistics.preparation or None,
        "seconds": drawn.seconds,
        "mean_steps": sum(drawn.steps) / len(drawn.steps),
        **found,
        **{ours: found[theirs] for ours, theirs in _OURS.items() if theirs in found},
    }
    sides = f"{len(prompts)} generated by {work.pipeline.name}, {record['reference'] or 'an unknown number of'} reference pictures"
    keep_report(options.out, record)
    options.console.result(record, *_score_lines(found, f"{drawn.statistics.network}; {sides}"))


def _metrics(options: Fid, classes: bool) -> tuple[str, ...]:
    """Those asked for; by default the Frechet distance, and the Inception score where Inception tells it."""
    if options.metrics is not None:
        return tuple(word.strip().lower() for word in options.metrics.split(","))
    return ("fid", "isc") if classes and options.num >= SPLITS else ("fid",)


def _score_lines(found: dict[str, float], basis: str) -> list[str]:
    """A line for each metric; the first says what all are of."""
    texts = {
        "frechet_inception_distance": "Frechet distance {:.3f}",
        "inception_score_mean": "Inception score {:.3f} +- {inception_score_std:.3f}",
        "kernel_inception_distance_mean": "kernel distance {:.6f} +- {kernel_inception_distance_std:.6f}",
        "precision": "precision {:.4f}",
        "recall": "recall {:.4f}",
    }
    lines = [text.format(found[key], **found) for key, text in texts.items() if key in found]
    return [f"{lines[0]} ({basis})", *lines[1:]]


def adaptive(options: Adaptive) -> None:
    """Generate the same prompts with both schedules, and compare."""
    if options.tmin > options.tmax:
        raise UsageError(f"--tmin {options.tmin} is above --tmax {options.tmax}; swap them")
    refuse_existing(options.plot, options.force)
    work = Generation(options)
    prompts, reference, name = work.prompts(), work.reference(), work.pipeline.name
    fixed = work.draw(prompts, "fixed", adaptive=False)
    drawn = work.draw(prompts, "adaptive", adaptive=True)
    if fixed is None or drawn is None:
        return
    real = reference.features(drawn.size).statistics
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


def compare_results(options: Compare) -> None:
    """The figures of several results, and the ratio of the last to the first."""
    if len(options.results) < 2:
        raise UsageError("one result has nothing to be compared with; name two or more")
    rows = side_by_side([load_record(path) for path in options.results])
    names = [str(path) for path in options.results]
    record = {name: {"values": dict(zip(names, values, strict=True)), "ratio": ratio} for name, values, ratio in rows}
    cells = [[name, *values, ratio] for name, values, ratio in rows]
    options.console.result(record, *report.table(["", *names, "ratio"], cells, options.markdown))


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: the PSNR of equal pictures becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
