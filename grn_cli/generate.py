"""`grn generate`: words or classes -> pictures and clips."""

from pathlib import Path

from grn.errors import UsageError
from grn.hub.registry import default_model
from grn.media import WRITE_CLIP_SUFFIXES, format_of
from grn.networks import shapes
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig, sampler_config
from grn.refine.schedule import PACE
from grn_cli.errors import Batch
from grn_cli.generate_job import Job, make_job
from grn_cli.generate_output import History, Writer
from grn_cli.loading import load_pipeline
from grn_cli.options.generate import Generate
from grn_cli.paths import Outputs

# What a check without the model takes for its settings: whatever some model could allow.
_WIDEST = {"tmin": 1, "tmax": 10_000, "warmup": 0}


def generate(options: Generate) -> None:
    """Draw what is asked for and write it."""
    console = options.console
    job = make_job(options)
    # What contradicts itself, or could not be written in the end, is refused before anything is loaded.
    sampler_config(SamplerConfig(**_WIDEST), **job.overrides)
    outputs = Outputs(options.out, many=not options.grid and len(job.prompts) > 1, force=options.force)
    history = History(options.history, outputs, options.force) if options.history else None
    named = _check(job, options, outputs)
    job.model = job.model or default_model(_asks_for_a_clip(options, named))
    pipeline = load_pipeline(job.model, options)
    console.detail(
        f"model {pipeline.name}, tokenizer {pipeline.tokenizer.name} on {pipeline.device} in {pipeline.dtype_name}"
    )
    _check_steps(pipeline, job, options)
    if options.aspect or options.area:
        job.size = _shape(options, pipeline)
    length = _length(pipeline, job, options.seconds, named)
    most = pipeline.clips.most if pipeline.clips else 1
    if pipeline.frames < length <= most:
        console.warn(f"{pipeline.name} was trained on clips of {pipeline.frames} frames; drawing {length}")
    batch = Batch(alone=len(set(job.prompts)) == 1)
    _keep_readable(job, pipeline, batch)
    size = (length, *(job.size or (pipeline.size, pipeline.size)))
    results = pipeline.stream(
        job.prompts,
        seed=job.seeds,
        size=size,
        negative_prompt=job.negative_prompt,
        batch_size=options.batch_size,
        callback=history.note if history else None,
        known=job.start.known(pipeline, size),
        **job.overrides,
    )
    writer = Writer(job, pipeline, outputs, console, clip=_draws_clips(pipeline, job, named))
    drawn = []
    for result in console.progress(results, "generate", len(job.prompts)):
        if options.grid:
            drawn.append(result)
        else:
            writer.one(result)
    if drawn:
        writer.grid(drawn)
    if history:
        history.write(pipeline, console)
    batch.finish()


def _check(job: Job, options: Generate, outputs: Outputs) -> Path | None:
    """Refuse what cannot come out well; the file that the result is to be, if one is named."""
    try:
        if options.aspect:
            shapes.aspect_of(options.aspect)
        if options.area:
            shapes.side_of(options.area)
    except UsageError as error:
        raise UsageError(f"--{error}") from error
    if options.history and len(job.prompts) > 1:
        raise UsageError("--history: follows one picture; give one prompt and -n 1")
    if not options.out or outputs.suffix(".png") != Path(options.out).suffix:
        return None
    if Path(options.out).suffix.lower() not in WRITE_CLIP_SUFFIXES:
        format_of(Path(options.out))
    return Path(options.out)


def _check_steps(pipeline: Pipeline, job: Job, options: Generate) -> None:
    """Refuse options on the number of steps that would change nothing, and say so of --adaptive."""
    settings = pipeline.settings(**job.overrides)
    if not settings.adaptive and (options.tmin or options.tmax):
        raise UsageError("--tmin and --tmax: bound the steps of --adaptive; give that too")
    if settings.adaptive and settings.k == 0:
        options.console.warn(
            f"{pipeline.name}: is not calibrated, so every picture takes the same steps; run grn models calibrate"
        )
    strength = job.start.effective_strength
    late = job.start.init and (1 - strength) * PACE > settings.warmup
    if late and (options.adaptive or options.tmin or options.tmax):
        raise UsageError(
            f"--adaptive, --tmin and --tmax: steps are chosen in the first {settings.warmup / PACE:.0%} of a run, which "
            f"--strength {strength:g} leaves out; leave out either"
        )


def _draws_clips(pipeline: Pipeline, job: Job, named: Path | None) -> bool:
    """Whether the results are clips: what the model draws, unless they start from a picture or are named like one."""
    return pipeline.frames > 1 and not job.start.init and (named is None or named.suffix.lower() in WRITE_CLIP_SUFFIXES)


def _length(pipeline: Pipeline, job: Job, seconds: float | None, named: Path | None) -> int:
    """How many frames to draw. Raises UsageError where options ask for a clip and there can be none."""
    if not _draws_clips(pipeline, job, named):
        why = f"{job.model} draws still pictures" if pipeline.frames == 1 else "the result is one picture"
        if seconds is not None:
            raise UsageError(f"--seconds: {why}; leave it out")
        if job.start.clip:
            raise UsageError(
                f"--image and --continue: {why}; use a video model and a name that ends in .mp4, or --init"
            )
        if named is not None:
            format_of(named)
        return 1
    assert pipeline.fps is not None, "a model of clips has a frame rate"
    return pipeline.frames if seconds is None else max(1, round(seconds * pipeline.fps))


def _keep_readable(job: Job, pipeline: Pipeline, batch: Batch) -> None:
    """Leave out the prompts that the model cannot read, each with its error."""
    readable = set()
    for prompt in dict.fromkeys(job.prompts):
        with batch.item():
            pipeline.check(prompt)
            readable.add(prompt)
    kept = [(prompt, seed) for prompt, seed in zip(job.prompts, job.seeds, strict=True) if prompt in readable]
    job.prompts, job.seeds = [prompt for prompt, _ in kept], [seed for _, seed in kept]


def _asks_for_a_clip(options: Generate, named: Path | None) -> bool:
    """Whether no still picture can be meant. A WebP may be either."""
    suffix = named.suffix.lower() if named else ""
    moves = options.init is None and suffix in WRITE_CLIP_SUFFIXES and suffix != ".webp"
    return options.seconds is not None or options.image is not None or options.continued is not None or moves


def _shape(options: Generate, pipeline: Pipeline) -> tuple[int, int]:
    """(height, width) of --aspect and --area in the model's steps; what is not given is the model's own."""
    side = shapes.side_of(options.area) if options.area else pipeline.size
    return shapes.size_of(side, shapes.aspect_of(options.aspect) if options.aspect else 1.0, pipeline.step)
