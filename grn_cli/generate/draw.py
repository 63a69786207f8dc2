"""Words or classes -> pictures and clips: the work of `grn generate`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from grn.errors import UsageError
from grn.files import check_writable
from grn.hub.registry import default_model
from grn.media import WRITE_CLIP_SUFFIXES, format_of
from grn.networks import shapes
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig, sampler_config
from grn.refine.schedule import PACE
from grn.refine.step import StepView
from grn_cli.console import Bar
from grn_cli.errors import Batch
from grn_cli.generate.job import ClassName, Job, make_job
from grn_cli.generate.output import History, Writer
from grn_cli.loading import load_pipeline
from grn_cli.options.generate import Generate
from grn_cli.paths import Outputs

# What a check without the model takes for its settings: whatever some model could allow.
_WIDEST = {"tmin": 1, "tmax": 10_000, "warmup": 0}


def generate(options: Generate) -> None:
    """Draw what is asked for and write it."""
    job = make_job(options)
    job.replaced = frozenset(name for name in ("tokenizer", "text_encoder") if getattr(options, name))
    if options.dtype is None:
        options = replace(options, dtype=job.dtype, tokenizer_dtype=options.tokenizer_dtype or job.tokenizer_dtype)
    console = options.console
    # What contradicts itself, or could not be written in the end, is refused before anything is loaded.
    sampler_config(SamplerConfig(**_WIDEST), **job.overrides)
    many = not job.sheet and len(job.prompts) > 1
    outputs = Outputs(options.out, many=many, force=options.force, resume=options.resume)
    if options.out is None and not options.resume:
        check_writable(Path(), folder=True)
    history = History(options.history, outputs, options.force) if options.history else None
    named = _check(job, options, outputs)
    job.model = job.model or default_model()
    pipeline = load_pipeline(job.model, options)
    console.detail(
        f"model {pipeline.name}, tokenizer {pipeline.tokenizer.name} on {pipeline.device} in {pipeline.dtype_name}"
        + (f", decoding in {pipeline.tokenizer.dtype_name}" if pipeline.decodes_otherwise else "")
        + (", a block at a time" if options.offload else "")
    )
    # What is written beside each picture says what it was drawn with.
    job.negative_prompt, job.overrides = pipeline.preset(job.preset).beside(job.negative_prompt, job.overrides)
    job.prompts = [_class(pipeline, prompt) for prompt in job.prompts]
    clip = _draws_clips(pipeline, job, options, named)
    size = _size(pipeline, job, options, named)
    _check_steps(pipeline, size[0] > 1, job, options)
    batch = Batch(alone=len(set(job.prompts)) == 1)
    readable = _readable(job, pipeline, batch)
    _keep(job, lambda prompt, _: prompt in readable)
    writer = Writer(job, pipeline, outputs, console, size, clip, options.show)
    if options.resume:
        _keep(job, lambda prompt, seed: not writer.done(prompt, seed))
        outputs.check(len(job.prompts))
    _draw(job, pipeline, writer, history, options)
    if history:
        history.write(pipeline, console)
    batch.finish()


def _draw(job: Job, pipeline: Pipeline, writer: Writer, history: History | None, options: Generate) -> None:
    """Draw everything of the job, and write each picture when it is done, or all in one contact sheet."""
    console = options.console
    each = pipeline.settings(writer.size[0] > 1, **job.overrides).most_steps
    with console.bar("generate", each * len(job.prompts)) as bar:
        steps = _Steps(bar, len(job.prompts), each)
        listeners = [*([history.note] if history else []), *([steps.note] if console.terminal else [])]
        results = pipeline.stream(
            job.prompts,
            seed=job.seeds,
            size=writer.size,
            negative_prompt=job.negative_prompt,
            preset=job.preset,
            batch_size=options.batch_size,
            callback=_all(listeners) if listeners else None,
            known=job.start.known(pipeline, writer.size),
            **job.overrides,
        )
        drawn = []
        for result in results:
            if job.sheet:
                drawn.append(result)
            else:
                writer.one(result)
    if drawn:
        writer.grid(drawn)


def _all(listeners: Sequence[Callable[[StepView], None]]) -> Callable[[StepView], None]:
    def note(view: StepView) -> None:
        for listen in listeners:
            listen(view)

    return note


class _Steps:
    """One bar of the steps of all pictures. expected: steps of a picture that has not begun."""

    def __init__(self, bar: Bar, pictures: int, expected: int) -> None:
        self._bar, self._pictures, self._expected = bar, pictures, expected
        self._totals: dict[int, int] = {}
        self._done, self._total, self._finished = 0, pictures * expected, 0

    def note(self, view: StepView) -> None:
        """A step of one picture is done."""
        before = self._totals.get(view.number, self._expected)
        self._totals[view.number] = view.total
        self._total += view.total - before
        self._done += 1
        self._finished += view.step == view.total
        shown = f"{self._finished} of {self._pictures} pictures" if self._pictures > 1 else ""
        self._bar.to(self._done, shown, self._total)


def _check(job: Job, options: Generate, outputs: Outputs) -> Path | None:
    """Refuse what cannot come out well; the file that the result is to be, if one is named."""
    try:
        if options.aspect:
            shapes.aspect_of(options.aspect)
        if options.area:
            shapes.side_of(options.area)
    except UsageError as error:
        raise UsageError(f"--{error}") from error
    if options.show and not options.console.terminal:
        raise UsageError(
            "--show: there is no terminal on standard error, or --quiet asks for nothing on it; leave it out"
        )
    if options.resume and job.sheet:
        raise UsageError("--resume: skips pictures with a file of their own; leave out --grid")
    if options.history and len(job.prompts) > 1:
        raise UsageError("--history: follows one picture; give one prompt and -n 1")
    job.start.record()  # reads what it starts from, as far as it is there
    if not options.out or outputs.suffix(".png") != Path(options.out).suffix:
        return None
    if Path(options.out).suffix.lower() not in WRITE_CLIP_SUFFIXES:
        format_of(Path(options.out))
    return Path(options.out)


def _check_steps(pipeline: Pipeline, clip: bool, job: Job, options: Generate) -> None:
    """Refuse options on the number of steps that would change nothing, and say so of --adaptive."""
    settings = pipeline.settings(clip, **job.overrides)
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


def _draws_clips(pipeline: Pipeline, job: Job, options: Generate, named: Path | None) -> bool:
    """Whether the results are clips: what is asked for, or else what the model draws, unless they start from a picture or are named like one."""
    if pipeline.clips is None or job.start.init or job.frames == 1:
        return False
    if named is not None and named.suffix.lower() not in WRITE_CLIP_SUFFIXES:
        return False
    return pipeline.frames > 1 or job.frames is not None or _asks_for_a_clip(options, named)


def _size(pipeline: Pipeline, job: Job, options: Generate, named: Path | None) -> tuple[int, int, int]:
    """(frames, height, width) to draw. Raises UsageError where options ask for a clip and there can be none."""
    if options.aspect or options.area:
        job.size = _shape(options, pipeline)
    height, width = job.size or (pipeline.size, pipeline.size)
    length, own = _length(pipeline, job, options, named), pipeline.size
    pipeline.map_shape(length, (height, width))  # what cannot be drawn is refused first
    if options.size and not 0.5 <= height * width / own**2 <= 2:
        options.console.warn(f"{pipeline.name} was trained on pictures of {own}x{own}; drawing {width}x{height}")
    clips = pipeline.clips
    if clips and clips.frames < length <= clips.most:
        options.console.warn(f"{pipeline.name} was trained on clips of {clips.frames} frames; drawing {length}")
    return length, height, width


def _length(pipeline: Pipeline, job: Job, options: Generate, named: Path | None) -> int:
    if not _draws_clips(pipeline, job, options, named):
        why = f"{job.model} draws still pictures" if pipeline.clips is None else "the result is one picture"
        if options.seconds is not None:
            raise UsageError(f"--seconds: {why}; leave it out")
        if job.start.clip:
            model = "a video model and " if pipeline.clips is None else ""
            raise UsageError(f"--image and --continue: {why}; use {model}a name that ends in .mp4, or --init")
        if named is not None:
            format_of(named)
        return 1
    assert pipeline.clips is not None, "it draws clips"
    if job.frames is not None:
        return job.frames
    seconds = options.seconds
    return pipeline.clips.frames if seconds is None else max(1, round(seconds * pipeline.clips.fps))


def _keep(job: Job, wanted: Callable[[Any, int], bool]) -> None:
    """Leave the other pictures out of the job."""
    kept = [pair for pair in zip(job.prompts, job.seeds, strict=True) if wanted(*pair)]
    job.prompts, job.seeds = [prompt for prompt, _ in kept], [seed for _, seed in kept]


def _readable(job: Job, pipeline: Pipeline, batch: Batch) -> set[Any]:
    """The prompts that the model can read; each other one is reported."""
    readable = set()
    for prompt in dict.fromkeys(job.prompts):
        with batch.item():
            pipeline.check(prompt)
            readable.add(prompt)
    return readable


def _class(pipeline: Pipeline, prompt: Any) -> Any:
    """A class by its number where it was named. UsageError where the model has no class of that name."""
    if not isinstance(prompt, ClassName):
        return prompt
    if pipeline.text is not None:
        raise UsageError(
            f"--class {prompt}: {pipeline.name} draws from words, not from classes; give a prompt, and no --class"
        )
    names = list(getattr(pipeline, "class_names", ()))
    if prompt in names:
        return names.index(prompt)
    near = get_close_matches(prompt, names, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "give a number" if names else "it has numbers only"
    raise UsageError(f"--class {prompt}: {pipeline.name} has no class of that name; {hint}")


def _asks_for_a_clip(options: Generate, named: Path | None) -> bool:
    """Whether no still picture can be meant. A WebP may be either."""
    suffix = named.suffix.lower() if named else ""
    moves = options.init is None and suffix in WRITE_CLIP_SUFFIXES and suffix != ".webp"
    return options.seconds is not None or options.image is not None or options.continued is not None or moves


def _shape(options: Generate, pipeline: Pipeline) -> tuple[int, int]:
    """(height, width) of --aspect and --area in the model's steps; what is not given is the model's own."""
    side = shapes.side_of(options.area) if options.area else pipeline.size
    return shapes.size_of(side, shapes.aspect_of(options.aspect) if options.aspect else 1.0, pipeline.step)
