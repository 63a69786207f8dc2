"""`grn generate`: words or classes -> pictures and clips."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grn_cli.errors import Batch
from grn_cli.generate_from import FromOptions
from grn_cli.generate_job import Job, SamplingOptions, WhatOptions, make_job, refuse
from grn_cli.generate_output import History, Writer
from grn_cli.options import Common, PartOptions, command
from grn_cli.paths import Outputs

if TYPE_CHECKING:
    from grn.pipeline import Pipeline

# What a check without the model takes for its settings: whatever some model could allow.
_WIDEST = {"tmin": 1, "tmax": 10_000, "warmup": 0}


@command
def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="What to draw, one picture each; '-' reads lines from stdin."),
    ] = None,
    what: WhatOptions = WhatOptions(),
    start: FromOptions = FromOptions(),
    sampling: SamplingOptions = SamplingOptions(),
    parts: PartOptions = PartOptions(),
    common: Common = Common(),
) -> None:
    """Make pictures or clips from words or classes.

    Prints the path of each file written.
    """
    from grn.hub.registry import default_model
    from grn.pipeline import sampler_config
    from grn.refine.config import SamplerConfig

    start.check()
    job = make_job(list(prompts or []), what, start, sampling)
    # What contradicts itself, or could not be written in the end, is refused before anything is loaded.
    sampler_config(SamplerConfig(**_WIDEST), **job.overrides)
    outputs = Outputs(what.out, many=not what.grid and len(job.prompts) > 1, force=common.force)
    history = History(what.history, outputs, common) if what.history else None
    named = _check(job, what, outputs)
    job.model = job.model or default_model(_asks_for_a_clip(what, start, named))
    pipeline = parts.load(job.model, common)
    common.console.detail(f"model {pipeline.name}, tokenizer {pipeline.tokenizer.name} on {pipeline.device}")
    _check_steps(pipeline, job, sampling, common)
    if what.aspect or what.area:
        job.size = _shape(what, pipeline)
    length = _length(pipeline, job, what.seconds, named)
    most = pipeline.clips.most if pipeline.clips else 1
    if pipeline.frames < length <= most:
        common.console.warn(f"{pipeline.name} was trained on clips of {pipeline.frames} frames; drawing {length}")
    batch = Batch(alone=len(set(job.prompts)) == 1)
    _keep_readable(job, pipeline, batch)
    size = (length, *(job.size or (pipeline.size, pipeline.size)))
    results = pipeline(
        job.prompts,
        keys=[(seed, 0) for seed in job.seeds],
        size=size,
        negative_prompt=job.negative_prompt,
        batch_size=what.batch_size,
        callback=history.note if history else None,
        known=job.start.known(pipeline, size),
        **job.overrides,
    )
    writer = Writer(job, pipeline, outputs, common, clip=_draws_clips(pipeline, job, named))
    drawn = []
    for result in common.console.progress(results, "generate", len(job.prompts)):
        if what.grid:
            drawn.append(result)
        else:
            writer.one(result)
    if drawn:
        writer.grid(drawn)
    if history:
        history.write(pipeline, common)
    batch.finish()


def _check(job: Job, what: WhatOptions, outputs: Outputs) -> Path | None:
    """Refuse what cannot come out well; the file that the result is to be, if one is named."""
    from grn.errors import UsageError
    from grn.media import WRITE_CLIP_SUFFIXES, format_of
    from grn.networks import shapes

    try:
        if what.aspect:
            shapes.aspect_of(what.aspect)
        if what.area:
            shapes.side_of(what.area)
    except UsageError as error:
        raise UsageError(f"--{error}") from error
    if what.history and len(job.prompts) > 1:
        refuse("--history: follows one picture; give one prompt and -n 1")
    if not what.out or outputs.suffix(".png") != Path(what.out).suffix:
        return None
    if Path(what.out).suffix.lower() not in WRITE_CLIP_SUFFIXES:
        format_of(Path(what.out))
    return Path(what.out)


def _check_steps(pipeline: "Pipeline", job: Job, sampling: SamplingOptions, common: Common) -> None:
    """Refuse options on the number of steps that would change nothing, and say so of --adaptive."""
    from grn.refine.schedule import PACE

    settings = pipeline.settings(**job.overrides)
    if not settings.adaptive and (sampling.tmin or sampling.tmax):
        refuse("--tmin and --tmax: bound the steps of --adaptive; give that too")
    if settings.adaptive and settings.k == 0:
        common.console.warn(
            f"{pipeline.name}: is not calibrated, so every picture takes the same steps; run grn models calibrate"
        )
    start = 1 - job.start.effective_strength
    if job.start.init and start * PACE > settings.warmup and (sampling.adaptive or sampling.tmin or sampling.tmax):
        refuse(
            f"--adaptive, --tmin and --tmax: steps are chosen in the first {settings.warmup / PACE:.0%} of a run, which "
            f"--strength {job.start.effective_strength:g} leaves out; leave out either"
        )


def _draws_clips(pipeline: "Pipeline", job: Job, named: Path | None) -> bool:
    """Whether the results are clips: what the model draws, unless they start from a picture or are named like one."""
    from grn.media import WRITE_CLIP_SUFFIXES

    return pipeline.frames > 1 and not job.start.init and (named is None or named.suffix.lower() in WRITE_CLIP_SUFFIXES)


def _length(pipeline: "Pipeline", job: Job, seconds: float | None, named: Path | None) -> int:
    """How many frames to draw. Raises UsageError where options ask for a clip and there can be none."""
    from grn.media import format_of

    if not _draws_clips(pipeline, job, named):
        why = f"{job.model} draws still pictures" if pipeline.frames == 1 else "the result is one picture"
        if seconds is not None:
            refuse(f"--seconds: {why}; leave it out")
        if job.start.clip:
            refuse(f"--image and --continue: {why}; use a video model and a name that ends in .mp4, or --init")
        if named is not None:
            format_of(named)
        return 1
    assert pipeline.fps is not None, "a model of clips has a frame rate"
    return pipeline.frames if seconds is None else max(1, round(seconds * pipeline.fps))


def _keep_readable(job: Job, pipeline: "Pipeline", batch: Batch) -> None:
    """Leave out the prompts that the model cannot read, each with its error."""
    readable = set()
    for prompt in dict.fromkeys(job.prompts):
        with batch.item():
            pipeline.check(prompt)
            readable.add(prompt)
    kept = [(prompt, seed) for prompt, seed in zip(job.prompts, job.seeds, strict=True) if prompt in readable]
    job.prompts, job.seeds = [prompt for prompt, _ in kept], [seed for _, seed in kept]


def _asks_for_a_clip(what: WhatOptions, start: FromOptions, named: Path | None) -> bool:
    """Whether no still picture can be meant. A WebP may be either."""
    from grn.media import WRITE_CLIP_SUFFIXES

    suffix = named.suffix.lower() if named else ""
    moves = start.init is None and suffix in WRITE_CLIP_SUFFIXES and suffix != ".webp"
    return what.seconds is not None or start.clip or moves


def _shape(what: WhatOptions, pipeline: "Pipeline") -> tuple[int, int]:
    """(height, width) of --aspect and --area in the model's steps; what is not given is the model's own."""
    from grn.networks import shapes

    side = shapes.side_of(what.area) if what.area else pipeline.size
    return shapes.size_of(side, shapes.aspect_of(what.aspect) if what.aspect else 1.0, pipeline.step)
