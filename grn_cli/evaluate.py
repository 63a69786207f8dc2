"""`grn eval`: what models are worth, in numbers."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.evaluate_options import SET, ChoiceOptions, FeatureOptions, Features, ModelOptions, SetOptions
from grn_cli.options import Common, PartOptions, command

if TYPE_CHECKING:
    from grn.evaluation.generation import Drawn
    from grn_cli.evaluate_options import Prompts

_SPLITS = 10


@dataclass(frozen=True)
class StatsOptions:
    """The options of `grn eval stats`."""

    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write; NAME.npz if not given.")
    ] = None
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, metavar="N", help="Scale the short side to N and crop the centre first."),
    ] = None


@command
def stats(
    data: Annotated[Path, typer.Argument(metavar=SET, help="Pictures.")],
    options: StatsOptions,
    choice: ChoiceOptions,
    features: FeatureOptions,
    common: Common,
) -> None:
    """Gather the feature statistics of a folder or tar of pictures, for `grn eval fid --reference`.

    Prints the path of the file written.
    """
    from grn.data.transforms import batches
    from grn.evaluation.frechet import gather
    from grn.files import numbered

    out = options.out or numbered(Path(data.resolve().name).with_suffix(".npz"))
    _refuse_existing(out, common.force)
    samples = choice.samples(data)
    device = common.torch_device()
    network = features.network(device)
    shown = common.console.progress(samples, "pictures")
    found = gather(batches(shown, options.size, features.batch_size, device), network)
    found.save(out)
    record = {"output": str(out), "features": found.network, "pictures": found.count}
    common.console.result(record, str(out))
    common.console.info(f"{found.count} pictures, {found.network}")


@dataclass(frozen=True)
class ReconOptions:
    """The options of `grn eval recon`."""

    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="NAME|FOLDER", help="The embedded one if not given.")
    ] = None
    rounds: Annotated[
        str, typer.Option("--rounds", metavar="M,...", help="Numbers of rounds; 'none' is without quantization.")
    ] = "1,2,4,6,8,none"
    size: Annotated[
        int, typer.Option("--size", min=1, metavar="N", help="Scale the short side to N and crop the centre.")
    ] = 128
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=2, metavar="N", help="Take clips, so many frames of each, and no pictures."),
    ] = None
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.01, metavar="N", help="Frames a second to take from clips.")
    ] = None
    lpips: Annotated[
        Path | None,
        typer.Option(
            "--lpips",
            metavar="FILE",
            help="Measure LPIPS too, with this TorchScript file (a program: trust its source).",
        ),
    ] = None
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw quality against rounds (.png, .svg, .pdf).")
    ] = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False


@command
def recon(
    data: Annotated[
        Path, typer.Option("--data", metavar=SET, help="Pictures, or clips, to take through the tokenizer.")
    ],
    options: ReconOptions,
    choice: ChoiceOptions,
    features: FeatureOptions,
    common: Common,
) -> None:
    """What a tokenizer loses at each number of rounds: PSNR, SSIM, Frechet distance, bits per pixel."""
    from grn.data.transforms import batches, clip_batches
    from grn.errors import UsageError
    from grn.evaluation import report
    from grn.evaluation.reconstruction import evaluate_rounds, parse_rounds
    from grn.evaluation.video import pair_network_name
    from grn.features.lpips import Lpips
    from grn.hub import registry
    from grn.tokenizer import Tokenizer

    rounds, frames = parse_rounds(options.rounds), options.frames
    if options.fps is not None and frames is None:
        raise UsageError("--fps: is the rate of clips; give --frames too")
    _refuse_existing(options.plot, common.force)
    samples = choice.samples(data, clips=frames is not None)
    device = common.torch_device()
    name = options.tokenizer or registry.DEFAULT_TOKENIZER
    tokenizer = Tokenizer.from_pretrained(name, device, common.torch_dtype(), common.offline)
    network = features.network(device)
    lpips = Lpips(options.lpips) if options.lpips else None
    kind = "pictures" if frames is None else "clips"
    shown, count, length = common.console.progress(samples, kind), features.batch_size, (frames or 1, options.fps)
    pixels = (
        clip_batches(shown, options.size, length, count, device)
        if frames
        else batches(shown, options.size, count, device)
    )
    rows = evaluate_rounds(tokenizer, pixels, rounds, network, lpips, clips=frames is not None)
    headers = ["rounds", "bits/pixel", "PSNR", "SSIM", "Frechet", *(["LPIPS"] if lpips else [])]
    cells = [
        ["none" if r.rounds is None else r.rounds, r.bits_per_pixel, r.psnr, r.ssim, r.frechet, r.lpips] for r in rows
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
    table = report.table(headers, [row[: len(headers)] for row in cells], options.markdown)
    common.console.result(record, title, *([""] if options.markdown else []), *table)


@command
def fid(
    sets: SetOptions,
    model: ModelOptions,
    parts: PartOptions,
    features: FeatureOptions,
    common: Common,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Refinement steps.")] = None,
) -> None:
    """Frechet distance between generated and reference pictures.

    With --features inception it is FID as published, and the Inception score is printed too.
    """
    from grn.evaluation.frechet import frechet_distance, inception_score

    work = _Generation(model, parts, features, common)
    prompts = sets.prompts(work.pipeline)
    drawn = work.draw(prompts, sets.seed, "generate", steps=steps)
    reference = sets.statistics(drawn.size, work.network, features.batch_size, common)
    name, count = work.pipeline.name, reference.count or None
    distance = frechet_distance(drawn.statistics(), reference)
    record = {
        "model": name,
        "frechet": distance,
        "features": drawn.network,
        "generated": len(prompts),
        "reference": count,
        "seconds": drawn.seconds,
    }
    sides = f"{len(prompts)} generated by {name}, {count or 'an unknown number of'} reference pictures"
    lines = [f"Frechet distance {distance:.3f} ({drawn.network}; {sides})"]
    if len(drawn.probabilities) >= _SPLITS:
        score, deviation = inception_score(drawn.probabilities, _SPLITS)
        record |= {"inception_score": score, "inception_score_deviation": deviation}
        lines.append(f"Inception score {score:.3f} +- {deviation:.3f}")
    common.console.result(record, *lines)


@dataclass(frozen=True)
class AdaptiveOptions:
    """The options of `grn eval adaptive`."""

    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the fixed schedule.")] = 50
    tmin: Annotated[int, typer.Option("--tmin", min=1, help="Fewest steps of the complexity-aware schedule.")] = 10
    tmax: Annotated[int, typer.Option("--tmax", min=1, help="Most steps of the complexity-aware schedule.")] = 50
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the histogram of steps (.png, .svg, .pdf).")
    ] = None

    def check(self, force: bool) -> None:
        """Raises UsageError before any work is done."""
        from grn.errors import UsageError

        if self.tmin > self.tmax:
            raise UsageError(f"--tmin {self.tmin} is above --tmax {self.tmax}; swap them")
        _refuse_existing(self.plot, force)


@command
def adaptive(
    options: AdaptiveOptions,
    sets: SetOptions,
    model: ModelOptions,
    parts: PartOptions,
    features: FeatureOptions,
    common: Common,
) -> None:
    """Complexity-aware against fixed sampling: steps taken, Frechet distances and time on the same prompts."""
    from grn.evaluation import report
    from grn.evaluation.generation import compare

    options.check(common.force)
    work = _Generation(model, parts, features, common)
    name, prompts = work.pipeline.name, sets.prompts(work.pipeline)
    fixed = work.draw(prompts, sets.seed, "fixed", adaptive=False, steps=options.steps)
    drawn = work.draw(prompts, sets.seed, "adaptive", adaptive=True, tmin=options.tmin, tmax=options.tmax)
    reference = sets.statistics(drawn.size, work.network, features.batch_size, common)
    found = compare(fixed, drawn, reference)
    mean = sum(drawn.steps) / len(drawn.steps)
    if options.plot:
        title = f"{name}, {len(prompts)} prompts, mean {mean:.1f} steps"
        report.plot_steps(drawn.steps, (options.tmin, options.tmax), title, options.plot)
    record = {
        "model": name,
        "features": drawn.network,
        "generated": len(prompts),
        "reference": reference.count or None,
        "fixed": {"steps": options.steps, "frechet": found.distances[0], "seconds": found.seconds[0]},
        "adaptive": {"mean_steps": mean, "frechet": found.distances[1], "seconds": found.seconds[1]},
        "frechet_ratio": found.distance_ratio,
        "time_ratio": found.time_ratio,
        "steps": drawn.steps,
        "entropies": drawn.entropies,
    }
    lines = [
        *report.histogram(drawn.steps),
        f"mean {mean:.1f} steps, {min(drawn.steps)} to {max(drawn.steps)}, {len(prompts)} prompts by {name}",
        f"Frechet distance {found.distances[1]:.3f} against {found.distances[0]:.3f} with {options.steps} fixed steps: "
        f"{found.distance_ratio:.3f} times ({drawn.network})",
        f"time {found.seconds[1]:.1f} s against {found.seconds[0]:.1f} s: {found.time_ratio:.2f} times as fast",
    ]
    common.console.result(record, *lines)


class _Generation:
    """What the commands that generate share: the model, then the network that measures its pictures."""

    def __init__(self, model: ModelOptions, parts: PartOptions, features: FeatureOptions, common: Common) -> None:
        self.model, self.features, self.common = model, features, common
        self.device = common.torch_device()
        self.pipeline = model.load(parts, common)
        self.network = features.network(self.device)

    def draw(self, prompts: "Prompts", seed: int, description: str, **settings: Any) -> "Drawn":
        """Generate a picture for every prompt and keep its features.

        settings: fields of SamplerConfig, None for the model's own.
        """
        from grn.evaluation.generation import measure

        batch_size = self.features.batch_size
        results = self.pipeline(prompts, seed=seed, batch_size=batch_size, **self.model.overrides(**settings))
        shown = self.common.console.progress(results, description, len(prompts))
        classes = self.features.features is Features.inception
        return measure(shown, self.network, batch_size=batch_size, device=self.device, classes=classes)


def _refuse_existing(path: Path | None, force: bool) -> None:
    from grn.errors import UsageError

    if path is not None and os.path.lexists(path) and not force:
        raise UsageError(f"{path}: exists already; choose another name, or --force to overwrite it")


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: the PSNR of equal pictures becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
