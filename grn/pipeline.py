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
from torch import Tensor
from typing_extensions import Unpack

from grn.errors import ModelMismatchError, ModelNotFoundError, UsageError
from grn.files import display
from grn.generator import Generator
from grn.hub import registry
from grn.hub.resolve import resolve
from grn.media import from_pixels
from grn.models.config import Clips, GeneratorModelConfig, TextToVisualModelConfig
from grn.models.folder import ModelFolder
from grn.models.tensors import CONFIG
from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, Condition
from grn.refine.config import SamplerConfig, SamplerOverrides, sampler_config
from grn.refine.known import Known
from grn.refine.sampler import Callback, Sample, Sampler
from grn.text.encoder import TextEncoder, load_text_encoder
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer

__all__ = ["Clips", "Part", "Pipeline", "Result", "sampler_config"]


@dataclass(frozen=True)
class Result:
    """One drawn picture or clip and how it came about.

    frames: uint8 [T, H, W, 3]. seed: what decided its randomness. entropy: H at step t0 + 1, None if the run was shorter.
    """

    frames: NDArray[np.uint8] = field(repr=False)
    prompt: str | int
    seed: int
    steps: int
    entropy: float | None


@dataclass(frozen=True)
class Part:
    """Which tokenizer or text encoder, and where it computes; None is the model's own, or as the generator."""

    name: str | Path | None = None
    device: str | None = None
    dtype: torch.dtype | None = None


