"""What `grn generate` is asked for: prompts, seeds and settings, from the command line, a file or a picture that grn made."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from grn_cli.generate_from import FromOptions, repeated
from grn_cli.options import parse_size

_SAMPLING = ("steps", "adaptive", "tmin", "tmax", "guidance", "guidance_start", "temperature", "selection", "fill")


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
                refuse("--steps and --adaptive: both choose the number of steps; give one of them")
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


def make_job(prompts: list[str], what: WhatOptions, start: FromOptions, sampling: SamplingOptions) -> Job:
    if what.like:
        return _read_like(what, prompts, start, sampling)
    if what.prompts_file and what.prompts_file != Path("-"):
        prompts = prompts + _read_prompts(what.prompts_file)
    if "-" in prompts or what.prompts_file == Path("-"):
        prompts = [p for p in prompts if p != "-"] + _read_prompts(None)
    wanted: list[Any] = [*prompts, *(what.classes or [])]
    if not wanted:
        refuse("nothing to draw; give a prompt, --prompts FILE or --class N")
    seeds = [what.seed + i for _ in wanted for i in range(what.num)]
    sides = [int(side) for side in what.size.split("x")] if what.size else []
    size = (sides[-1], sides[0]) if sides else None
    for option, said in {"aspect": "shape", "area": "size"}.items():
        if size and getattr(what, option):
            refuse(f"--size and --{option}: both say the {said}; give one of them")
    asked = [p for p in wanted for _ in range(what.num)]
    return Job(asked, seeds, what.model or "", size, sampling.negative_prompt, sampling.overrides(), start)


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
        refuse("--like: repeats a picture just as it was made; leave out prompts, seeds, sizes and sampling options")
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


def refuse(message: str) -> None:
    from grn.errors import UsageError

    raise UsageError(message)
