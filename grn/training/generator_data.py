"""What a generator is trained on: token maps, corrupted at random, with their captions or classes.

Axes: token maps are [t, h, w, E] with values in [0, K): indices (E = C, K = 2^M) or round-major bits (E = M*C, K = 2).
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grn.data.coded import read_codes, text_tokens
from grn.data.samples import Sample, Unreadable
from grn.data.shards import Maker, Progress, View, made_together, pieces
from grn.data.sides import TEXT
from grn.data.sources import Source, open_codes
from grn.devices import fast_type
from grn.errors import BadInputError, ModelMismatchError
from grn.files import cache_folder, display
from grn.networks.generator_config import ClassToImageConfig
from grn.text.encoder import TextEncoder
from grn.tokenizer import Tokenizer
from grn.training.config import SourceConfig
from grn.training.mixture import MixedSource
from grn.training.recipe import GeneratorRecipe, RatioConfig
from grn.training.task import Slot

logger = logging.getLogger("grn.training")
Batched = Tensor | tuple[Tensor, ...]
"""[B, ...] where the maps of a batch have one shape, else a map each."""


@dataclass(frozen=True)
class Corruption:
    """How a token map is corrupted for one step.

    ratio: l as the network is told it, the share of elements that are kept. selection: S, bool [t, h, w, E]. random: Y_rand, uint8 [t, h, w, E].
    """

    ratio: float
    selection: Tensor
    random: Tensor


@dataclass(frozen=True)
class CaptionChoice:
    """A caption, and by which seed its words are turned (None: they are not).

    tokens: [L, D], as the text encoder reads it, where that is kept beside the codes.
    """

    text: str
    turn: int | None = None
    tokens: Tensor | None = None


@dataclass(frozen=True)
class GeneratorExample:
    """targets: Y, uint8 [t, h, w, E]. condition: a class, or a caption."""

    targets: Tensor
    corruption: Corruption
    condition: int | CaptionChoice


@dataclass(frozen=True)
class GeneratorBatch:
    """targets Y, selection S and random Y_rand are of each sample [t, h, w, E]; ratio l: float32 [B].

    conditions: int64 [B] classes, or a caption each.
    """

    targets: Batched
    selection: Batched
    random: Batched
    ratio: Tensor
    conditions: Tensor | tuple[CaptionChoice, ...]

    def __len__(self) -> int:
        return len(self.ratio)

    @property
    def tokens(self) -> int:
        """Number of tokens of all maps."""
        return sum(math.prod(one.shape[:-1]) for one in self.targets)

    def to(self, device: torch.device) -> "GeneratorBatch":
        """Move to `device`."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> "GeneratorBatch":
        """Move to pinned memory, from which a GPU copies by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, act: Callable[[Tensor], Tensor]) -> "GeneratorBatch":
        def maps(found: Batched) -> Batched:
            return act(found) if isinstance(found, Tensor) else tuple(act(one) for one in found)

        conditions = act(self.conditions) if isinstance(self.conditions, Tensor) else self.conditions
        return GeneratorBatch(maps(self.targets), maps(self.selection), maps(self.random), act(self.ratio), conditions)


class GeneratorData:
    """The token maps of a recipe's sources, and the examples made of them."""

    def __init__(
        self,
        recipe: GeneratorRecipe,
        tokenizer: Tokenizer,
        text: TextEncoder | None,
        progress: Progress = iter,
        share: tuple[int, int] = (1, 0),
    ) -> None:
        """Encodes what is not in the cache yet. share: how many processes do, and the number of this one.

        Raises BadInputError where samples have no caption or class, or too many cannot be read.
        """
        self.recipe, self.network, self.tokenizer, self.text = recipe, recipe.network, tokenizer.config, text
        self._made_by = tokenizer.name, tokenizer.fingerprint
        sources = MixedSource(recipe.data, recipe.run.seed).sources
        for source, place in zip(sources, recipe.data.sources, strict=True):
            if text is not None:
                _check_captions(source, place.path)
            elif isinstance(recipe.network, ClassToImageConfig):
                check_classes(source, place.path, recipe.network.num_classes)
        coded = [
            source if place.codes else _tokenized(source, recipe, place, tokenizer, progress, share)
            for source, place in zip(sources, recipe.data.sources, strict=True)
        ]
        self.source = MixedSource(recipe.data, recipe.run.seed, coded)
        if text is not None and any(TEXT in source[0].more for source in self.source.sources):
            _ = text.fingerprint  # now, once for all workers

    def class_names(self) -> tuple[str, ...]:
        """The names of a class network's classes by number, where all sources have class folders of these names; else none."""
        if not isinstance(self.network, ClassToImageConfig):
            return ()
        found = set()
        for source in self.source.sources:
            numbers, first = np.unique(source.labels(), return_index=True)
            names = {int(n): source[int(at)].info.get("class") for n, at in zip(numbers, first, strict=True)}
            found.add(tuple(names.get(n) for n in range(self.network.num_classes)))
        known = tuple(name for name in found.pop() if isinstance(name, str)) if len(found) == 1 else ()
        return known if len(known) == self.network.num_classes else ()

    def captions(self) -> Iterator[str]:
        """All captions of all sources."""
        for source in self.source.sources:
            for sample in source:
                if not isinstance(sample.read, Unreadable):
                    yield from sample.captions

    def read(self, slot: Slot) -> GeneratorExample:
        """Read one token map, how it is corrupted, and its caption or class, or neither where the condition is dropped.

        Raises BadInputError for a sample that cannot be read, ModelMismatchError for codes of another tokenizer, size or rate.
        """
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.run.seed, slot.step, slot.place])
        sample = self.source[slot.number]
        if isinstance(sample.read, Unreadable):
            sample.read()  # says why, also of a class that is none
        dropped = bool(rng.random() < recipe.drop_condition)
        condition: int | CaptionChoice
        if isinstance(self.network, ClassToImageConfig):
            assert dropped or sample.label is not None, f"{sample}: has no class"
            condition = self.network.num_classes if dropped else int(sample.label)
        else:
            condition = self._caption(slot.number, sample, dropped, rng)
        shown = self._map(slot.number, sample, rng)[: self._length(slot.step)]
        targets = self.network.indices_to_elements(torch.from_numpy(shown.astype(np.int64))).byte()
        return GeneratorExample(targets, corrupt(targets.shape, self.network.classes, recipe.ratio, rng), condition)

    def first_tokens(self, number: int) -> Tensor:
        """Read the token map of a sample's first frame, int64 [1, h, w, C]. Raises as `read` does."""
        codes = read_codes(self.source[number], self._made_by, self.network.rounds, False)
        return torch.from_numpy(codes.unpack().indices[:1].astype(np.int64))

    def _caption(self, number: int, sample: Sample, dropped: bool, rng: np.random.Generator) -> CaptionChoice:
        """One of a sample's captions, drawn by their weights and types, behind the tag of its place; or the empty prompt.

        Raises BadInputError where there is none to draw, or where one of them cannot be read.
        """
        text = self.text
        assert text is not None, "captions are for text models"
        place, found = self.source.place(number), sample.wordings
        try:
            for one in found:
                text.check(place.tag + one.text)
        except BadInputError as error:
            raise BadInputError(f"{sample}: unreadable caption: {error}") from error
        weights = np.array([one.weight * (place.captions.get(one.type, 0.0) if place.captions else 1) for one in found])
        if not weights.sum():
            types = ", ".join(sorted({one.type for one in found}))
            raise BadInputError(
                f"{sample}: no caption may be drawn (found types {types}); change data.sources.captions"
            )
        which = int(rng.choice(len(found), p=weights / weights.sum()))
        turn = int(rng.integers(2**62)) if rng.random() < self.recipe.words.turned else None
        if dropped or not found[which].text:
            return CaptionChoice("", None, text_tokens(sample, None, text, place.tag))
        tokens = None if turn is not None else text_tokens(sample, which, text, place.tag)
        if tokens is not None and tokens.shape[-1] != text.dim:
            raise ModelMismatchError(
                f"{sample}: its captions are tokens of width {tokens.shape[-1]} and {text.name} gives {text.dim}: another encoder of "
                "this name read them; tokenize the data with the recipe's"
            )
        return CaptionChoice(place.tag + found[which].text, turn, tokens)

    def _map(self, number: int, sample: Sample, rng: np.random.Generator) -> np.ndarray:
        """A sample's token map, or where pictures are flipped that of its mirror image as often, uint16 [t, h, w, C]."""
        data, network = self.recipe.data, self.network
        codes = read_codes(sample, self._made_by, network.rounds, data.flip and bool(rng.random() < 0.5))
        if isinstance(network, ClassToImageConfig) and codes.shape[:3] != (1, network.size, network.size):
            raise ModelMismatchError(
                f"{sample}: its codes are {'x'.join(map(str, codes.shape[:3]))} tokens and the network draws 1x{network.size}x{network.size}; "
                f"tokenize the data at size {data.size}"
            )
        if self.source.place(number).clips and codes.fps != data.fps:
            raise ModelMismatchError(
                f"{sample}: has {codes.fps} frames a second and data.fps is {data.fps}; tokenize the data at that rate"
            )
        return codes.unpack().indices[: self.tokenizer.token_frames(data.frames)]

    def _length(self, step: int) -> int | None:
        """To how many frames of tokens the clips of a step are cut, all alike, so that they stay one tensor; None: they are not."""
        whole = self.tokenizer.token_frames(self.recipe.data.frames)
        if whole == 1 or not self.recipe.cut:
            return None
        rng = np.random.default_rng([self.recipe.run.seed, step, 0, 1])
        return int(rng.integers(1, whole)) if rng.random() < self.recipe.cut else None


