"""Training a generator: cross-entropy on randomly corrupted token maps (algorithm 2).

Axes: token maps are [B, t, h, w, E] with values in [0, K): indices (E = C, K = 2^M) or round-major bits (E = M*C, K = 2). Where those of a
batch differ in size or length, they are [t, h, w, E] each and share a packed sequence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.data.samples import Unreadable
from grn.data.shards import Progress
from grn.errors import BadInputError, ConfigError, ModelMismatchError
from grn.models.config import ClassToImageModelConfig, GeneratorModelConfig, TextToVisualModelConfig
from grn.models.folder import save_model
from grn.networks.class_to_image import ClassToImage
from grn.networks.compiling import compile_blocks, forward_flop, pays, recompute_blocks
from grn.networks.condition import ClassCondition, Condition, TextCondition, Texts
from grn.networks.contract import Shape
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.sampler import Sampler
from grn.refine.step import MASK, mix
from grn.text.encoder import TextEncoder
from grn.text.learnt import words_file
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.card import card_of
from grn.training.config import OptimizerConfig, RunConfig
from grn.training.generator_data import (
    Batched,
    CaptionChoice,
    GeneratorBatch,
    GeneratorData,
    GeneratorExample,
    collate,
    corrupt,
)
from grn.training.operations import generator_operations
from grn.training.recipe import GeneratorRecipe
from grn.training.sheets import save_sheet
from grn.training.task import Loss, Slot
from grn.training.words import turn_words

SHEET_PICTURES = 16
_COLUMNS = 8  # of a sheet
_TENTHS = 10
_MADE_UP = "a red house with a small door by a lake, under tall trees, " * 8  # about as long as detailed captions are


class Prediction(nn.Module):
    """The network in one call, p(Y | F, cond) of equation 5: (states, ratio, condition) -> logits, a batch or one a sample."""

    def __init__(self, network: ClassToImage | TextToVisual, run: RunConfig | None = None) -> None:
        """run: decides whether the network's blocks are computed once more, and they and the loss compiled; None: neither."""
        super().__init__()
        self.network, self._run = network, run
        self.surprise = surprise

    def forward(self, states: Batched, ratio: Tensor, condition: Condition) -> Tensor | tuple[Tensor, ...]:
        """states: int64. Logits [B, t, h, w, E, K] where the states have one shape, else [t, h, w, E, K] each."""
        if self._run is not None:
            self._settle(self._run, states)
        prepared = self.network.prepare(condition)
        if isinstance(states, Tensor):
            return self.network(states, ratio, prepared)
        return tuple(self.network.packed(states, ratio, prepared))

    def _settle(self, run: RunConfig, states: Batched) -> None:
        """At the first call: by then the network is where it computes. A batch of the run is taken to be like these states."""
        self._run = None
        device = states[0].device
        tokens = sum(one[..., 0].numel() for one in states) / len(states) * run.batch_size * run.steps
        dtype = torch.bfloat16 if run.lowered(device.type) else torch.float32
        # Backward takes twice as much as forward.
        compiled = pays(run.compile, device, dtype, 3 * forward_flop(self.network, tokens))
        if run.recompute:
            recompute_blocks(self.network, compiled)
        if compiled:
            compile_blocks(self.network)
            self.surprise = torch.compile(surprise, dynamic=True, fullgraph=True)


