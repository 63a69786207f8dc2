"""Words or classes in, pictures out: a generator joined with its tokenizer and text encoder.

    pipeline = Pipeline.from_pretrained("emoji")
    pipeline("a cat").image                                  one result
    pipeline(["a cat", "a dog"], seed=7)                     a list of results
    for result in pipeline.stream(prompts): ...              each as soon as it is its turn

Axes: token maps are [t, h, w, E] elements or [t, h, w, C] indices.
"""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self, Unpack

from grn.devices import checked, fast_type
from grn.errors import ModelMismatchError, ModelNotFoundError, UsageError
from grn.files import display
from grn.generator import Generator
from grn.hub import registry
from grn.hub.resolve import resolve
from grn.media import from_pixels
from grn.models.config import Clips, GeneratorModelConfig, Preset, TextToVisualModelConfig
from grn.models.folder import ModelFolder, save_model
from grn.models.tensors import CONFIG
from grn.networks.compiling import Compiling
from grn.networks.condition import Condition
from grn.networks.contract import Shape
from grn.networks.generator_config import ClassToImageConfig
from grn.progress import StepBar
from grn.prompts import PromptReader
from grn.refine.config import SamplerConfig, SamplerOverrides
from grn.refine.known import Known
from grn.refine.sampler import Sample, Sampler
from grn.refine.step import StepView
from grn.request import DrawOptions, Prompts, Request, Size, told_ours
from grn.result import Made, Result
from grn.text.encoder import TextEncoder, load_text_encoder
from grn.text.learnt import listed, read_words
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer, save_tokenizer