def collate(examples: Sequence[GeneratorExample]) -> GeneratorBatch:
    """Join examples of any shapes into a batch."""
    classes = [one.condition for one in examples if isinstance(one.condition, int)]
    captions = [one.condition for one in examples if isinstance(one.condition, CaptionChoice)]
    return GeneratorBatch(
        _together([one.targets for one in examples]),
        _together([one.corruption.selection for one in examples]),
        _together([one.corruption.random for one in examples]),
        torch.tensor([one.corruption.ratio for one in examples], dtype=torch.float32),
        torch.tensor(classes) if classes else tuple(captions),
    )


def _together(maps: Sequence[Tensor]) -> Batched:
    return torch.stack(list(maps)) if len({one.shape for one in maps}) == 1 else tuple(maps)


def corrupt(shape: Sequence[int], classes: int, config: RatioConfig, rng: np.random.Generator) -> Corruption:
    """Draw a selection ratio l, a selection map S of it and a random map Y_rand (algorithm 2's first lines).

    Each element is selected by itself, with probability l (equation 6); each of the random map is any class, all alike likely.
    """
    ratio = _ratio(config, rng)
    selection = torch.from_numpy(rng.random(tuple(shape)) < ratio)
    told = ratio if config.shown == "drawn" else float(selection.float().mean())
    return Corruption(told, selection, torch.from_numpy(rng.integers(classes, size=tuple(shape))).byte())


