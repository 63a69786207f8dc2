"""`grn generate`: words or classes -> pictures and clips."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.errors import Batch
from grn_cli.generate_from import FromOptions, repeated
from grn_cli.generate_output import History, Writer
from grn_cli.model_parts import PartOptions
from grn_cli.options import Common, command
from grn_cli.paths import Outputs
from grn_cli.tokenize import parse_size

if TYPE_CHECKING:
    from grn.pipeline import Pipeline

_SAMPLING = ("steps", "adaptive", "tmin", "tmax", "guidance", "guidance_start", "temperature", "selection", "fill")
# What a check without the model takes for its settings: whatever some model could allow.
_WIDEST = {"tmin": 1, "tmax": 10_000, "warmup": 0}


@dataclass(frozen=True)
class WhatOptions:
    """What is drawn, with which model, and where it goes."""

    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="FILE|FOLDER|-", help="Where to write; named by prompt and seed if not given."
        ),
    ] = None
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="A file with one prompt a line; '-' is stdin.")
    ] = None
    classes: Annotated[
        list[int] | None,
        typer.Option("--class", metavar="N", help="Class number, for class-to-image models; repeatable."),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model to use; if not given, GRN_MODEL, or emoji-video where a clip is asked for, else emoji.",
        ),
    ] = None
    num: Annotated[
        int, typer.Option("--num", "-n", min=1, help="Pictures for each prompt, from seeds counting up.")
    ] = 1
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed.")] = 0
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="N|WxH", callback=parse_size, help="Pixels; the model's own if not given."),
    ] = None
    aspect: Annotated[
        str | None,
        typer.Option(
            "--aspect", metavar="W:H", help="Shape of the picture, at --area or the area of the model's own size."
        ),
    ] = None
    area: Annotated[
        str | None,
        typer.Option(
            "--area", metavar="NAME", help="Area of the picture in pixels: 0.06M, 0.25M, 0.41M, 0.92M, 1M or 2M."
        ),
    ] = None
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.01, help="Length of a clip; as long as the model draws if not given."),
    ] = None
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FILE", help="Repeat a picture that grn made: its prompt, seed and settings."),
    ] = None
    grid: Annotated[bool, typer.Option("--grid", help="One sheet of all pictures instead of a file each.")] = False
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            metavar="FILE",
            help="Animate every step: the picture beside its tokens, green where just filled, grey kept, red erased, white empty.",
        ),
    ] = None
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at a time.")] = 16


@dataclass(frozen=True)
class SamplingOptions:
    """How it is drawn; what is not given is the model's own."""

    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Refinement steps.")] = None
    adaptive: Annotated[
        bool | None, typer.Option("--adaptive/--fixed", help="Choose the steps by each picture's complexity.")
    ] = None
    tmin: Annotated[int | None, typer.Option("--tmin", min=1, help="Fewest steps, with --adaptive.")] = None
    tmax: Annotated[int | None, typer.Option("--tmax", min=1, help="Most steps, with --adaptive.")] = None
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Scale of classifier-free guidance; 1 is none.")
    ] = None
    guidance_start: Annotated[
        float | None, typer.Option("--guidance-start", help="Selection ratio from which guidance counts.")
    ] = None
    temperature: Annotated[float | None, typer.Option("--temperature", help="Below 1: safer and plainer.")] = None
    negative_prompt: Annotated[
        str, typer.Option("--negative-prompt", metavar="TEXT", help="What to steer away from.")
    ] = ""
    selection: Annotated[
        str | None,
        typer.Option("--selection", metavar="random|confidence", help="Which tokens a step keeps (ablation)."),
    ] = None
    fill: Annotated[
        str | None, typer.Option("--fill", metavar="refine|mask", help="What the other tokens show (ablation).")
    ] = None

    def overrides(self) -> dict[str, Any]:
        """What is given, as fields of SamplerConfig. Raises UsageError where two options contradict each other."""
        given = {name: getattr(self, name) for name in _SAMPLING if getattr(self, name) is not None}
        if self.steps is not None:
            if self.adaptive:
                _refuse("--steps and --adaptive: both choose the number of steps; give one of them")
            given["adaptive"] = False
        return given


@dataclass
class Job:
    """Everything that decides the pictures: prompts or classes, a seed for each, what they start from, and settings."""

    prompts: list[Any]
    seeds: list[int]
    model: str
    size: tuple[int, int] | None
    negative_prompt: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    start: FromOptions = field(default_factory=FromOptions)


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
    job = _job(list(prompts or []), what, start, sampling)
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
    from grn.media import VIDEO_SUFFIXES
    from grn.media.picture import format_of
    from grn.networks import shapes

    try:
        if what.aspect:
            shapes.aspect_of(what.aspect)
        if what.area:
            shapes.side_of(what.area)
    except UsageError as error:
        raise UsageError(f"--{error}") from error
    if what.history and len(job.prompts) > 1:
        _refuse("--history: follows one picture; give one prompt and -n 1")
    if not what.out or outputs.suffix(".png") != Path(what.out).suffix:
        return None
    if Path(what.out).suffix.lower() not in VIDEO_SUFFIXES:
        format_of(Path(what.out))
    return Path(what.out)


def _check_steps(pipeline: "Pipeline", job: Job, sampling: SamplingOptions, common: Common) -> None:
    """Refuse options on the number of steps that would change nothing, and say so of --adaptive."""
    from grn.refine.schedule import PACE

    settings = pipeline.settings(**job.overrides)
    if not settings.adaptive and (sampling.tmin or sampling.tmax):
        _refuse("--tmin and --tmax: bound the steps of --adaptive; give that too")
    if settings.adaptive and settings.k == 0:
        common.console.warn(
            f"{pipeline.name}: is not calibrated, so every picture takes the same steps; run grn models calibrate"
        )
    start = 1 - job.start.effective_strength
    if job.start.init and start * PACE > settings.warmup and (sampling.adaptive or sampling.tmin or sampling.tmax):
        _refuse(
            f"--adaptive, --tmin and --tmax: steps are chosen in the first {settings.warmup / PACE:.0%} of a run, which "
            f"--strength {job.start.effective_strength:g} leaves out; leave out either"
        )


