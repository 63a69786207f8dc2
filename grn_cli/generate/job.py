"""What `grn generate` is asked for: prompts, seeds and settings, from the command line, a file or a picture that grn made."""

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from grn.errors import BadInputError, ModelMismatchError, UsageError
from grn.files import is_folder
from grn.hub.registry import ENTRIES
from grn.refine.config import SamplerConfig, SamplerOverrides
from grn.request import seeds_of
from grn_cli.generate.start import Start
from grn_cli.options.fields import sides
from grn_cli.options.generate import Generate
from grn_cli.options.sampling import Drawing, Sampling
from grn_cli.options.shared import DType
from grn_cli.record import read_record, unsaid

# With --like, everything else is as the picture says.
_BESIDE_LIKE = {
    "prompts",
    "num",
    "seed",
    "size",
    "prompts_file",
    "classes",
    "negative_prompt",
    "preset",
    "aspect",
    "area",
    "seconds",
}


class ClassName(str):
    """A class by its name, which the model knows."""


@dataclass
class Job:
    """Everything that decides the pictures: prompts or classes, a seed for each, what they start from, and settings."""

    prompts: list[Any]
    seeds: list[int]
    model: str
    size: tuple[int, int] | None
    negative_prompt: str = ""
    preset: str | None = None
    overrides: SamplerOverrides = field(default_factory=SamplerOverrides)
    start: Start = field(default_factory=Start)
    frames: int | None = None  # of what --like repeats
    sheet: bool = False
    dtype: DType | None = None  # of what --like repeats, too
    tokenizer_dtype: DType | None = None
    replaced: frozenset[str] = frozenset()  # parts that are not the model's own


def make_job(options: Generate) -> Job:
    """Raises UsageError for options that contradict each other, BadInputError for files that cannot be read."""
    start = Start.of(options)
    if options.like:
        return _read_like(options.like, options, start)
    asked, file = list(options.prompts or []), options.prompts_file
    prompts = [_readable(prompt) for prompt in asked if prompt != "-"]
    if file and file != Path("-"):
        prompts += read_prompts(file)
    if "-" in asked or file == Path("-"):
        prompts += read_prompts(None)
    wanted: list[Any] = [
        *prompts,
        *(int(name) if name.isdecimal() else ClassName(name) for name in options.classes or []),
    ]
    if not wanted:
        raise UsageError("nothing to draw; give a prompt, --prompts FILE or --class N")
    for option, said in {"aspect": "shape", "area": "size"}.items():
        if options.size and getattr(options, option):
            raise UsageError(f"--size and --{option}: both say the {said}; give one of them")
    drawn = [prompt for prompt in wanted for _ in range(options.num)]
    return Job(
        drawn,
        list(seeds_of(drawn, options.seed)),
        options.model or "",
        sides(options.size)[::-1] if options.size else None,
        _readable(options.negative_prompt),
        options.preset,
        cast(SamplerOverrides, overrides(options)),
        start,
        sheet=options.grid,
    )


def overrides(options: Drawing) -> dict[str, Any]:
    """What is given of a command's sampling options, as fields of SamplerConfig. Raises UsageError."""
    named = {name: getattr(options, name, None) for name in SamplerConfig.model_fields}
    given = {name: value for name, value in named.items() if value is not None}
    if "steps" in given:
        if given.get("adaptive"):
            raise UsageError("--steps and --adaptive: both choose the number of steps; give one of them")
        given["adaptive"] = False
    return given


def read_prompts(path: Path | None) -> list[str]:
    """The lines of a file, or of standard input, that are not empty. A line ends at a line feed and nowhere else."""
    name = path or "-"
    try:
        data = path.read_bytes() if path else sys.stdin.buffer.read()
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except OSError as error:
        raise BadInputError(f"{name}: {(error.strerror or str(error)).lower()}; check the path") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name}: is not text in UTF-8 ({error.reason}); give one prompt a line") from error
    if not any(lines):
        raise BadInputError(f"{name}: holds no prompt; give one a line")
    return [line for line in lines if line]


def _readable(prompt: str) -> str:
    """A prompt of the command line as text: bytes that the locale has no letters for are read as UTF-8."""
    try:
        return prompt.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"prompt {prompt!r}: is not text in UTF-8 ({error.reason})") from error


def _read_like(like: Path, options: Generate, start: Start) -> Job:
    """The job that the text of a picture, contact sheet or clip describes."""
    decided = _BESIDE_LIKE | {one.name for one in fields(Sampling)}
    if any(getattr(options, one.name) != one.default for one in fields(options) if one.name in decided):
        raise UsageError(
            "--like: repeats a picture just as it was made; leave out prompts, seeds, sizes and sampling options"
        )
    made = read_record(like)
    try:
        pictures = [{**made, **one} for one in made.get("pictures", [made])]
        numbers = [made["height"], made["width"], made.get("frames", 1), *(one["seed"] for one in pictures)]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("of another type")
        prompts = [one["prompt"] for one in pictures]
        if not pictures or not all(type(prompt) in (str, int) for prompt in prompts):
            raise ValueError("of another type")
        overrides = cast(SamplerOverrides, SamplerConfig(**made["sampling"]).model_dump())
        model, negative, preset = str(made["model"]), str(made["negative_prompt"]), made.get("preset")
        if not isinstance(preset, str | None):
            raise ValueError("of another type")
    except (KeyError, ValueError, TypeError) as error:
        raise unsaid(like) from error
    # Nobody's picture decides what is fetched from the network.
    if options.model is None and model not in ENTRIES and not is_folder(Path(model)):
        raise ModelMismatchError(f"{like}: made with a model called {model!r}; name its folder with --model")
    start = start.repeated(made.get("from"), like)
    seeds, sheet = [one["seed"] for one in pictures], options.grid or "pictures" in made
    size, frames = (made["height"], made["width"]), made.get("frames", 1)
    return Job(
        prompts,
        seeds,
        options.model or model,
        size,
        negative,
        preset,
        overrides,
        start,
        frames,
        sheet,
        _format(made.get("dtype")),
        _format(made.get("tokenizer_dtype")),
    )


def _format(name: Any) -> DType | None:
    return next((one for one in DType if one.value == name), None)