class GeneratorTask:
    """What `Loop` runs for a generator recipe."""

    def __init__(
        self,
        recipe: GeneratorRecipe,
        network: ClassToImage | TextToVisual,
        tokenizer: Tokenizer,
        text: TextEncoder | None,
        progress: Progress = iter,
        share: tuple[int, int] = (1, 0),
        learnt: frozenset[str] = frozenset(),
    ) -> None:
        """share: how many processes encode the data, and the number of this one. learnt: words of the captions of the model that it starts from.

        Raises ModelMismatchError where the parts do not fit, BadInputError for a sample without a readable picture, caption or class.
        """
        self.recipe, self.network, self.tokenizer, self.text = recipe, network, tokenizer, text
        self.config = recipe.network
        check_fit(recipe, tokenizer, text)
        self._progress, self._share, self._learnt = progress, share, learnt
        self.modules = nn.ModuleDict({"model": network})
        self.prediction = Prediction(network, recipe.run)
        self.calls: dict[str, nn.Module] = {"model": self.prediction}

    @cached_property
    def data(self) -> GeneratorData:
        """The data, opened (and encoded where that is to be done) when they are asked for first."""
        return GeneratorData(self.recipe, self.tokenizer, self.text, self._progress, self._share)

    @property
    def partly_used(self) -> tuple[str, ...]:
        config = self.config
        if isinstance(config, ClassToImageConfig) and not (
            config.context_tokens and config.context_start < config.depth
        ):
            return ("model",)  # the positions of context tokens that never join
        return ()

    @property
    def samples(self) -> int:
        return len(self.data.source)

    def order(self, first: int, count: int) -> list[int]:
        return self.data.source.order(first, count)

    def other(self, slot: Slot, attempt: int) -> int:
        rng = np.random.default_rng([self.recipe.run.seed, slot.step, slot.place, 2, attempt])
        return self.data.source.other(slot.number, rng)

    def sample(self, number: int) -> str:
        return str(self.data.source[number])

    def read(self, slot: Slot) -> GeneratorExample:
        return self.data.read(slot)

    def tokens(self, example: GeneratorExample) -> int:
        caption, length = example.condition, 0
        if isinstance(caption, CaptionChoice) and self.text is not None:
            length = self.text.length(caption.text) if caption.tokens is None else len(caption.tokens)
        return self.config.places(_shape(example.targets), length)

    def collate(self, examples: Sequence[GeneratorExample]) -> GeneratorBatch:
        return collate(examples)

    def made_up(self, count: int) -> list[GeneratorExample]:
        data, config, tokenizer = self.recipe.data, self.config, self.tokenizer.config
        sizes = data.sizes or ((data.size, data.size),)
        caption = "" if isinstance(self.text, StaticWordVectors) else _MADE_UP  # a table may not have these words
        condition: int | CaptionChoice = 0 if self.text is None else CaptionChoice(caption)
        rng, found = np.random.default_rng(0), []
        for width, height in (sizes[n % len(sizes)] for n in range(count)):
            side = height // tokenizer.stride, width // tokenizer.stride
            shape = (tokenizer.token_frames(data.frames), *side, config.elements)
            targets = torch.from_numpy(rng.integers(config.classes, size=shape)).byte()
            found.append(GeneratorExample(targets, corrupt(shape, config.classes, self.recipe.ratio, rng), condition))
        return found

    def settings(self, name: str) -> OptimizerConfig:
        return self.recipe.optimizer

    def losses(self, batch: GeneratorBatch, step: int) -> list[Loss]:
        """Algorithm 2, one training step up to the gradients. The batch holds l, S and Y_rand, drawn for each sample anew."""
        device = batch.ratio.device
        targets, unselected = _each(Tensor.long, batch.targets), _each(Tensor.long, batch.random)
        if self.recipe.fill == "mask":  # the ablation of section 4.5.2: what is not selected shows nothing
            unselected = _each(lambda one: torch.full_like(one, MASK), unselected)
        states = _each(mix, targets, batch.selection, unselected)  # F, equation 4
        if self.config.target == "flip":
            targets = _each(torch.bitwise_xor, targets, states)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.run.lowered(device.type)):
            condition = self._condition(batch)
            text = condition.mask.sum(1).tolist() if isinstance(condition, TextCondition) else [0] * len(batch)
            condition = condition.to(device)
            logits = self.calls["model"](states, batch.ratio, condition)  # equation 5
        losses = refinement_loss(logits, targets, self.prediction.surprise)  # equation 7, [B]
        figures = _figures(losses.detach(), logits, targets, batch.ratio)
        shapes = [_shape(one) for one in batch.targets]
        if budget := self.recipe.run.tokens_per_batch:
            taken = sum(map(self.config.places, shapes, text))
            figures["padding"] = torch.tensor(max(0.0, 1 - taken / budget), device=device)
        return [Loss("model", losses.mean(), figures, losses, generator_operations(self.network, shapes, max(text)))]

    def _condition(self, batch: GeneratorBatch) -> Condition:
        if isinstance(batch.conditions, Tensor):
            return ClassCondition(batch.conditions)
        text, captions = self.text, batch.conditions
        assert text is not None, "a batch of captions and nothing that reads them"
        if isinstance(text, StaticWordVectors):
            return text.condition([self._words(text, caption) for caption in captions])
        missing = list(dict.fromkeys(caption.text for caption in captions if caption.tokens is None))
        made: Condition = text.encode(missing) if missing else Texts(())
        if not isinstance(made, Texts):
            return made.rows(torch.tensor([missing.index(caption.text) for caption in captions]))
        known = dict(zip(missing, made.tokens, strict=True))
        tokens = tuple(known[one.text] if one.tokens is None else one.tokens for one in captions)
        return Texts(tokens).rows(torch.arange(len(captions)))

    def _words(self, text: StaticWordVectors, caption: CaptionChoice) -> Tensor:
        vectors = text.word_vectors(caption.text)
        if caption.turn is None:
            return vectors
        return turn_words(vectors, text.vectors, self.recipe.words.degrees, np.random.default_rng(caption.turn))

    @torch.no_grad()
    def sheet(self, step: int, path: Path | None) -> None:
        """Draw a sheet for the recipe's prompts, for captions of the data if it names none, or for the first classes."""
        if self.text is not None:
            pixels = self._draw(self.text.encode(self._sheet_prompts()), range(SHEET_PICTURES))
        else:
            assert isinstance(self.config, ClassToImageConfig)
            labels = torch.arange(SHEET_PICTURES) % self.config.num_classes
            pixels = self._draw(ClassCondition(labels), range(SHEET_PICTURES))
        # Of clips, a row of frames each.
        shown = np.linspace(0, pixels.shape[2] - 1, _COLUMNS).astype(int) if pixels.shape[2] > 1 else [0]
        if path is not None:
            save_sheet(pixels[:, :, shown].transpose(1, 2).flatten(0, 1), path, columns=_COLUMNS)

    def _draw(self, condition: Condition, seeds: Sequence[int]) -> Tensor:
        """Pictures or clips [B, 3, T, H, W] in [-1, 1], one for each condition, as the recipe samples."""
        network, data, tokenizer = self.network, self.recipe.data, self.tokenizer.config
        null = network.null_condition(1) if self.text is None else self.text.encode([""])
        assert null is not None
        side, length = data.size // tokenizer.stride, tokenizer.token_frames(self.recipe.drawn_frames)
        device = next(network.parameters()).device
        samples = Sampler(network, self.recipe.sampling).run(
            condition.to(device), null.to(device), (length, side, side), seed=list(seeds)[: len(condition)]
        )
        indices = torch.stack([s.indices for s in sorted(samples, key=lambda s: s.number)])
        return self.tokenizer.decode(indices, self.config.rounds)

    def real(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        for n in numbers:  # as their codes show them: what the network has learnt from is no sharper
            try:
                tokens = self.data.first_tokens(n)
            except BadInputError:
                continue
            yield self.tokenizer.decode(tokens[None], self.config.rounds)[:, :, 0]

    @torch.no_grad()
    def made(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        for start in range(0, len(numbers), SHEET_PICTURES):
            chosen, source = numbers[start : start + SHEET_PICTURES], self.data.source
            if self.text is None:
                labels = {n: source[n].label for n in chosen if not isinstance(source[n].read, Unreadable)}
                if labels:
                    yield self._draw(ClassCondition(torch.tensor(list(labels.values()))), list(labels))[:, :, 0]
            elif prompts := self._prompts({n: source.place(n).tag for n in chosen}):
                yield self._draw(self.text.encode(list(prompts.values())), list(prompts))[:, :, 0]

    def _prompts(self, tags: Mapping[int, str]) -> dict[int, str]:
        """The first captions of these samples behind a tag, by their numbers; those that cannot be read are left out."""
        assert self.text is not None, "captions are for text models"
        found = {}
        for number, tag in tags.items():
            try:
                prompt = _tagged(tag, self.data.source[number].captions[0])
                self.text.check(prompt)
            except BadInputError:
                continue
            found[number] = prompt
        return found

    def _sheet_prompts(self) -> list[str]:
        if self.recipe.sheet_prompts:
            return [_tagged(self._tag, prompt) for prompt in self.recipe.sheet_prompts]
        many = self.samples
        count = min(SHEET_PICTURES, many)
        return list(self._prompts({i * many // count: self._tag for i in range(count)}).values()) or [""]

    @property
    def _tag(self) -> str:
        """What stands before the prompts of the finished model: what stands before captions of what it draws, clips or pictures."""
        return next(source.tag for source in self.recipe.data.sources if source.clips == (self.recipe.drawn_frames > 1))

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write the model folder, with its tokenizer and text encoder."""
        recipe, data = self.recipe, self.recipe.data
        config: GeneratorModelConfig
        if isinstance(self.config, ClassToImageConfig):
            config = ClassToImageModelConfig(
                name=recipe.name,
                network=self.config,
                sampling=recipe.sampling,
                size=data.size,
                class_names=self.data.class_names(),
            )
        else:
            # An encoder of another kind has many times the generator's size: named, not copied.
            named = self.text is not None and not isinstance(self.text, StaticWordVectors)
            config = TextToVisualModelConfig(
                name=recipe.name,
                network=self.config,
                sampling=recipe.sampling,
                size=data.size,
                frames=data.frames,
                fps=data.fps,
                stills=recipe.stills,
                clip_sampling=recipe.clip_sampling,
                prompt_tag=self._tag,
                text_encoder=str(recipe.text_encoder) if named else None,
            )
        words = words_file(self.data.captions(), self._learnt) if isinstance(self.text, StaticWordVectors) else {}
        save_model(folder, config, state, torch.float16, card_of(self.recipe, state), files=words)
        save_tokenizer(folder / "tokenizer", self.tokenizer.network, self.tokenizer.name)
        if isinstance(self.text, StaticWordVectors):
            self.text.save(folder / "text_encoder")


def _tagged(tag: str, prompt: str) -> str:
    return tag + prompt if prompt else ""


def _shape(token_map: Tensor) -> Shape:
    return token_map.shape[0], token_map.shape[1], token_map.shape[2]


def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target [..., E], float32."""
    if logits.shape[-1] == 2:  # a softmax over so few takes several times as long
        margin = logits[..., 1].float() - logits[..., 0].float()
        return F.binary_cross_entropy_with_logits(margin, targets.float(), reduction="none")
    return F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def refinement_loss(
    logits: Tensor | tuple[Tensor, ...], targets: Batched, surprise: Callable[[Tensor, Tensor], Tensor] = surprise
) -> Tensor:
    """Compute equation 7 of each sample: -1/N times the sum of log p(y_i | F, cond) over its N elements; float32 [B].

    logits [..., E, K] and targets int64 [..., E], of all samples in one tensor, or of each in its own. surprise: computes
    -log p, as the function of this name or compiled.
    """
    if isinstance(logits, Tensor) and isinstance(targets, Tensor):
        return surprise(logits, targets).flatten(1).mean(1)
    return torch.stack([surprise(x, y).mean() for x, y in zip(logits, targets, strict=True)])


@torch.no_grad()
def _figures(losses: Tensor, logits: Tensor | tuple[Tensor, ...], targets: Batched, ratio: Tensor) -> dict[str, Tensor]:
    """Loss and accuracy of each sample, [B], over all and by tenths of the selection ratio; not a number where one is in another tenth."""
    right = [(x.argmax(-1) == y).float().mean() for x, y in zip(logits, targets, strict=True)]
    found = {"loss": losses, "accuracy": torch.stack(right)}
    tenths = (ratio * _TENTHS).floor().clamp(max=_TENTHS - 1)
    for name in ("loss", "accuracy"):
        for tenth in range(_TENTHS):
            found[f"{name}/{tenth / _TENTHS:.1f}"] = torch.where(tenths == tenth, found[name], torch.nan)
    return found


def _each(act: Callable[..., Tensor], *maps: Batched) -> Batched:
    """`act` on maps of one shape together, or on each sample's by themselves."""
    if all(isinstance(one, Tensor) for one in maps):
        return act(*maps)
    return tuple(act(*ones) for ones in zip(*maps, strict=True))


def check_fit(recipe: GeneratorRecipe, tokenizer: Tokenizer, text: TextEncoder | None) -> None:
    """The network, the tokenizer, the text encoder and the size of the pictures go together."""
    network = recipe.network
    if network.channels != tokenizer.config.channels:
        raise ModelMismatchError(
            f"the generator is for {network.channels} channels and tokenizer {tokenizer.name} makes {tokenizer.config.channels}; "
            "change network.channels in the recipe"
        )
    size, stride = recipe.data.size, tokenizer.config.stride
    if isinstance(network, ClassToImageConfig):
        if text is not None:
            raise ConfigError("text_encoder is of no use to a class-to-image network; leave it out of the recipe")
        if size != network.size * stride:
            raise ModelMismatchError(
                f"data.size {size} is not the {network.size * stride} of network.size {network.size} tokens at stride {stride}; change either"
            )
        return
    for name, sides in (("size", [size]), ("sizes", [side for pair in recipe.data.sizes for side in pair])):
        for side in (side for side in sides if side % (stride * network.patch)):
            raise ModelMismatchError(
                f"data.{name} {side} is not a multiple of {stride * network.patch} (tokenizer's stride {stride}, network.patch {network.patch})"
            )
    if tokenizer.config.whole_frames(recipe.data.frames) != recipe.data.frames:
        raise ModelMismatchError(
            f"data.frames {recipe.data.frames} is not 1 + a multiple of the tokenizer's time stride {tokenizer.config.time_stride}"
        )
    if text is None:
        raise ConfigError(
            "text_encoder is missing: a text-to-visual generator needs one; name its folder in the recipe"
        )
    if text.dim != network.text_width:
        raise ModelMismatchError(
            f"{recipe.text_encoder}: gives tokens of width {text.dim} and network.text_width is {network.text_width}; change the latter"
        )
    if recipe.text_device is not None and isinstance(text, StaticWordVectors):
        raise ConfigError(
            f"text_device: {recipe.text_encoder} is a table of words, which computes nowhere; leave it out"
        )
    try:
        for prompt in recipe.sheet_prompts:
            text.check(prompt)
    except BadInputError as error:
        raise ConfigError(f"sheet_prompts: {error}") from error
    if recipe.words.turned and not isinstance(text, StaticWordVectors):
        raise ConfigError(f"words.turned: {recipe.text_encoder} has no words to turn; leave it at 0")
