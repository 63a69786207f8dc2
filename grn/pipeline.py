"""Words or classes in, pictures out: a generator joined with its tokenizer and text encoder.

Axes: a result's frames are uint8 [T, H, W, 3], RGB; token maps are [t, h, w, E] elements or [t, h, w, C] indices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from grn import hbq
from grn.errors import ConfigError, ModelMismatchError, UsageError
from grn.generator.class_to_image import ClassToImage
from grn.generator.condition import ClassCondition
from grn.generator.config import ClassToImageConfig, TextToVisualConfig
from grn.generator.text_to_visual import TextToVisual
from grn.media import from_pixels
from grn.models import registry, store
from grn.refine.known import Known
from grn.refine.sampler import Callback, Condition, Sampler, SamplerConfig
from grn.text import StaticWordVectors
from grn.tokenizer.tokenizer import Tokenizer
from grn.validation import describe

_MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Result:
    """One drawn picture or clip and how it came about.

    frames: uint8 [T, H, W, 3]. key: the (seed, number) that decided its randomness. entropy: H at step t0 + 1, None if the run was shorter.
    """

    frames: NDArray[np.uint8] = field(repr=False)
    prompt: str | int
    key: tuple[int, int]
    steps: int
    entropy: float | None


class Pipeline:
    """A generator, the tokenizer whose codes it draws, and (for text models) the encoder of its prompts."""

    def __init__(
        self,
        generator: nn.Module,
        tokenizer: Tokenizer,
        text: StaticWordVectors | None,
        sampling: SamplerConfig,
        *,
        name: str,
        size: int,
        length: tuple[int, float] | None = None,
    ) -> None:
        """size: pixels a side that the generator was trained for. length: frames of its clips, and how many a second; None: it draws still
        pictures. Raises ModelMismatchError where the parts do not fit.
        """
        config: Any = generator.config
        made, wanted = tokenizer.config.channels, config.channels
        if made != wanted:
            raise ModelMismatchError(
                f"{name} draws codes of {wanted} channels and tokenizer {tokenizer.name} has {made}; use the tokenizer it was trained with"
            )
        self.generator, self.tokenizer, self.text = generator.eval().requires_grad_(False), tokenizer, text
        self.sampling, self.name, self.size = sampling, name, size
        self.frames: int = length[0] if length else 1
        self.fps: float | None = length[1] if length else None

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, offline: bool = False
    ) -> "Pipeline":
        """Load by alias, folder or hub name (`grn.models.store.resolve`); dtype None is float32.

        Raises ModelNotFoundError, ConfigError or ModelMismatchError.
        """
        found = store.resolve(str(name), offline=offline, kind="generator")
        config = store.load_config(found.folder)
        generator: nn.Module
        if config["kind"] == "class-to-image":
            generator = ClassToImage(store.network_config(config, ClassToImageConfig, found.folder))
        else:
            generator = TextToVisual(store.network_config(config, TextToVisualConfig, found.folder))
        store.load_weights(generator, found.folder)
        own = found.folder / "tokenizer"
        entry = registry.ENTRIES.get(config.get("name", ""))
        tokenizer_name = own if own.is_dir() or entry is None or entry.tokenizer is None else entry.tokenizer
        tokenizer = Tokenizer.from_pretrained(tokenizer_name, device, dtype, offline)
        text = None
        if isinstance(generator, TextToVisual):
            text = StaticWordVectors.load(found.folder / "text_encoder")
        try:
            sampling = SamplerConfig(**config.get("sampling", {}))
        except ValidationError as error:
            raise ConfigError(f"{found.folder}: sampling: {describe(error, [SamplerConfig])}") from error
        size = config.get("size") or _trained_size(generator, tokenizer)
        length = _length(config, found.folder)
        return cls(
            generator.to(device, dtype), tokenizer, text, sampling, name=config["name"], size=size, length=length
        )

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def settings(self, **overrides: Any) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together."""
        return sampler_config(self.sampling, **overrides)

    def __call__(
        self,
        prompts: Sequence[str] | Sequence[int],
        *,
        seed: int = 0,
        keys: Sequence[tuple[int, int]] | None = None,
        size: tuple[int, ...] | Sequence[tuple[int, ...]] | None = None,
        negative_prompt: str = "",
        batch_size: int = 16,
        callback: Callback | None = None,
        known: Known | None = None,
        **overrides: Any,
    ) -> Iterator[Result]:
        """Draw one picture or clip for each prompt (text models) or class number, yielded in their order.

        keys: a (seed, number) for each, which decides its randomness; by default (seed, 0), (seed, 1), ... size: (height, width) in pixels or
        (frames, height, width), or one for each prompt; by default what the model was trained for. known: what all of them start from
        (`grn.starts`), of the same size. overrides: fields of SamplerConfig. Raises UsageError for sizes or settings that the model cannot
        take, BadInputError for an unreadable prompt.
        """
        sampling = self.settings(**overrides)
        keys = list(keys) if keys is not None else [(seed, number) for number in range(len(prompts))]
        assert len(keys) == len(prompts), f"{len(keys)} keys for {len(prompts)} prompts"
        sizes = [self._whole_size(one) for one in _for_each(size, len(prompts))]
        shapes = [self.map_shape(frames, (height, width)) for frames, height, width in sizes]
        if negative_prompt and (self.text is None or sampling.guidance == 1):
            need = "a model that draws from words" if self.text is None else "guidance other than 1"
            raise UsageError(f"negative prompt: has no effect here, it needs {need}; leave it out")
        if not prompts:
            return iter(())
        condition, null = self._conditions(prompts, negative_prompt)
        sampler = Sampler(self.generator, sampling)
        samples = sampler.run(condition, null, shapes, keys=keys, batch_size=batch_size, callback=callback, known=known)
        return self._results(samples, prompts, keys, [frames for frames, _, _ in sizes])

    def pictures(self, indices: Tensor) -> NDArray[np.uint8]:
        """Indices [B, t, h, w, C] -> frames uint8 [B, T, H, W, 3]."""
        # One at a time: a batched convolution rounds differently, and a picture must not depend on its neighbours.
        return np.stack([from_pixels(self.tokenizer.decode(one[None], self.rounds).cpu()) for one in indices])

    def indices(self, elements: Tensor) -> Tensor:
        """What the generator draws, [..., E], as indices [..., C]; masked elements count as 0."""
        elements = elements.clamp_min(0)
        target: Any = self.generator.config
        return elements if target.target == "ind" else hbq.bits_to_indices(elements, self.rounds, dim=-1)

    def elements(self, indices: Tensor) -> Tensor:
        """Indices [..., C] as what the generator draws, [..., E]."""
        target: Any = self.generator.config
        return indices if target.target == "ind" else hbq.indices_to_bits(indices, self.rounds, dim=-1)

    @property
    def rounds(self) -> int:
        """M of the codes that are drawn."""
        config: Any = self.generator.config
        return config.rounds

    def _results(
        self, samples: Iterator[Any], prompts: Sequence[Any], keys: Sequence[tuple[int, int]], frames: list[int]
    ) -> Iterator[Result]:
        """Decode finished samples and give them out in order; those that finish early wait for their turn."""
        waiting: dict[int, Any] = {}
        following = 0
        for sample in samples:
            waiting[sample.number] = sample
            while following in waiting:
                ready = waiting.pop(following)
                picture = self.pictures(ready.indices[None])[0, : frames[following]]
                yield Result(picture, prompts[following], keys[following], ready.steps, ready.entropy)
                following += 1

    def check(self, prompt: str | int) -> None:
        """Raise what drawing from this prompt or class would: UsageError, or BadInputError for an unreadable prompt."""
        config: Any = self.generator.config
        if self.text is None:
            if not isinstance(prompt, int) or not 0 <= prompt < config.num_classes:
                raise UsageError(
                    f"{prompt!r} is no class of {self.name} (expected 0 to {config.num_classes - 1}); give --class NUMBER"
                )
        elif isinstance(prompt, str):
            self.text.word_vectors(prompt)
        else:
            raise UsageError(f"{self.name} draws from words, not from class numbers; give a prompt")

    def _conditions(self, prompts: Sequence[Any], negative_prompt: str) -> tuple[Condition, Condition]:
        for prompt in dict.fromkeys(prompts):
            self.check(prompt)
        if self.text is not None:
            texts = self.text.encode(list(prompts)).to(self.device)
            return texts, self.text.encode([negative_prompt]).to(self.device)
        generator: Any = self.generator
        return ClassCondition(torch.tensor(list(prompts))).to(self.device), generator.null_condition(1).to(self.device)

    def _whole_size(self, size: tuple[int, ...] | None) -> tuple[int, int, int]:
        """(frames, height, width), what is not given being the model's own."""
        *frames, height, width = size or (self.size, self.size)
        return frames[0] if frames else self.frames, height, width

    def map_shape(self, frames: int, size: tuple[int, ...]) -> tuple[int, int, int]:
        """(t, h, w) of the token map of so many frames of (height, width) pixels. Raises UsageError for what cannot be drawn."""
        config: Any = self.generator.config
        step = self.tokenizer.config.stride * getattr(config, "patch", 1)
        height, width = size
        if height % step or width % step or not min(size) > 0:
            raise UsageError(
                f"size {width}x{height}: {self.name} draws in steps of {step} pixels; use multiples of {step}"
            )
        if isinstance(self.generator, ClassToImage) and size != (self.size, self.size):
            raise UsageError(
                f"size {width}x{height}: {self.name} has fixed positions for {self.size}x{self.size}; text models draw other sizes"
            )
        if frames < 1 or (frames > 1 and self.frames == 1):
            raise UsageError(f"{frames} frames: {self.name} draws still pictures; leave the length out")
        stride = self.tokenizer.config.stride
        return 1 + -(-(frames - 1) // self.tokenizer.config.time_stride), height // stride, width // stride


def sampler_config(base: SamplerConfig, **overrides: Any) -> SamplerConfig:
    """`base` with the fields that are not None replaced. Raises UsageError in one line."""
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        return SamplerConfig(**{**base.model_dump(), **chosen})
    except ValidationError as error:
        raise UsageError(describe(error, [SamplerConfig])) from error


def _for_each(size: tuple[int, ...] | Sequence[tuple[int, ...]] | None, count: int) -> Sequence[tuple[int, ...] | None]:
    """One size for each of `count` prompts."""
    if size is None or isinstance(size[0], int):
        return [size] * count  # type: ignore[list-item]
    assert len(size) == count, f"{len(size)} sizes for {count} prompts"
    return size  # type: ignore[return-value]


def _length(config: dict[str, Any], folder: Path) -> tuple[int, float] | None:
    """Frames and frames a second of a model's clips, None for one of still pictures."""
    frames: Any = config.get("frames", 1)
    fps: Any = config.get("fps")
    if not (type(frames) is int and 1 <= frames <= _MOST_FRAMES):
        raise ConfigError(f"{folder}: frames: expected 1 to {_MOST_FRAMES}, found {frames!r}; restore config.json")
    if frames == 1:
        return None
    if not (type(fps) in (int, float) and 0.01 <= fps <= 1000):
        raise ConfigError(f"{folder}: fps: expected 0.01 to 1000 for clips, found {fps!r}; restore config.json")
    return frames, float(fps)


def _trained_size(generator: nn.Module, tokenizer: Tokenizer) -> int:
    config: Any = generator.config
    return getattr(config, "size", 16) * tokenizer.config.stride