class Pipeline:
    """A generator, the tokenizer whose codes it draws, and (for text models) the encoder of its prompts."""

    def __init__(
        self,
        generator: Generator,
        tokenizer: Tokenizer,
        text: TextEncoder | None,
        *,
        size: int,
        clips: Clips | None = None,
        devices: tuple[str, str] | None = None,
    ) -> None:
        """size: pixels a side that the generator was trained for. clips: what it draws; None: still pictures. devices: of generator and
        tokenizer, where they are to wait on the CPU until prompts are encoded, after which the encoder's network is let go of. Raises
        ModelMismatchError where the parts do not fit.
        """
        config = generator.config
        made, wanted = tokenizer.config.channels, config.channels
        if made != wanted:
            raise ModelMismatchError(
                f"{generator.name} draws codes of {wanted} channels and tokenizer {tokenizer.name} has {made}; use the tokenizer it was trained with"
            )
        if text is not None and text.dim != config.text_width:
            raise ModelMismatchError(
                f"{generator.name} reads tokens of width {config.text_width} and text encoder {text.name} makes {text.dim}; "
                "use the text encoder it was trained with"
            )
        self.generator, self.tokenizer, self.text, self._devices = generator, tokenizer, text, devices
        self.size, self.clips = size, clips

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        offline: bool = False,
        *,
        tokenizer: Part = Part(),
        text: Part = Part(),
        free_text: bool = False,
    ) -> "Pipeline":
        """Load by alias, folder or hub name (`grn.hub.resolve.resolve`); dtype None is float32, for a text encoder as stored.

        tokenizer, text: which ones and where, if not as the model says. free_text: a text encoder's network is let go of as soon as the
        prompts of a call are encoded, and the others wait for that before they go to their device; it is loaded again for new prompts.
        Raises ModelNotFoundError, ConfigError, ModelMismatchError, or UsageError for a part that the model has no use for.
        """
        model = resolve(str(name), offline=offline, kind="generator").open()
        config = model.config
        assert isinstance(config, GeneratorModelConfig)
        encoder: TextEncoder | None = None
        if isinstance(config, TextToVisualModelConfig):
            where = _part(model, "text_encoder", text.name)
            found = resolve(str(where), offline=offline, kind="text-encoder").folder
            encoder = load_text_encoder(found, text.device or device, text.dtype or dtype)
        if text != Part() and (encoder is None or (isinstance(encoder, StaticWordVectors) and text != Part(text.name))):
            what = "classes" if encoder is None else "words from a table"
            raise UsageError(
                f"{config.name} reads {what}: there is no text encoder to place; leave out what is said of it"
            )
        waits = free_text and encoder is not None
        devices = (device, tokenizer.device or device)
        generator = Generator.load(model, "cpu" if waits else device, dtype)
        made = Tokenizer.from_pretrained(
            _part(model, "tokenizer", tokenizer.name), "cpu" if waits else devices[1], tokenizer.dtype or dtype, offline
        )
        size = config.pixels(made.config.stride)
        return cls(generator, made, encoder, size=size, clips=config.clips, devices=devices if waits else None)

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def sampling(self) -> SamplerConfig:
        """The model's own settings."""
        return self.generator.sampling

    @property
    def frames(self) -> int:
        """Of a clip, if none are asked for; 1: it draws still pictures."""
        return self.clips.frames if self.clips else 1

    @property
    def fps(self) -> float | None:
        """Frames a second of its clips."""
        return self.clips.fps if self.clips else None

    @property
    def device(self) -> torch.device:
        """Where the generator draws."""
        return torch.device(self._devices[0]) if self._devices else self.generator.device

    def settings(self, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together."""
        return self.generator.settings(**overrides)

    def __call__(
        self,
        prompts: Sequence[str] | Sequence[int],
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        size: tuple[int, ...] | Sequence[tuple[int, ...]] | None = None,
        negative_prompt: str = "",
        batch_size: int = 16,
        callback: Callback | None = None,
        known: Known | None = None,
        **overrides: Unpack[SamplerOverrides],
    ) -> Iterator[Result]:
        """Draw one picture or clip for each prompt (text models) or class number, yielded in their order.

        seed: of the first picture of each prompt; the same prompt's next one has the next seed. seeds: one for each instead.
        size: (height, width) in pixels or
        (frames, height, width), or one for each prompt; by default what the model was trained for. known: what all of them start from
        (`grn.editing`), of the same size. overrides: fields of SamplerConfig. Raises UsageError for sizes or settings that the model cannot
        take, BadInputError for an unreadable prompt.
        """
        sampling = self.settings(**overrides)
        seeds = _counted(prompts, seed) if seeds is None else list(seeds)
        assert len(seeds) == len(prompts), f"{len(seeds)} seeds for {len(prompts)} prompts"
        sizes = [self._whole_size(one) for one in _for_each(size, len(prompts))]
        shapes = [self.map_shape(frames, (height, width)) for frames, height, width in sizes]
        if negative_prompt and (self.text is None or sampling.guidance == 1):
            need = "a model that draws from words" if self.text is None else "guidance other than 1"
            raise UsageError(f"negative prompt: has no effect here, it needs {need}; leave it out")
        if not prompts:
            return iter(())
        condition, null = self._conditions(prompts, negative_prompt)
        self._settle()
        sampler = Sampler(self.generator.network, sampling)
        samples = sampler.run(
            condition, null, shapes, seed=seeds, batch_size=batch_size, callback=callback, known=known
        )
        return self._results(samples, prompts, seeds, [frames for frames, _, _ in sizes])

    def pictures(self, indices: Tensor) -> NDArray[np.uint8]:
        """Indices [B, t, h, w, C] -> frames uint8 [B, T, H, W, 3]."""
        # One at a time: a batched convolution rounds differently, and a picture must not depend on its neighbours.
        return np.stack([from_pixels(self.tokenizer.decode(one[None], self.rounds).cpu()) for one in indices])

    def indices(self, elements: Tensor) -> Tensor:
        """What the generator draws, [..., E], as indices [..., C]; masked elements count as 0."""
        found: Tensor = self.generator.config.elements_to_indices(elements)
        return found

    def elements(self, indices: Tensor) -> Tensor:
        """Indices [..., C] as what the generator draws, [..., E]."""
        found: Tensor = self.generator.config.indices_to_elements(indices)
        return found

    @property
    def rounds(self) -> int:
        """M of the codes that are drawn."""
        rounds: int = self.generator.config.rounds
        return rounds

    def _results(
        self, samples: Iterator[Sample], prompts: Sequence[str] | Sequence[int], seeds: Sequence[int], frames: list[int]
    ) -> Iterator[Result]:
        """Decode finished samples and give them out in order; those that finish early wait for their turn."""
        waiting: dict[int, Sample] = {}
        following = 0
        for sample in samples:
            waiting[sample.number] = sample
            while following in waiting:
                ready = waiting.pop(following)
                picture = self.pictures(ready.indices[None])[0, : frames[following]]
                yield Result(picture, prompts[following], seeds[following], ready.steps, ready.entropy)
                following += 1

    def check(self, prompt: str | int) -> None:
        """Raise what drawing from this prompt or class would: UsageError, or BadInputError for an unreadable prompt."""
        config = self.generator.config
        if self.text is None:
            if not isinstance(prompt, int) or not 0 <= prompt < config.num_classes:
                raise UsageError(f"{prompt!r} is no class of {self.name} (expected 0 to {config.num_classes - 1})")
        elif isinstance(prompt, str):
            self.text.check(prompt)
        else:
            raise UsageError(f"{self.name} draws from words, not from class numbers; give a prompt")

    def _conditions(self, prompts: Sequence[Any], negative_prompt: str) -> tuple[Condition, Condition]:
        for prompt in dict.fromkeys(prompts):
            self.check(prompt)
        if self.text is not None:
            null = self.text.encode([negative_prompt]).to(self.device).rows(torch.tensor([0]))
            return self.text.encode(list(prompts)).to(self.device), null
        labels = torch.tensor(list(prompts))
        return ClassCondition(labels).to(self.device), self.generator.network.null_condition(1).to(self.device)

    def _settle(self) -> None:
        """Let go of the text encoder's network and bring the others to where they compute."""
        if self._devices and self.text is not None:
            self.text.release()
            self.generator.network.to(self._devices[0])
            self.tokenizer.network.to(self._devices[1])

    def _whole_size(self, size: tuple[int, ...] | None) -> tuple[int, int, int]:
        """(frames, height, width), what is not given being the model's own."""
        *frames, height, width = size or (self.size, self.size)
        return frames[0] if frames else self.frames, height, width

    def map_shape(self, frames: int, size: tuple[int, ...]) -> tuple[int, int, int]:
        """(t, h, w) of the token map of so many frames of (height, width) pixels. Raises UsageError for what cannot be drawn."""
        height, width = size
        if height % self.step or width % self.step or not min(size) > 0:
            raise UsageError(
                f"size {width}x{height}: {self.name} draws in steps of {self.step} pixels; use multiples of {self.step}"
            )
        if isinstance(self.generator.network, ClassToImage) and size != (self.size, self.size):
            raise UsageError(
                f"size {width}x{height}: {self.name} has fixed positions for {self.size}x{self.size}; text models draw other sizes"
            )
        if frames < 1 or (frames > 1 and self.frames == 1):
            raise UsageError(f"{frames} frames: {self.name} draws still pictures; leave the length out")
        if self.clips and frames > self.clips.most:
            seconds = self.clips.most / self.clips.fps
            raise UsageError(
                f"{frames} frames: {self.name} draws at most {self.clips.most}, {seconds:.2f} s at {self.clips.fps:g} a second; draw a shorter clip"
            )
        return self.tokenizer.config.map_shape(frames, height, width)

    @property
    def step(self) -> int:
        """Sides of pictures are multiples of so many pixels."""
        return self.tokenizer.config.stride * int(getattr(self.generator.config, "patch", 1))


def _counted(prompts: Sequence[str | int], seed: int) -> list[int]:
    """A seed for each: the n-th time that a prompt stands there it has seed + n, from 0, whatever else is asked for."""
    times: dict[str | int, int] = {}
    seeds = []
    for prompt in prompts:
        number = times.get(prompt, 0)
        times[prompt] = number + 1
        seeds.append(seed + number)
    return seeds


def _for_each(size: tuple[int, ...] | Sequence[tuple[int, ...]] | None, count: int) -> Sequence[tuple[int, ...] | None]:
    """One size for each of `count` prompts."""
    if size is None or isinstance(size[0], int):
        return [size] * count  # type: ignore[list-item]
    assert len(size) == count, f"{len(size)} sizes for {count} prompts"
    return size  # type: ignore[return-value]


def _part(model: ModelFolder, part: str, asked: str | Path | None) -> str | Path:
    """Name or folder of a generator's tokenizer or text encoder: as asked, its own, as config.json says, as known by name."""
    if asked is not None:
        return asked
    if (model.path / part).is_dir():
        return model.path / part
    name = model.config.name
    named: str | None = getattr(model.config, part) or getattr(registry.ENTRIES.get(name), part, None)
    if named is None:
        what = part.replace("_", " ")
        raise ModelNotFoundError(
            f"{display(model.path)}: {name} has no {what} (looked for a folder {part} in it and for {part} in {CONFIG}); name one"
        )
    return named
