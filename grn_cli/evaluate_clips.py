"""`grn eval video` and `grn eval motion`: what clips are worth, in numbers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.errors import Batch
from grn_cli.evaluate_options import EMOJI, SET, FeatureOptions, KeepOptions, ModelOptions
from grn_cli.options import Common, PartOptions, command
from grn_cli.paths import expand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grn.data.samples import Sample


@command
def video(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Clip, or folder of clips.")],
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Clip, or folder of clips, to compare with it.")],
    features: FeatureOptions,
    common: Common,
) -> None:
    """Frechet distance between two sets of clips, by features of pairs of frames.

    This is not the FVD of the literature, which needs a video network.
    """
    from grn.evaluation.frechet import frechet_distance
    from grn.evaluation.video import gather_clips

    device = common.torch_device()
    network = features.network(device)
    sides = []
    for path in (reference, clips):
        shown = common.console.progress(_clips(path), "clips")
        sides.append(gather_clips((_frames(clip) for clip in shown), network, device))
    distance = frechet_distance(*sides)
    record = {
        "frechet": distance,
        "features": sides[0].network,
        "pairs": sides[1].count,
        "reference_pairs": sides[0].count,
    }
    text = f"Frechet distance {distance:.3f} ({sides[0].network}; {sides[1].count} against {sides[0].count} pairs)"
    common.console.result(record, text)


@dataclass(frozen=True)
class MotionOptions(KeepOptions):
    """The options of `grn eval motion`."""

    data: Annotated[
        Path, typer.Option("--data", metavar=SET, help="Captioned clips, whose captions are generated.")
    ] = EMOJI / "video-train.tar"
    num: Annotated[int, typer.Option("--num", "-n", min=1, metavar="N", help="Clips to generate.")] = 50
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0


@command
def motion(
    options: MotionOptions,
    model: ModelOptions,
    parts: PartOptions,
    common: Common,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Refinement steps.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Clips at a time.")] = 8,
) -> None:
    """How much generated clips move, beside the data's: mean frame difference, and share of moving pixels."""
    from grn.data.transforms import pick
    from grn.errors import UsageError
    from grn.evaluation import report
    from grn.evaluation.generation import captions
    from grn.evaluation.video import THRESHOLD, measure_motion

    pipeline = model.load(parts, common, clips=True)
    if pipeline.frames == 1:
        raise UsageError(f"--model: {pipeline.name} draws still pictures, which do not move; name a video model")
    samples = pick(options.open(options.data, clips=True), options.num, options.seed)
    prompts = captions(samples)
    results = pipeline(prompts, seed=options.seed, batch_size=batch_size, **model.overrides(steps=steps))
    shown = common.console.progress(results, "generate", len(prompts))
    drawn = measure_motion(result.frames for result in shown)
    real = measure_motion(
        _cropped(sample, pipeline.frames, pipeline.fps, pipeline.size)
        for sample in common.console.progress(samples, "data")
    )
    record = {"model": pipeline.name, "threshold": THRESHOLD, "generated": asdict(drawn), "data": asdict(real)}
    rows = [[name, m.clips, m.difference, f"{m.moving:.1%}"] for name, m in (("generated", drawn), ("data", real))]
    title = f"{pipeline.name}: clips of {pipeline.frames} frames of {pipeline.size}x{pipeline.size}; levels are of 255"
    table = report.table(["", "clips", "difference", "moving"], rows)
    common.console.result(record, title, *table)


def _cropped(sample: "Sample", frames: int, fps: float | None, size: int) -> "NDArray[np.uint8]":
    from grn.media import square

    return square(sample.clip(frames, fps), size)


def _clips(path: Path) -> list[Path]:
    from grn.media import READ_CLIP_SUFFIXES

    return [item.path for item in expand([str(path)], READ_CLIP_SUFFIXES, Batch(alone=True)) if item.path is not None]


def _frames(path: Path) -> Iterable[Any]:
    from grn.media import open_media

    with open_media(path) as media:
        yield from media
