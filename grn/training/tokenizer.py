"""Training a tokenizer: reconstruction, perceptual and adversarial losses at a random number of rounds.

Axes: crops are [B, 3, T, S, S] in [-1, 1]; features [B, C, t, s, s]. A batch holds pictures (T = 1) or clips; losses are of frames.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grn import hbq
from grn.data.transforms import random_crop, random_flip
from grn.media import resize_short_side, square, to_unit
from grn.networks.autoencoder import CausalAutoencoder
from grn.training.config import TokenizerRecipe
from grn.training.loop import Slot
from grn.training.losses import PatchDiscriminator, PerceptualLoss, discriminator_loss, generator_loss, motion_loss
from grn.training.mixture import MixedSource
from grn.training.sheets import save_sheet

_COLUMNS = 12  # of a sheet


def read_crop(source: MixedSource, slot: Slot, seed: int) -> Tensor:
    """The training crop of a slot, uint8 [3, T, S, S]."""
    step, place, number = slot
    rng = np.random.default_rng([seed, step, place])
    frames = source.read(number, rng)
    config, resize = source.config, source.resize(number)
    if resize is None:
        frames = square(frames, config.size)
    else:
        low, high = resize
        frames = random_crop(resize_short_side(frames, int(rng.integers(low, high + 1))), config.size, rng)
    if config.flip:
        frames = random_flip(frames, rng)
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)


def _frames(clips: Tensor) -> Tensor:
    """[B, 3, T, H, W] -> every frame by itself, [B*T, 3, H, W]."""
    return clips.transpose(1, 2).flatten(0, 1)


class TokenizerTask:
    """What `Loop` runs for a tokenizer recipe."""

    def __init__(self, recipe: TokenizerRecipe, network: CausalAutoencoder) -> None:
        self.recipe = recipe
        self.source = MixedSource(recipe.data, recipe.run.seed)
        self.modules = nn.ModuleDict({"model": network})
        losses = recipe.losses
        if losses.gan:
            self.modules["discriminator"] = PatchDiscriminator()
        self.perceptual = PerceptualLoss() if losses.perceptual else None
        if recipe.decoder_only:
            network.encoder.requires_grad_(False)
            network.to_latent.requires_grad_(False)
        names = list(recipe.rounds)
        self.rounds = [None if name == "none" else int(name) for name in names]
        shares = np.array([recipe.rounds[name] for name in names])
        self.shares = shares / shares.sum()
        self.encode, self.decode = network.encode, network.decode
        if recipe.run.compile:
            self.encode, self.decode = torch.compile(network.encode), torch.compile(network.decode)

    def order(self, first: int, count: int) -> list[int]:
        return self.source.batch(first // count, count)

    def read(self, slot: Slot) -> dict[str, Any]:
        """A crop, and which of `self.rounds` it is quantized to."""
        seed = self.recipe.run.seed
        step, place, _ = slot
        pick = np.random.default_rng([seed, step, place, 1]).choice(len(self.rounds), p=self.shares)
        return {"crop": read_crop(self.source, slot, seed), "pick": int(pick)}

    def optimizers(self) -> dict[str, list[torch.optim.Optimizer]]:
        config, model = self.recipe.optimizer, self.modules["model"]
        trained = [p for p in model.parameters() if p.requires_grad]
        adamw = torch.optim.AdamW(trained, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
        found: dict[str, list[torch.optim.Optimizer]] = {"model": [adamw]}
        if "discriminator" in self.modules:
            judge = self.modules["discriminator"].parameters()
            found["discriminator"] = [torch.optim.AdamW(judge, lr=self.recipe.losses.gan_lr, betas=(0.5, 0.9))]
        return found

    def step(self, batch: dict[str, Tensor], step: int) -> Iterator[tuple[str, Tensor, dict[str, float]]]:
        losses = self.recipe.losses
        pixels = to_unit(batch["crop"])
        device = pixels.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.recipe.run.lowered(device)):
            drawn = self.decode(self._quantize(self.encode(pixels), batch["pick"]))
        drawn = drawn.float()
        parts = {"l1": (drawn - pixels).abs().mean(), "l2": (drawn - pixels).square().mean()}
        figures = {"l1": float(parts["l1"].detach()), "psnr": -10 * float(torch.log10(parts["l2"].detach() / 4))}
        if self.perceptual is not None:
            self.perceptual.to(pixels.device)
            parts["perceptual"] = self.perceptual(_frames(drawn), _frames(pixels))
            figures["perceptual"] = float(parts["perceptual"].detach())
        if losses.motion and pixels.shape[2] > 1:
            parts["motion"] = motion_loss(drawn, pixels)
            figures["motion"] = float(parts["motion"].detach())
        loss = sum(getattr(losses, name) * part for name, part in parts.items())
        fooling = "discriminator" in self.modules and step >= losses.gan_start
        if fooling:
            adversarial = generator_loss(self.modules["discriminator"](_frames(drawn)))
            loss = loss + losses.gan * adversarial
            figures["gan"] = float(adversarial.detach())
        assert isinstance(loss, Tensor)
        yield "model", loss, figures
        if fooling:
            judge = self.modules["discriminator"]
            judged = discriminator_loss(judge(_frames(pixels)), judge(_frames(drawn.detach())))
            yield "discriminator", judged, {"discriminator": float(judged.detach())}

    def _quantize(self, features: Tensor, picks: Tensor) -> Tensor:
        """Each sample of the batch at the number of rounds picked for it."""
        features, out = features.float(), features.float().clone()
        for pick in picks.unique().tolist():
            rounds, rows = self.rounds[pick], (picks == pick).nonzero().squeeze(1)
            if rounds is not None:
                out = out.index_copy(0, rows, hbq.quantize(features[rows], rounds))
        return out

    @torch.no_grad()
    def sheet(self, step: int, path: Path) -> None:
        """Pictures above their reconstructions; then a clip's frames above theirs."""
        network = self.modules["model"]
        assert isinstance(network, CausalAutoencoder)
        device, rounds = next(network.parameters()).device, network.config.rounds
        rows = []
        for kind in self.source.kinds:
            clips = self.source.frames(kind[0]) > 1
            places = [0] if clips else np.linspace(0, len(kind) - 1, _COLUMNS).astype(int)
            crops = torch.stack([read_crop(self.source, (0, i, kind[n]), 0) for i, n in enumerate(places)])
            pixels = to_unit(crops.to(device))
            drawn = network.decode(hbq.quantize(network.encode(pixels), rounds))
            shown = np.linspace(0, pixels.shape[2] - 1, _COLUMNS).astype(int) if clips else np.zeros(1, int)
            rows += [_frames(side[:, :, shown]) for side in (pixels, drawn)]
        save_sheet(torch.cat(rows), path, columns=_COLUMNS)

    def export(self, folder: Path) -> None:
        from grn.tokenizer import save_tokenizer

        network = self.modules["model"]
        assert isinstance(network, CausalAutoencoder)
        save_tokenizer(folder, network, self.recipe.name)
