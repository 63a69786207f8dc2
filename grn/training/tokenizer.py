"""Training a tokenizer: reconstruction, perceptual and adversarial losses at a random number of rounds.

Axes: crops are [B, 3, T, S, S] in [-1, 1]; features [B, C, t, s, s]. A batch holds pictures (T = 1) or clips; losses are of frames.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from grn import hbq
from grn.data.transforms import random_crop, random_flip
from grn.errors import BadInputError
from grn.media import resize_short_side, square, to_unit
from grn.models.config import TokenizerModelConfig
from grn.models.folder import save_model
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.compiling import forward_flop, pays
from grn.training.card import card_of
from grn.training.config import OptimizerConfig, RunConfig
from grn.training.losses import (
    LpipsLoss,
    PatchDiscriminator,
    PatchGan,
    PerceptualLoss,
    discriminator_loss,
    distances,
    generator_loss,
    motion_loss,
)
from grn.training.mixture import MixedSource
from grn.training.operations import autoencoder_operations
from grn.training.recipe import TokenizerRecipe
from grn.training.sheets import save_sheet
from grn.training.task import Loss, Slot

_COLUMNS = 12  # of a sheet


@dataclass(frozen=True)
class TokenizerExample:
    """crop: uint8 [3, T, S, S]. rounds: M that its features are quantized to; None: they are not."""

    crop: Tensor
    rounds: int | None


@dataclass(frozen=True)
class TokenizerBatch:
    """crops: uint8 [B, 3, T, S, S]. rounds: of each. tokens: that all of them become."""

    crops: Tensor
    rounds: tuple[int | None, ...]
    tokens: int

    def __len__(self) -> int:
        return len(self.crops)

    def to(self, device: torch.device) -> "TokenizerBatch":
        """Move to `device`."""
        return replace(self, crops=self.crops.to(device, non_blocking=True))

    def pin_memory(self) -> "TokenizerBatch":
        """Move to pinned memory, from which a GPU copies by itself."""
        return replace(self, crops=self.crops.pin_memory())


class Reconstruction(nn.Module):
    """Encoder, quantization and decoder in one call: (pixels [B, 3, T, S, S], each sample's rounds) -> pixels."""

    def __init__(self, network: CausalAutoencoder, run: RunConfig) -> None:
        """run: decides whether the network and the losses are compiled."""
        super().__init__()
        self.network, self._run = network, run
        self.distances, self.motion = distances, motion_loss
        self._ways: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None

    def forward(self, pixels: Tensor, rounds: Sequence[int | None]) -> Tensor:
        """Gradients pass the quantization as if it were not there (straight-through)."""
        # Taken at the first call: by then an engine may have put its own methods into the network.
        if self._ways is None:
            self._ways = self.network.encode, self.network.decode
            if self._pays(pixels):
                self._ways = torch.compile(self.network.encode), torch.compile(self.network.decode)
                self.distances, self.motion = torch.compile(distances), torch.compile(motion_loss)
        encode, decode = self._ways
        return decode(quantize_each(encode(pixels), rounds))

    def _pays(self, pixels: Tensor) -> bool:
        """Whether to compile a run whose batches are like these pixels. The weights count once for each token, which is less than they do."""
        _, _, frames, height, width = pixels.shape
        tokens = math.prod(self.network.config.map_shape(frames, height, width))
        flop = 3 * forward_flop(self.network, tokens * self._run.batch_size * self._run.steps)
        dtype = torch.bfloat16 if self._run.lowered(pixels.device.type) else torch.float32
        return pays(self._run.compile, pixels.device, dtype, flop)


class Judgement(nn.Module):
    """The discriminator's loss in one call."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, true: Tensor, reconstructed: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] -> float32 []."""
        return discriminator_loss(self.discriminator(true), self.discriminator(reconstructed))


class TokenizerTask:
    """What `Loop` runs for a tokenizer recipe."""

    def __init__(self, recipe: TokenizerRecipe, network: CausalAutoencoder) -> None:
        self.recipe = recipe
        self.modules = nn.ModuleDict({"model": network})
        self.reconstruction = Reconstruction(network, recipe.run)
        self.calls: dict[str, nn.Module] = {"model": self.reconstruction}
        losses = recipe.losses
        if losses.gan:
            self.modules["discriminator"] = PatchGan() if losses.gan_network == "patchgan" else PatchDiscriminator()
            self.calls["discriminator"] = Judgement(self.modules["discriminator"])
        if losses.perceptual:
            self.calls["perceptual"] = PerceptualLoss() if losses.lpips is None else LpipsLoss(losses.lpips)
        if recipe.decoder_only:
            network.encoder.requires_grad_(False)
            network.to_latent.requires_grad_(False)
        names = list(recipe.rounds)
        self.rounds = [None if name == "none" else int(name) for name in names]
        shares = np.array([recipe.rounds[name] for name in names])
        self.shares = shares / shares.sum()

    @cached_property
    def source(self) -> MixedSource:
        """The data, opened when they are asked for first."""
        return MixedSource(self.recipe.data, self.recipe.run.seed)

    @property
    def partly_used(self) -> tuple[str, ...]:
        pictures = not all(source.clips for source in self.recipe.data.sources)
        return ("model",) if pictures and self.recipe.network.time_stride > 1 else ()  # no time is halved in those

    @property
    def samples(self) -> int:
        return len(self.source)

    def order(self, first: int, count: int) -> list[int]:
        return self.source.batch(first // count, count)

    def other(self, slot: Slot, attempt: int) -> int:
        rng = np.random.default_rng([self.recipe.run.seed, slot.step, slot.place, 2, attempt])
        return self.source.other(slot.number, rng)

    def sample(self, number: int) -> str:
        return str(self.source[number])

    def read(self, slot: Slot) -> TokenizerExample:
        """Read a crop, and draw the number of rounds that it is quantized to."""
        seed = self.recipe.run.seed
        pick = np.random.default_rng([seed, slot.step, slot.place, 1]).choice(len(self.rounds), p=self.shares)
        return TokenizerExample(read_crop(self.source, slot, seed), self.rounds[pick])

    def tokens(self, example: TokenizerExample) -> int:
        return math.prod(self.recipe.network.map_shape(*example.crop.shape[1:]))

    def collate(self, examples: Sequence[TokenizerExample]) -> TokenizerBatch:
        crops, tokens = torch.stack([one.crop for one in examples]), sum(map(self.tokens, examples))
        return TokenizerBatch(crops, tuple(one.rounds for one in examples), tokens)

    def made_up(self, count: int) -> list[TokenizerExample]:
        size, frames = self.recipe.data.size, self.recipe.data.frames
        crops = torch.randint(256, (count, 3, frames, size, size), dtype=torch.uint8)
        return [TokenizerExample(crop, self.rounds[0]) for crop in crops]

    def settings(self, name: str) -> OptimizerConfig:
        config, losses = self.recipe.optimizer, self.recipe.losses
        if name != "discriminator":
            return config
        own = {"lr": losses.gan_lr, "betas": losses.gan_betas, "weight_decay": losses.gan_weight_decay}
        return config.model_copy(update=own)

    def losses(self, batch: TokenizerBatch, step: int) -> list[Loss]:
        """Section 3.1: distances of the reconstruction, weighted; with a discriminator its verdict, and the loss of its own."""
        weights, pixels = self.recipe.losses, to_unit(batch.crops)
        device = pixels.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.recipe.run.lowered(device)):
            reconstruction = self.calls["model"](pixels, batch.rounds)
        reconstruction = reconstruction.float()
        l1, l2, each = self.reconstruction.distances(reconstruction, pixels)
        parts = {"l1": l1, "l2": l2}
        if "perceptual" in self.calls:
            parts["perceptual"] = self.calls["perceptual"](_frames(reconstruction), _frames(pixels))
        if weights.motion and pixels.shape[2] > 1:
            parts["motion"] = self.reconstruction.motion(reconstruction, pixels)
        fooling = "discriminator" in self.modules and step >= weights.gan_start
        if fooling:
            judge = self.modules["discriminator"]
            with _frozen(judge):  # the autoencoder alone learns from the verdict on it
                parts["gan"] = generator_loss(judge(_frames(reconstruction)))
        value = pixels.new_zeros(())
        for name, part in parts.items():
            value = value + getattr(weights, name) * part
        figures = {name: part.detach() for name, part in parts.items()}
        figures = {"l1": figures.pop("l1"), "psnr": -10 * torch.log10(figures.pop("l2") / 4), **figures}
        count, _, frames, side, _ = pixels.shape
        operations = autoencoder_operations(self.recipe.network, frames, side, self.recipe.decoder_only)
        found = [Loss("model", value, figures, each, count * operations)]
        if fooling:
            judged = self.calls["discriminator"](_frames(pixels), _frames(reconstruction.detach()))
            found.append(Loss("discriminator", judged, {"discriminator": judged.detach()}))
        return found

    @torch.no_grad()
    def sheet(self, step: int, path: Path | None) -> None:
        """Draw a sheet of pictures above their reconstructions, then of a clip's frames above theirs."""
        network = self.modules["model"]
        assert isinstance(network, CausalAutoencoder)
        device, rounds = next(network.parameters()).device, network.config.rounds
        rows = []
        for kind in self.source.kinds:
            clips = self.source.frames(kind[0]) > 1
            places = [0] if clips else np.linspace(0, len(kind) - 1, _COLUMNS).astype(int)
            crops = torch.stack([self._shown(Slot(0, i, kind[n])) for i, n in enumerate(places)])
            pixels = to_unit(crops.to(device))
            reconstruction = network.decode(hbq.quantize(network.encode(pixels), rounds))
            shown = np.linspace(0, pixels.shape[2] - 1, _COLUMNS).astype(int) if clips else np.zeros(1, int)
            rows += [_frames(side[:, :, shown]) for side in (pixels, reconstruction)]
        if path is not None:
            save_sheet(torch.cat(rows), path, columns=_COLUMNS)

    def _shown(self, slot: Slot, attempts: int = 100) -> Tensor:
        """The crop of a slot, or of one that stands in for it."""
        try:
            return read_crop(self.source, slot, 0)
        except BadInputError:
            if not attempts:
                raise
            return self._shown(slot._replace(number=self.other(slot, attempts)), attempts - 1)

    def real(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        for n in numbers:
            try:
                crop = read_crop(self.source, Slot(0, n, n), 0)
            except BadInputError:
                continue
            yield to_unit(crop[None, :, 0])

    @torch.no_grad()
    def made(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        network = self.modules["model"]
        assert isinstance(network, CausalAutoencoder)
        device = next(network.parameters()).device
        for pixels in self.real(numbers):
            features = network.encode(pixels[:, :, None].to(device))
            yield network.decode(hbq.quantize(features, network.config.rounds))[:, :, 0]

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write the tokenizer's folder."""
        network = self.modules["model"]
        assert isinstance(network, CausalAutoencoder)
        config = TokenizerModelConfig(name=self.recipe.name, network=network.config)
        save_model(folder, config, state, torch.float16, card_of(self.recipe, state))


def read_crop(source: MixedSource, slot: Slot, seed: int) -> Tensor:
    """Read the training crop of a slot, uint8 [3, T, S, S]."""
    rng = np.random.default_rng([seed, slot.step, slot.place])
    frames = source.read(slot.number, rng)
    config, resize = source.config, source.resize(slot.number)
    if resize is None:
        frames = square(frames, config.size)
    else:
        low, high = resize
        frames = random_crop(resize_short_side(frames, int(rng.integers(low, high + 1))), config.size, rng)
    if config.flip:
        frames = random_flip(frames, rng)
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)


def quantize_each(features: Tensor, rounds: Sequence[int | None]) -> Tensor:
    """Quantize each sample of features [B, C, t, s, s] to its own number of rounds; float32, straight-through."""
    features, found = features.float(), features.float().clone()
    for number in sorted({one for one in rounds if one is not None}):
        rows = torch.tensor([i for i, one in enumerate(rounds) if one == number], device=features.device)
        found = found.index_copy(0, rows, hbq.quantize(features[rows], number))
    return found


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Gradients go through, and none to its own weights, meanwhile."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _frames(clips: Tensor) -> Tensor:
    """[B, 3, T, H, W] -> every frame by itself, [B*T, 3, H, W]."""
    return clips.transpose(1, 2).flatten(0, 1)
