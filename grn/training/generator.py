"""Training a generator: cross-entropy on randomly corrupted token maps (algorithm 2).

Axes: token maps are [B, t, h, w, E] with values in [0, K): indices (E = C, K = 2^M) or round-major bits (E = M*C, K = 2). Where those of a
batch differ in size or length, they are a list of [t, h, w, E] and share a packed sequence.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.data.code_cache import Maps, Progress, View, nearest_maps
from grn.data.sources import Source
from grn.errors import BadInputError, ConfigError, ModelMismatchError
from grn.models.folder import save_model
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig
from grn.refine.sampler import Sampler
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.config import GeneratorRecipe, RatioConfig
from grn.training.loop import Slot
from grn.training.mixture import MixedSource
from grn.training.sheets import save_sheet
from grn.training.words import turn_words

SHEET_PICTURES = 16
_COLUMNS = 8  # of a sheet
_AS_IT_IS = -1  # the seed of a caption whose words are not turned


class GeneratorTask:
    """What `Loop` runs for a generator recipe."""

    def __init__(
        self,
        recipe: GeneratorRecipe,
        network: nn.Module,
        tokenizer: Tokenizer,
        text: StaticWordVectors | None,
        progress: Progress = iter,
        wait: bool = False,
    ) -> None:
        """wait: another process of this machine encodes the data.

        Raises ModelMismatchError where the parts do not fit, BadInputError for a sample without a readable picture, caption or class.
        """
        self.recipe, self.tokenizer, self.text = recipe, tokenizer, text
        self.modules = nn.ModuleDict({"model": network})
        self.config: Any = recipe.network
        _check_fit(recipe, tokenizer, text)
        self.source = MixedSource(recipe.data, recipe.run.seed)
        for source, place in zip(self.source.sources, recipe.data.sources, strict=True):
            if text is not None:
                _check_captions(source, place.path, text)
            elif isinstance(recipe.network, ClassToImageConfig):
                _check_classes(source, recipe.network.num_classes)
        data = recipe.data
        self.maps: list[Maps] = []
        for source, place in zip(self.source.sources, data.sources, strict=True):
            frames, fps = (data.frames, data.fps) if place.clips else (None, None)
            view = View(data.size, data.flip, frames, fps, self.config.rounds)
            self.maps.append(nearest_maps(source, tokenizer, view, data.sizes, progress, wait))
        self.forward: Any = torch.compile(network) if recipe.run.compile else network

    def order(self, first: int, count: int) -> list[int]:
        return self.source.order(first, count)

    def read(self, slot: Slot) -> dict[str, Any]:
        """One token map and its caption or class; None of either where the condition is dropped."""
        step, place, number = slot
        rng = np.random.default_rng([self.recipe.run.seed, step, place])
        views = self._map(number)
        sample = self.source[number]
        dropped = bool(rng.random() < self.recipe.drop_condition)
        caption = "" if dropped else sample.captions[rng.integers(len(sample.captions))]
        shown = views[rng.integers(len(views))][: self._length(step)]
        targets = self.config.indices_to_elements(torch.from_numpy(shown.astype(np.int64)))
        state, ratio = corrupt(targets, self.config.classes, self.recipe.ratio, rng)
        if self.config.target == "flip":
            targets = targets ^ state
        example = {"targets": targets, "state": state, "ratio": ratio}
        if self.text is not None:
            turned = not dropped and rng.random() < self.recipe.words.turned
            return example | {"caption": caption, "turn": int(rng.integers(2**62)) if turned else _AS_IT_IS}
        return example | {"label": self.config.num_classes if dropped else sample.label}

    def _length(self, step: int) -> int | None:
        """To how many frames of tokens the clips of a step are cut, all alike, so that they stay one tensor; None: they are not."""
        whole = self.tokenizer.config.token_frames(self.recipe.data.frames)
        rng = np.random.default_rng([self.recipe.run.seed, step, 0, 1])
        return int(rng.integers(1, whole)) if rng.random() < self.recipe.cut and whole > 1 else None

    def _map(self, number: int) -> np.ndarray:
        which = self.source.which(number)
        return self.maps[which][number - int(self.source.starts[which])]

    def optimizers(self) -> dict[str, list[torch.optim.Optimizer]]:
        config = self.recipe.optimizer
        named = dict(self.modules["model"].named_parameters())
        inner = {n for n, p in named.items() if p.ndim == 2 and "blocks" in n} if config.name == "muon" else set()
        rest = [p for n, p in named.items() if n not in inner]
        found: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
        ]
        if inner:
            matrices = [p for n, p in named.items() if n in inner]
            # Scaled as in "Muon is scalable for LLM training", so that one learning rate and decay suit both.
            found.append(
                torch.optim.Muon(
                    matrices, lr=config.matrix_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )
        return {"model": found}

    def step(self, batch: dict[str, Any], step: int) -> Iterator[tuple[str, Tensor, dict[str, float]]]:
        ragged = isinstance(batch["state"], list)
        network: Any = self.modules["model"]
        device = batch["ratio"].device
        condition, ratio = self._condition(batch).to(device), batch["ratio"].float()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.run.lowered(device.type)):
            draw = network.packed if ragged else self.forward
            logits = draw(batch["state"], ratio, network.prepare(condition))
        # Every element counts alike, whatever map it is of.
        found = torch.cat([one.float().flatten(0, -2) for one in logits]) if ragged else logits.float().flatten(0, -2)
        targets = torch.cat([one.flatten() for one in batch["targets"]]) if ragged else batch["targets"].flatten()
        loss = F.cross_entropy(found, targets)
        yield "model", loss, {"loss": float(loss.detach())}

    def _condition(self, batch: dict[str, Any]) -> ClassCondition | TextCondition:
        if self.text is None:
            return ClassCondition(batch["label"])
        words = []
        for caption, seed in zip(batch["caption"], batch["turn"].tolist(), strict=True):
            vectors = self.text.word_vectors(caption)
            if seed != _AS_IT_IS:
                rng = np.random.default_rng(seed)
                vectors = turn_words(vectors, self.text.vectors, self.recipe.words.degrees, rng)
            words.append(vectors)
        return self.text.condition(words)

    @torch.no_grad()
    def sheet(self, step: int, path: Path) -> None:
        """Pictures or clips for the recipe's prompts, for captions of the data if it names none, or for the first classes."""
        network: Any = self.modules["model"]
        sampler = Sampler(network, self.recipe.sampling)
        if self.text is not None:
            condition: ClassCondition | TextCondition = self.text.encode(self._sheet_prompts())
            null: ClassCondition | TextCondition = self.text.encode([""])
        else:
            count = min(SHEET_PICTURES, self.config.num_classes)
            condition = ClassCondition(torch.arange(count))
            null = network.null_condition(1)
        data, tokenizer = self.recipe.data, self.tokenizer.config
        side, length = data.size // tokenizer.stride, tokenizer.token_frames(data.frames)
        device = next(network.parameters()).device
        samples = sampler.run(condition.to(device), null.to(device), (length, side, side), seed=0)
        indices = torch.stack([s.indices for s in sorted(samples, key=lambda s: s.number)])
        pixels = self.tokenizer.decode(indices, self.config.rounds)
        # Of clips, a row of frames each.
        shown = np.linspace(0, pixels.shape[2] - 1, _COLUMNS).astype(int) if length > 1 else [0]
        save_sheet(pixels[:, :, shown].transpose(1, 2).flatten(0, 1), path, columns=_COLUMNS)

    def _sheet_prompts(self) -> list[str]:
        if self.recipe.sheet_prompts:
            return list(self.recipe.sheet_prompts)
        count = min(SHEET_PICTURES, len(self.source))
        return [self.source[i * len(self.source) // count].captions[0] for i in range(count)]

    def export(self, folder: Path) -> None:
        network = self.modules["model"]
        config = {
            "kind": self.config.kind,
            "name": self.recipe.name,
            "network": self.config.model_dump(mode="json", exclude={"kind"}),
            "sampling": self.recipe.sampling.model_dump(mode="json"),
            "size": self.recipe.data.size,
        }
        if self.recipe.data.frames > 1:
            config |= {"frames": self.recipe.data.frames, "fps": self.recipe.data.fps}
        save_model(folder, config, network.state_dict(), dtype=torch.float16)
        save_tokenizer(folder / "tokenizer", self.tokenizer.network, self.tokenizer.name)
        if self.text is not None:
            self.text.save(folder / "text_encoder")


def corrupt(targets: Tensor, classes: int, config: RatioConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The state that the network sees in training, and its selection ratio (algorithm 2).

    A logit-normal ratio l is drawn; each element of `targets` is kept with probability l and is a uniformly random class otherwise.
    Returns (state of the same shape, ratio float32 []).
    """
    ratio = 1 / (1 + math.exp(-rng.normal(config.mean, config.deviation)))
    kept = torch.from_numpy(rng.random(targets.shape) < ratio)
    noise = torch.from_numpy(rng.integers(classes, size=targets.shape))
    return torch.where(kept, targets, noise), torch.tensor(ratio, dtype=torch.float32)


def _check_fit(recipe: GeneratorRecipe, tokenizer: Tokenizer, text: StaticWordVectors | None) -> None:
    """The network, the tokenizer, the text encoder and the size of the pictures go together."""
    network: Any = recipe.network
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


def _check_captions(source: Source, path: Path, text: StaticWordVectors) -> None:
    """Every caption can be encoded: better said now than in the middle of an epoch."""
    if not any(any(sample.captions) for sample in source):
        raise BadInputError(
            f"{path}: no picture has a caption; put a .txt beside each or take a class-to-image network"
        )
    for sample in source:
        for caption in sample.captions:
            try:
                text.word_vectors(caption)
            except BadInputError as error:
                raise BadInputError(f"{sample}: unreadable caption: {error}") from error


def _check_classes(source: Source, classes: int) -> None:
    for sample in source:
        if sample.label is None:
            raise BadInputError(f"{sample}: has no class; a class-to-image generator needs class folders or .cls files")
        if sample.label >= classes:
            raise BadInputError(f"{sample}: class {sample.label} is not one of network.num_classes {classes}")