def _ratio(config: RatioConfig, rng: np.random.Generator) -> float:
    if config.drawn == "uniform":
        return float(rng.random())
    return 1 / (1 + math.exp(-rng.normal(config.mean, config.deviation)))


def _tokenized(
    source: Source,
    recipe: GeneratorRecipe,
    place: SourceConfig,
    tokenizer: Tokenizer,
    progress: Progress,
    share: tuple[int, int],
) -> Source:
    """The codes of pictures or clips, from the cache folder, or made now together with the other processes."""
    data = recipe.data
    frames, fps = (data.frames, data.fps) if place.clips else (None, None)
    view = View(data.size, data.sizes, data.flip, frames, fps, recipe.network.rounds)
    # Codes of training data need not be the same on every machine.
    form = fast_type(tokenizer.device.type)
    maker = Maker(tokenizer, view, form, most_bad=data.most_bad, workers=data.workers)
    folder = cache_folder("codes", make=True)
    todo = pieces(source, maker, lambda _, made_of: folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.tar")
    return open_codes(made_together(todo, maker, progress, len(todo) * share[1] // share[0]))


def _check_captions(source: Source, path: str) -> None:
    """Raises BadInputError where no sample has a caption. How many have none is logged."""
    captioned = source.captioned()
    if not captioned.any():
        raise BadInputError(
            f"{path}: no picture has a caption; put a .txt beside each or take a class-to-image network"
        )
    if without := int((~captioned).sum()):
        logger.warning("%s: %d of %d have no caption and are learnt without words", path, without, len(source))


def check_classes(source: Source, path: str, classes: int) -> None:
    """Warn where class folders are not as many as the network's classes. BadInputError for samples of none of these."""
    labels = source.labels()
    for number in np.flatnonzero((labels < 0) | (labels >= classes)):
        sample = source[int(number)]
        if isinstance(sample.read, Unreadable):  # skipped and counted where it is read
            continue
        if sample.label is None:
            raise BadInputError(f"{sample}: has no class; a class-to-image generator needs class folders or .cls files")
        raise BadInputError(f"{sample}: class {sample.label} is not one of network.num_classes {classes}")
    if source.classes and len(source.classes) != classes:
        logger.warning(
            "%s: has %d class folders and network.num_classes is %d: the model will not know their names",
            display(path),
            len(source.classes),
            classes,
        )