_log = logging.getLogger("grn")


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
        source: str | None = None,
        text_source: str | None = None,
        tokenizer_device: str | None = None,
        learnt: frozenset[str] = frozenset(),
    ) -> None:
        """source, text_source: names or folders by which the model and its text encoder are found. tokenizer_device: where
        it goes when prompts are encoded, and the text encoder's network is let go of; None: both stay. learnt: the words that
        the model's captions had, as far as that is known. Raises ModelMismatchError where the parts do not fit.
        """
        made, wanted = tokenizer.config.channels, generator.config.channels
        if made != wanted:
            raise ModelMismatchError(
                f"{generator.name} draws codes of {wanted} channels and tokenizer {tokenizer.name} has {made}; use the tokenizer it was trained with"
            )
        width = getattr(generator.config, "text_width", None)
        if text is not None and text.dim != width:
            raise ModelMismatchError(
                f"{generator.name} reads tokens of width {width} and text encoder {text.name} makes {text.dim}; "
                "use the text encoder it was trained with"
            )
        self.generator, self.tokenizer, self.text = generator, tokenizer, text
        self._tokenizer_device, self.learnt = tokenizer_device, learnt
        self._prompts = PromptReader(generator, text, learnt)
        self.source = generator.name if source is None else source
        self.text_source = text_source
        self.compiling: Compiling = "auto"
        """Whether the generator's network is compiled: where there is enough to draw to pay for it, always or never."""

    @classmethod
    @told_ours
    def from_pretrained(
        cls,
        name: str | Path,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        offline: bool = False,
        *,
        revision: str | None = None,
        tokenizer: Part = Part(),
        text: Part = Part(),
        at_once: Literal["all", "part", "block"] = "all",
    ) -> Self:
        """Load by alias, folder or hub name (`grn.hub.resolve.resolve`).

        dtype None: bfloat16 where the device multiplies it faster, else float32, in which a picture repeats exactly; of a
        text encoder, as stored. revision: commit of a repository on the hub. tokenizer, text: which ones and where, if not
        as the model says. at_once: what is loaded. "part": a text encoder's network is let go of as soon as the prompts
        of a call are encoded, and only then the generator's weights are read; it is loaded again for new prompts.
        "block": so, too, and of either only the block in use lies on the device, see `Generator.load`.
        Raises ModelNotFoundError, ConfigError, ModelMismatchError, UsageError for a part that the model has no use for, or
        what `grn.devices.checked` does.
        """
        checked(device)
        offload = at_once == "block"
        model = resolve(str(name), offline=offline, kind="generator", revision=revision).open()
        config = model.config
        assert isinstance(config, GeneratorModelConfig), f"{config.kind} is no generator"
        encoder: TextEncoder | None = None
        where: str | None = None
        if isinstance(config, TextToVisualModelConfig):
            where = str(_part(model, "text_encoder", text.name))
            found = resolve(where, offline=offline, kind="text-encoder").folder
            encoder = load_text_encoder(found, text.device or device, text.dtype or dtype, offload)
        if text != Part() and (encoder is None or (isinstance(encoder, StaticWordVectors) and text != Part(text.name))):
            what = "classes" if encoder is None else "words from a table"
            raise UsageError(
                f"{config.name} reads {what}: there is no text encoder to place; leave out what is said of it"
            )
        waits = at_once != "all" and encoder is not None and not isinstance(encoder, StaticWordVectors)
        there = tokenizer.device or device
        generator = Generator.load(model, device, dtype or fast_type(device), offload=offload, later=waits)
        made = Tokenizer.from_pretrained(
            _part(model, "tokenizer", tokenizer.name),
            "cpu" if waits else there,
            tokenizer.dtype or dtype or fast_type(there),
            offline,
        )
        placed = there if waits else None
        learnt = read_words(model.path)
        return cls(
            generator, made, encoder, source=str(name), text_source=where, tokenizer_device=placed, learnt=learnt
        )

    def __repr__(self) -> str:
        return f"Pipeline({self.source!r}, tokenizer={self.tokenizer.name!r}, device={str(self.device)!r}, dtype={self.dtype})"

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder with all parts in it, in the number format that they have here.

        Of a text encoder that is a network, only where it was found is written. Raises EnvironmentFaultError where the
        disk refuses, UsageError where the generator is offloaded.
        """
        self.generator.check_whole()
        folder = Path(folder)
        names: dict[str, str | None] = {"tokenizer": None, "text_encoder": None}
        if self.text is not None and not isinstance(self.text, StaticWordVectors):
            place = self.text_source or self.text.name
            names["text_encoder"] = str(Path(place).resolve()) if Path(place).is_dir() else place
        network, about = self.generator.network, self.generator.about.model_copy(update=names)
        files = listed(self.learnt)
        save_model(folder, about, network.state_dict(), dtype=self.generator.dtype, files=files)
        save_tokenizer(folder / "tokenizer", self.tokenizer.network, self.tokenizer.name, dtype=self.tokenizer.dtype)
        if isinstance(self.text, StaticWordVectors):
            self.text.save(folder / "text_encoder")

    def to(self, device: str | torch.device | torch.dtype | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move generator and tokenizer, or change their number format, which may stand alone; prompts are encoded where they were.

        Raises UsageError, or EnvironmentFaultError where there is no such device.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        device = None if device is None else checked(device)
        self.generator.to(device, dtype)
        self.tokenizer.network.to(device=device, dtype=dtype)
        if device is not None:
            self._tokenizer_device = None
        return self

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def sampling(self) -> SamplerConfig:
        """The model's own settings, of pictures where it has others for clips."""
        return self.generator.sampling

    @property
    def size(self) -> int:
        """Pixels a side of the pictures that it was trained for."""
        return self.generator.about.pixels(self.tokenizer.config.stride)

    @property
    def clips(self) -> Clips | None:
        """The clips that it draws, None if it draws still pictures."""
        return self.generator.about.clips

    @property
    def frames(self) -> int:
        """Frames that it draws where no number is asked for: those of its clips, 1 if it draws still pictures, or these first."""
        return self.clips.frames if self.clips and not self.generator.about.stills else 1

    @property
    def fps(self) -> float | None:
        """Frames a second of the clips."""
        return self.clips.fps if self.clips else None

    @property
    def device(self) -> torch.device:
        """Where the generator computes."""
        return self.generator.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format that the generator computes in."""
        return self.generator.dtype

    @property
    def dtype_name(self) -> str:
        """The number format as results say it: "float32"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def decodes_otherwise(self) -> bool:
        """Whether the tokenizer computes in another number format than the generator."""
        return self.tokenizer.dtype != self.dtype

    def settings(self, clip: bool | None = None, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
        """The model's sampling settings with some replaced; None leaves one as it is. UsageError names what does not go together.

        clip: those for clips or for pictures, where the model has others for clips; None: for what it draws where no size is asked for.
        """
        return self.generator.settings(self.frames > 1 if clip is None else clip, **overrides)

    @overload  # a str is a sequence of them too, which nobody means
    def __call__(  # type: ignore[overload-overlap]
        self, prompts: str | int, *, progress: bool = True, **options: Unpack[DrawOptions]
    ) -> Result: ...

    @overload
    def __call__(self, prompts: Prompts, *, progress: bool = True, **options: Unpack[DrawOptions]) -> list[Result]: ...

    @told_ours
    def __call__(
        self, prompts: Prompts | str | int, *, progress: bool = True, **options: Unpack[DrawOptions]
    ) -> Result | list[Result]:
        """Draw one picture or clip of a prompt (text models) or a class number or name, or one of each in a list.

        progress: a bar of steps, shown on a terminal and in a notebook. options: `DrawOptions`, and the fields of
        `SamplerConfig` to change. Raises UsageError for sizes or settings that the model cannot take, BadInputError for a
        prompt that it cannot read.
        """
        request = Request.of(prompts, **options)
        steps, theirs = self.settings(**request.overrides).most_steps, request.callback
        with StepBar(len(request.prompts), steps, progress) as bar:

            def both(view: StepView) -> None:
                bar.see(view)
                if theirs is not None:
                    theirs(view)

            results = list(self._stream(replace(request, callback=both) if bar.shown else request))
        return results[0] if isinstance(prompts, str | int) else results

    @told_ours
    def stream(self, prompts: Prompts, **options: Unpack[DrawOptions]) -> Iterator[Result]:
        """What a call does, without a bar: results in the order of the prompts, each as soon as it is its turn. Raises at once."""
        return self._stream(Request.of(prompts, **options))

    def _stream(self, request: Request) -> Iterator[Result]:
        preset = self.preset(request.preset)
        negative_prompt, overrides = preset.beside(request.negative_prompt, request.overrides)
        sizes = [self._whole_size(one, request.known) for one in request.sizes]
        shapes = [self.map_shape(frames, (height, width)) for frames, height, width in sizes]
        clips = [frames > 1 for frames, _, _ in sizes]
        settings = {clip: self.settings(clip, **overrides) for clip in clips or [self.frames > 1]}
        if negative_prompt and (self.text is None or all(one.guidance == 1 for one in settings.values())):
            need = "a model that draws from words" if self.text is None else "guidance other than 1"
            raise UsageError(f"negative prompt: has no effect here, it needs {need}; leave it out")
        if not request.prompts:
            return iter(())
        begun = request.known is not None and request.known.begins
        condition, null = self._prompts.conditions(request.prompts, negative_prompt, begun, preset)
        self._settle()
        sampling = [settings[clip] for clip in clips]
        passes = [one.most_steps * (1 if one.guidance == 1 else 2) for one in sampling]
        tokens = sum(times * math.prod(shape) for times, shape in zip(passes, shapes, strict=True))
        self.generator.compile(self.compiling, tokens / self.generator.config.patch**2)
        alike = {one: [n for n, other in enumerate(sampling) if other == one] for one in settings.values()}
        parts = [
            self._samples(Sampler(self.generator.network, one), condition, null, shapes, request, numbers)
            for one, numbers in alike.items()
        ]
        samples = itertools.chain.from_iterable(parts)
        decoding = self.tokenizer.dtype_name if self.decodes_otherwise else None
        drawing = self.dtype_name, self.device.type
        made = [Made(self.source, negative_prompt, one, *drawing, request.preset, decoding) for one in sampling]
        return self._results(samples, request, [frames for frames, _, _ in sizes], made)

    def _samples(
        self,
        sampler: Sampler,
        condition: Condition,
        null: Condition | None,
        shapes: list[Shape],
        request: Request,
        numbers: list[int],
    ) -> Iterator[Sample]:
        """Those of the request's samples, numbered as there, that have settings in common."""
        theirs = request.callback

        def renumbered(view: StepView) -> None:
            assert theirs is not None
            theirs(replace(view, number=numbers[view.number]))

        samples = sampler.run(
            condition.rows(torch.tensor(numbers)),
            null,
            [shapes[number] for number in numbers],
            seed=[request.seeds[number] for number in numbers],
            batch_size=request.batch_size,
            callback=None if theirs is None else renumbered,
            known=request.known,
        )
        return (replace(sample, number=numbers[sample.number]) for sample in samples)

    def _results(
        self, samples: Iterable[Sample], request: Request, frames: list[int], made: list[Made]
    ) -> Iterator[Result]:
        """Decode finished samples and give them out in order; those that finish early wait for their turn."""
        waiting: dict[int, Sample] = {}
        following = 0
        for sample in samples:
            waiting[sample.number] = sample
            while following in waiting:
                ready = waiting.pop(following)
                shown = self.pictures(ready.indices[None])[0, : frames[following]]
                fps = self.fps if frames[following] > 1 else None
                prompt, seed = request.prompts[following], request.seeds[following]
                yield Result(shown, prompt, seed, ready.steps, ready.entropy, fps, made[following])
                following += 1

    def pictures(self, indices: Tensor) -> NDArray[np.uint8]:
        """Indices [B, t, h, w, C] -> frames uint8 [B, T, H, W, 3]."""
        # One at a time: a batched convolution rounds differently, and a picture must not depend on its neighbours.
        return np.stack([from_pixels(self.tokenizer.decode(one[None], self.rounds).cpu()) for one in indices])

    def indices(self, elements: Tensor) -> Tensor:
        """Turn what the generator predicts, [..., E], into indices [..., C]; masked elements count as 0."""
        return self.generator.config.elements_to_indices(elements)

    def elements(self, indices: Tensor) -> Tensor:
        """Turn indices [..., C] into what the generator predicts, [..., E]."""
        return self.generator.config.indices_to_elements(indices)

    @property
    def rounds(self) -> int:
        """Rounds M of the codes that are generated."""
        return self.generator.config.rounds

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a class model, the names of its classes in the order of their numbers; empty where it keeps none."""
        return self._prompts.class_names

    def check(self, prompt: str | int) -> None:
        """Check a prompt or class. Raises UsageError, or BadInputError for an unreadable prompt."""
        self._prompts.check(prompt)

    def preset(self, name: str | None) -> Preset:
        """A preset of the model, one that changes nothing for None. UsageError where there is none of that name."""
        return self._prompts.preset(name)

    def _settle(self) -> None:
        """Let go of the text encoder's network and bring the tokenizer's to where it computes."""
        if self._tokenizer_device is not None and self.text is not None:
            self.text.release()
            self.tokenizer.network.to(self._tokenizer_device)

    def _whole_size(self, size: Size | None, known: Known | None) -> tuple[int, int, int]:
        """(frames, height, width), what is not given being that of `known`, or else the model's own."""
        own = self.frames, self.size, self.size
        if known is not None:
            (length, rows, columns), tokenizer = known.tokens.shape[:3], self.tokenizer.config
            own = tokenizer.pixel_frames(length), rows * tokenizer.stride, columns * tokenizer.stride
        *frames, height, width = size or own
        return frames[0] if frames else own[0], height, width

    def map_shape(self, frames: int, size: tuple[int, ...]) -> Shape:
        """(t, h, w) of the token map of so many frames of (height, width) pixels. Raises UsageError for what cannot be drawn."""
        height, width = size
        if height % self.step or width % self.step or not min(size) > 0:
            raise UsageError(
                f"size {width}x{height}: {self.name} draws in steps of {self.step} pixels; use multiples of {self.step}"
            )
        if isinstance(self.generator.config, ClassToImageConfig) and size != (self.size, self.size):
            raise UsageError(
                f"size {width}x{height}: {self.name} has fixed positions for {self.size}x{self.size}; text models draw other sizes"
            )
        if frames < 1 or (frames > 1 and self.clips is None):
            raise UsageError(f"{frames} frames: {self.name} draws still pictures; leave the length out")
        if self.clips and frames > self.clips.most:
            seconds = self.clips.most / self.clips.fps
            raise UsageError(
                f"{frames} frames: {self.name} draws at most {self.clips.most}, {seconds:.2f} s at {self.clips.fps:g} a second; draw a shorter clip"
            )
        return self.tokenizer.config.map_shape(frames, height, width)

    @property
    def step(self) -> int:
        """Pixels that the sides of pictures are multiples of."""
        return self.tokenizer.config.stride * self.generator.config.patch


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
