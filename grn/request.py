"""What a call of the pipeline asks for: its options, read and checked before anything is drawn."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex, TypeVar, cast

from typing_extensions import ParamSpec, Unpack

from grn.errors import UsageError
from grn.refine.config import SamplerConfig, SamplerOverrides
from grn.refine.known import Known
from grn.refine.step import StepView

P = ParamSpec("P")
R = TypeVar("R")
Size = tuple[int, int] | tuple[int, int, int]
"""(height, width) in pixels, or (frames, height, width)."""
Prompts = Sequence[str] | Sequence[int]
"""Texts, or class numbers or names."""

HABITS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "generator": "seed",
    "num_images_per_prompt": "a list of prompts: [prompt] * 4",
    "num_videos_per_prompt": "a list of prompts: [prompt] * 4",
    "height": "size=(height, width)",
    "width": "size=(height, width)",
    "num_frames": "size=(frames, height, width)",
    "callback_on_step_end": "callback",
    "output_type": "the results' .image, .images or .frames",
    "return_dict": "the results' .image, .images or .frames",
    "class_labels": "the prompts: class numbers or names",
    "prompt": "the first argument",
    "n": "a list of prompts: [prompt] * 4",
    "num_images": "a list of prompts: [prompt] * 4",
    "image": "known=grn.refined_picture(...) or grn.animated_picture(...)",
    "init_image": "known=grn.refined_picture(...)",
    "mask_image": "known=grn.refined_picture(...)",
    "strength": "known=grn.refined_picture(...)",
    "torch_dtype": "dtype",
    "local_files_only": "offline",
    "device_map": "device",
    "cache_dir": "the environment variable GRN_CACHE",
}
"""What people type by habit of other libraries, and what it is called here."""


class DrawOptions(SamplerOverrides, total=False):
    """How to draw, beside the fields of `SamplerConfig`.

    seed: of a prompt's first picture, its next one in the list having the next seed; or one for each. size: for all, or
    one for each, a number being a square's side; by default that of `known` (whole tokens), or what the model was trained
    for. preset: settings that the model has under that name. known: what all of them start from (`grn.editing`), of the
    same size. batch_size: how many are drawn at a time. callback: is shown each step of each.
    """

    seed: int | Sequence[int]
    size: int | Size | Sequence[Size] | None
    negative_prompt: str
    preset: str | None
    batch_size: int
    callback: Callable[[StepView], None] | None
    known: Known | None


@dataclass(frozen=True)
class Request:
    """A call, one entry a picture."""

    prompts: tuple[str | int, ...]
    seeds: tuple[int, ...]
    sizes: tuple[Size | None, ...]
    negative_prompt: str
    preset: str | None
    batch_size: int
    callback: Callable[[StepView], None] | None
    known: Known | None
    overrides: SamplerOverrides

    @classmethod
    def of(cls, prompts: Prompts | str | int, **options: Unpack[DrawOptions]) -> "Request":
        """Raises UsageError for options of other libraries, and for numbers that do not fit."""
        refuse_habits(options)
        if not isinstance(prompts, str | int | Iterable):
            raise UsageError(f"prompts: expected a text, a class, or a list of them (found {prompts!r:.60})")
        asked: tuple[str | int, ...] = (prompts,) if isinstance(prompts, str | int) else tuple(prompts)
        size = options.get("size")
        if isinstance(size, SupportsIndex):
            size = (int(size), int(size))
        alike = size is None or isinstance(size[0], SupportsIndex)
        sizes = cast("list[Size | None]", [size] * len(asked) if alike or size is None else list(size))
        _same_number(sizes, asked, "sizes")
        batch_size = options.get("batch_size", 16)
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}: expected 1 or more")
        return cls(
            asked,
            seeds_of(asked, options.get("seed", 0)),
            tuple(sizes),
            options.get("negative_prompt", ""),
            options.get("preset"),
            batch_size,
            options.get("callback"),
            options.get("known"),
            cast(SamplerOverrides, {name: value for name, value in options.items() if name not in _OWN}),
        )


_OWN = DrawOptions.__annotations__.keys() - SamplerConfig.model_fields.keys()


def told_ours(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which tells what is called by habit of another library how it is called here."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        refuse_habits(options)
        return function(*args, **options)

    return call


def refuse_habits(options: Iterable[str]) -> None:
    """Raise UsageError for a name of another library, with ours."""
    for name in options:
        if name in HABITS:
            raise UsageError(f"{name}: is not known here; it is {HABITS[name]}")


def seeds_of(prompts: Sequence[str | int], seed: int | Sequence[int]) -> tuple[int, ...]:
    """A seed for each. Of one number, the n-th picture of a prompt has seed + n, whatever else is drawn beside it."""
    if isinstance(seed, SupportsIndex):
        times: dict[str | int, int] = {}
        seeds = []
        for prompt in prompts:
            seeds.append(int(seed) + times.get(prompt, 0))
            times[prompt] = times.get(prompt, 0) + 1
    elif isinstance(seed, Iterable) and all(isinstance(one, SupportsIndex) for one in seed):
        seeds = [int(one) for one in seed]
        _same_number(seeds, prompts, "seeds")
    else:
        raise UsageError(f"seed {seed!r:.60}: expected a whole number, or one for each")
    if any(one < 0 for one in seeds):
        raise UsageError(f"seed {min(seeds)}: expected 0 or more")
    return tuple(seeds)


def _same_number(values: Sequence[object], prompts: Sequence[object], what: str) -> None:
    if len(values) != len(prompts):
        raise UsageError(f"{len(values)} {what} for {len(prompts)} pictures: expected one for each, or one for all")