def _draws_clips(pipeline: "Pipeline", job: Job, named: Path | None) -> bool:
    """Whether the results are clips: what the model draws, unless they start from a picture or are named like one."""
    from grn.media import VIDEO_SUFFIXES

    return pipeline.frames > 1 and not job.start.init and (named is None or named.suffix.lower() in VIDEO_SUFFIXES)


def _length(pipeline: "Pipeline", job: Job, seconds: float | None, named: Path | None) -> int:
    """How many frames to draw. Raises UsageError where options ask for a clip and there can be none."""
    from grn.media.picture import format_of

    if not _draws_clips(pipeline, job, named):
        why = f"{job.model} draws still pictures" if pipeline.frames == 1 else "the result is one picture"
        if seconds is not None:
            _refuse(f"--seconds: {why}; leave it out")
        if job.start.clip:
            _refuse(f"--image and --continue: {why}; use a video model and a name that ends in .mp4, or --init")
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


def _job(prompts: list[str], what: WhatOptions, start: FromOptions, sampling: SamplingOptions) -> Job:
    if what.like:
        return _read_like(what, prompts, start, sampling)
    if what.prompts_file and what.prompts_file != Path("-"):
        prompts = prompts + _read_prompts(what.prompts_file)
    if "-" in prompts or what.prompts_file == Path("-"):
        prompts = [p for p in prompts if p != "-"] + _read_prompts(None)
    wanted: list[Any] = [*prompts, *(what.classes or [])]
    if not wanted:
        _refuse("nothing to draw; give a prompt, --prompts FILE or --class N")
    seeds = [what.seed + i for _ in wanted for i in range(what.num)]
    sides = [int(side) for side in what.size.split("x")] if what.size else []
    size = (sides[-1], sides[0]) if sides else None
    for option, said in {"aspect": "shape", "area": "size"}.items():
        if size and getattr(what, option):
            _refuse(f"--size and --{option}: both say the {said}; give one of them")
    asked = [p for p in wanted for _ in range(what.num)]
    return Job(asked, seeds, what.model or "", size, sampling.negative_prompt, sampling.overrides(), start)


def _asks_for_a_clip(what: WhatOptions, start: FromOptions, named: Path | None) -> bool:
    """Whether no still picture can be meant. A WebP may be either."""
    from grn.media import VIDEO_SUFFIXES

    suffix = named.suffix.lower() if named else ""
    moves = start.init is None and suffix in VIDEO_SUFFIXES and suffix != ".webp"
    return what.seconds is not None or start.clip or moves


def _read_prompts(path: Path | None) -> list[str]:
    """The lines of a file, or of standard input, that are not empty."""
    from grn.errors import BadInputError

    name = path or "-"
    try:
        data = path.read_bytes() if path else sys.stdin.buffer.read()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise BadInputError(f"{name}: {(error.strerror or str(error)).lower()}; check the path") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name}: is not text in UTF-8 ({error.reason}); give one prompt a line") from error
    if not any(lines):
        raise BadInputError(f"{name}: holds no prompt; give one a line")
    return [line for line in lines if line]


def _read_like(what: WhatOptions, prompts: list[str], start: FromOptions, sampling: SamplingOptions) -> Job:
    """The job that a picture's own text describes."""
    from grn.errors import BadInputError, ModelMismatchError
    from grn.hub.registry import ENTRIES
    from grn.media import read_image_text
    from grn.refine.config import SamplerConfig

    kept = ("out", "model", "like", "grid", "history", "batch_size")
    allowed = WhatOptions(**{name: getattr(what, name) for name in kept})
    if prompts or what != allowed or sampling != SamplingOptions():
        _refuse("--like: repeats a picture just as it was made; leave out prompts, seeds, sizes and sampling options")
    assert what.like is not None
    try:
        made = json.loads(read_image_text(what.like)["grn"])
        prompt, seed, negative = made["prompt"], made["seed"], made["negative_prompt"]
        size = (made["height"], made["width"])
        if not all(type(value) is int and value >= 0 for value in (seed, *size)) or type(prompt) not in (str, int):
            raise ValueError("of another type")
        overrides = SamplerConfig(**made["sampling"]).model_dump()
        model, negative = str(made["model"]), str(negative)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise BadInputError(
            f"{what.like}: does not say how it was made; --like takes a PNG that grn generate wrote"
        ) from error
    # Nobody's picture decides what is fetched from the network.
    if what.model is None and model not in ENTRIES and not Path(model).is_dir():
        raise ModelMismatchError(f"{what.like}: made with a model called {model!r}; name its folder with --model")
    start = repeated(start, made.get("from"), what.like)
    return Job([prompt], [seed], what.model or model, size, negative, overrides, start)


def _shape(what: WhatOptions, pipeline: "Pipeline") -> tuple[int, int]:
    """(height, width) of --aspect and --area in the model's steps; what is not given is the model's own."""
    from grn.networks import shapes

    side = shapes.side_of(what.area) if what.area else pipeline.size
    return shapes.size_of(side, shapes.aspect_of(what.aspect) if what.aspect else 1.0, pipeline.step)


def _refuse(message: str) -> None:
    from grn.errors import UsageError

    raise UsageError(message)
