"""Train a tokenizer with all its data in the device's memory: python recipes/emoji/resident_tokenizer.py RECIPE.toml -o RUN [--minutes N]

Takes a tokenizer recipe as `grn train` does, in a fraction of its time on a GPU, which waits for no file: pictures and clips are decoded once,
and crops, losses and the discriminator are computed where they lie. It differs in three things: `--minutes` sets the length in place of
`run.steps` (warm-up stays in steps, the fall of the rate keeps its share); a batch of clips holds `--clip-batch` of them, in `--clip-share`
of the steps; and `losses.gan` is relative: the discriminator's gradient at the last layer is that many times the other losses' (VQGAN's
adaptive weight), from nothing at first to that at step `losses.gan_start`.

RUN holds checkpoints, log.jsonl and in the end final/, a model folder. The same command goes on where a run was stopped. Samples of
`--heldout NAME=TAR` are never trained on; of them come PSNR and perceptual distance in the log.
"""

import argparse
import copy
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from banks import Bank, Dice, cut, divide, read_bank
from compose import Renderer, compose
from resident_loop import Length, Run, share_of_rate
from scenes import Composer
from sprites import read as read_sprites
from torch import Tensor, nn

from grn.errors import ConfigError, GrnError, UsageError
from grn.media.pixels import to_levels, to_unit
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.inflate import can_inflate, inflate
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.card import card_of
from grn.training.losses import PatchDiscriminator, PerceptualLoss, discriminator_loss, generator_loss, motion_loss
from grn.training.recipe import TokenizerRecipe, load_recipe, save_recipe

HELDOUT = 60  # samples of each held-out tar
HELDOUT_SIDE = 128
_COMPOSED = 256  # scenes drawn at a time
JUDGED_FRAMES = 3  # of a clip, for the losses that look at pictures
_MOST_GAN = 10.0  # where the discriminator's gradient is tiny, its weight would grow without bound


def quantize(features: Tensor, rounds: Tensor) -> Tensor:
    """`grn.hbq.quantize` with its own number of rounds for each sample [B, ...]; rounds [B] float, 0: not quantized."""
    shape = (-1,) + (1,) * (features.dim() - 1)
    half = (2.0 ** (rounds.clamp(min=1) - 1)).view(shape)
    index = (torch.ceil(features.detach() * half) + (half - 1)).clamp(min=0).minimum(2 * half - 1)
    centres = (2 * index + 1) / (2 * half) - 1
    moved = torch.where((rounds > 0).view(shape), centres, features.detach())
    return moved + (features - features.detach())


def some_frames(clips: Tensor, count: int, dice: Dice) -> Tensor:
    """[B, C, T, H, W] -> at most `count` random frames of each, [B * count, C, H, W]; the same moments for all."""
    if clips.shape[2] > count:
        chosen = torch.randperm(clips.shape[2], generator=dice.device, device=clips.device)[:count]
        clips = clips[:, :, chosen]
    return clips.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True)
class Batches:
    """Random batches of pictures or clips. clip_share: of the steps; clip_batch, batch: samples of a step."""

    pictures: list[Bank]
    clips: list[Bank]
    size: int
    frames: int
    batch: int
    clip_batch: int
    clip_share: float

    def __call__(self, dice: Dice) -> Tensor:
        """A batch [B, 3, T, size, size] in [-1, 1]."""
        moving = bool(self.clips) and (dice.chance() < self.clip_share or not self.pictures)
        banks, count = (self.clips, self.clip_batch) if moving else (self.pictures, self.batch)
        parts = divide(count, [bank.share for bank in banks], dice)
        frames = self.frames if moving else 1
        crops = [cut(b, n, self.size, frames, dice) for b, n in zip(banks, parts, strict=True) if n]
        return torch.cat(crops)


class TokenizerStep:
    """One update of the autoencoder, and of the discriminator where the recipe has one."""

    def __init__(self, recipe: TokenizerRecipe, batches: Batches, device: torch.device) -> None:
        self.recipe, self.batches, self.device = recipe, batches, device
        self.network = CausalAutoencoder(recipe.network)
        self.perceptual = PerceptualLoss().to(device)
        self.lowered = recipe.run.lowered(device.type)
        self.modules = nn.ModuleDict({"model": self.network})
        if recipe.losses.gan:
            self.modules["discriminator"] = PatchDiscriminator()
        if recipe.run.init is not None:
            start(self.network, str(recipe.run.init))
        if recipe.decoder_only:
            self.network.encoder.requires_grad_(False)
            self.network.to_latent.requires_grad_(False)
        self.modules.to(device)
        names = list(recipe.rounds)
        self.rounds = torch.tensor([0.0 if name == "none" else float(name) for name in names], device=device)
        self.shares = torch.tensor([recipe.rounds[name] for name in names], device=device)
        self.encode, self.decode = self.network.encode, self.network.decode
        if recipe.run.compile == "on":
            self.encode, self.decode = torch.compile(self.encode), torch.compile(self.decode)
        self.run: Run | None = None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the module that they train."""
        config, fused = self.recipe.optimizer, self.device.type == "cuda"
        trained = [p for p in self.network.parameters() if p.requires_grad]
        found: dict[str, torch.optim.Optimizer] = {
            "model": torch.optim.AdamW(
                trained, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused
            )
        }
        for group in found["model"].param_groups:
            group["initial_lr"] = config.lr  # its rate runs its course, the discriminator's stays
        if "discriminator" in self.modules:
            judge = self.modules["discriminator"].parameters()
            found["discriminator"] = torch.optim.AdamW(
                judge, lr=self.recipe.losses.gan_lr, betas=(0.5, 0.9), fused=fused
            )
        return found

    def __call__(self, done: float) -> dict[str, Tensor]:
        """Compute and apply one update; returns the losses, on the device."""
        assert self.run is not None, "the step belongs to a run"
        dice, losses = self.run.dice(self.device), self.recipe.losses
        pixels = self.batches(dice)
        picks = torch.multinomial(self.shares, len(pixels), replacement=True, generator=dice.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.lowered):
            features = self.encode(pixels)
            drawn = self.decode(quantize(features.float(), self.rounds[picks]))
        drawn = drawn.float()
        shown, true = some_frames(torch.cat([drawn, pixels], 1), JUDGED_FRAMES, dice).split(3, 1)
        true = true.detach()
        parts = {"l1": (drawn - pixels).abs().mean(), "l2": (drawn - pixels).square().mean()}
        if losses.perceptual:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.lowered):
                parts["perceptual"] = self.perceptual(shown, true).float()
        if losses.motion and pixels.shape[2] > 1:
            parts["motion"] = motion_loss(drawn, pixels)
        loss = torch.stack([getattr(losses, name) * part for name, part in parts.items()]).sum()
        if "discriminator" in self.modules:
            loss = loss + self.fooling(loss, shown)
        self._apply("model", loss)
        if "discriminator" in self.modules:
            parts["discriminator"] = self._judge(true, shown.detach())
        kind = "clips" if pixels.shape[2] > 1 else "pictures"
        return {f"{kind}_{name}": part.detach() for name, part in parts.items()}

    def fooling(self, loss: Tensor, shown: Tensor) -> Tensor:
        """The adversarial loss, weighted so that its gradient at the last layer is losses.gan times that of `loss`."""
        assert self.run is not None, "the step belongs to a run"
        last, judge = self.network.decoder.head.conv.weight, self.modules["discriminator"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.lowered):
            fooled = generator_loss(judge(shown).float())
        (mine,) = torch.autograd.grad(loss, last, retain_graph=True)
        (theirs,) = torch.autograd.grad(fooled, last, retain_graph=True)
        warm = min(1.0, self.run.step / max(1, self.recipe.losses.gan_start)) if self.recipe.losses.gan_start else 1.0
        weight = (self.recipe.losses.gan * warm * mine.norm() / (theirs.norm() + 1e-6)).detach()
        return fooled * weight.clamp(max=_MOST_GAN)

    def _judge(self, true: Tensor, shown: Tensor) -> Tensor:
        judge = self.modules["discriminator"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.lowered):
            judged = discriminator_loss(judge(true).float(), judge(shown).float())
        self._apply("discriminator", judged)
        return judged

    def _apply(self, name: str, loss: Tensor) -> None:
        assert self.run is not None, "the step belongs to a run"
        self.run.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for p in self.modules[name].parameters() if p.grad is not None and p.requires_grad]
        torch.nn.utils.clip_grad_norm_(trained, self.recipe.optimizer.clip)
        self.run.optimizers[name].step()


def start(network: CausalAutoencoder, name: str) -> None:
    """Fill the network with a tokenizer's weights, those of a picture tokenizer inflated. ConfigError where they do not fit."""
    found = Tokenizer.from_pretrained(name).network
    if found.config.model_dump(exclude={"rounds"}) == network.config.model_dump(exclude={"rounds"}):
        network.load_state_dict(found.state_dict())
    elif can_inflate(found.config, network.config):
        inflate(found.state_dict(), network)
    else:
        raise ConfigError(f"run.init {name}: its network has another shape than the recipe's")


@torch.no_grad()
def measure(network: CausalAutoencoder, heldout: dict[str, Tensor], perceptual: PerceptualLoss) -> dict[str, float]:
    """PSNR (mean of the samples' own) at 2 and 4 rounds and unquantized, and of pictures the perceptual distance at 4.

    heldout: uint8 [N, T, S, S, 3] by name.
    """
    row: dict[str, float] = {}
    for name, samples in heldout.items():
        sums: dict[str, float] = {}
        for part in samples.split(4 if samples.shape[1] > 1 else 16):
            pixels = to_unit(part.permute(0, 4, 1, 2, 3))
            features = network.encode(pixels)
            for label, rounds in (("2", 2.0), ("4", 4.0), ("none", 0.0)):
                drawn = network.decode(quantize(features, features.new_full((len(part),), rounds))).clamp(-1, 1)
                error = (drawn - pixels).square().mean((1, 2, 3, 4)) / 4
                key = f"{name}_psnr_{label}"
                sums[key] = sums.get(key, 0.0) + float(-10 * torch.log10(error).sum())
                if label == "4" and pixels.shape[2] == 1:
                    distance = float(perceptual(drawn[:, :, 0], pixels[:, :, 0])) * len(part)
                    sums[f"{name}_perceptual"] = sums.get(f"{name}_perceptual", 0.0) + distance
        row |= {key: value / len(samples) for key, value in sums.items()}
    return row


@dataclass(frozen=True)
class Data:
    """What a run trains on and is measured by, on the device. heldout: uint8 [N, T, S, S, 3] by name."""

    pictures: list[Bank]
    clips: list[Bank]
    heldout: dict[str, Tensor]


def read_data(options: argparse.Namespace, recipe: TokenizerRecipe, device: torch.device) -> Data:
    """The recipe's sources, each with its size times its weight as share; composed scenes; and what is held out."""
    found: tuple[list[Bank], list[Bank]] = ([], [])
    for source in recipe.data.sources:
        resize = source.resize or (recipe.data.size, recipe.data.size)
        if source.keep:
            raise ConfigError(f"{source.path}: keep is not read here; make a tar of what is kept")
        frames = recipe.data.frames if source.clips else 1
        samples = read_bank(options.data / source.path, resize[1], frames, options.processes)
        found[source.clips].append(Bank(samples.to(device), resize, len(samples) * source.weight))
    if options.sprites is not None:
        photos = next((bank.samples[:, 0] for bank in found[False]), None)
        scenes = scene_bank(options.sprites, options.scenes, photos, recipe.run.seed, device)
        found[False].append(replace(scenes, share=options.scene_weight * options.scenes))
    heldout = {}
    for item in options.heldout:
        name, _, path = item.partition("=")
        frames = recipe.data.frames if name.startswith("clips") else 1
        heldout[name] = read_bank(Path(path), HELDOUT_SIDE, frames, options.processes, limit=HELDOUT).to(device)
    return Data(*found, heldout)


def scene_bank(path: Path, count: int, photos: Tensor | None, seed: int, device: torch.device) -> Bank:
    """Composed scenes of sprites whose names and pairs are trained on; photos [P, S, S, 3] are soft grounds."""
    sprites, pixels = read_sprites(path)
    kept = [number for number, sprite in enumerate(sprites) if sprite.split == "train"]
    renderer = Renderer(torch.from_numpy(pixels[kept]).to(device), photos)
    _, scenes = compose(Composer([sprites[number] for number in kept], styled=0.5).scene, count, seed)
    dice = Dice.of(seed, 0, device)
    samples = torch.empty((count, 1, renderer.side, renderer.side, 3), dtype=torch.uint8, device=device)
    for rows in torch.arange(count).split(_COMPOSED):
        drawn = renderer(scenes[rows].to(device), dice.device)
        samples[rows, 0] = to_levels(drawn).byte().permute(0, 2, 3, 1)
    return Bank(samples, (renderer.side * 3 // 4, renderer.side), float(count))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change the recipe")
    parser.add_argument("--minutes", type=float, help="length of the whole run, resumed or not; else run.steps")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that the recipe's paths start from")
    parser.add_argument("--clip-batch", type=int, default=4, help="clips in a batch of clips")
    parser.add_argument("--clip-share", type=float, default=0.3, help="share of the steps that take clips")
    parser.add_argument("--crop-frames", type=int, help="frames of a clip's crop; else data.frames")
    parser.add_argument("--sprites", type=Path, help="tar written by sprites.py: composed scenes are pictures, too")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes composed before the start")
    parser.add_argument("--scene-weight", type=float, default=1.0, help="as a source's weight in the recipe")
    parser.add_argument(
        "--heldout",
        nargs="+",
        default=[],
        metavar="NAME=TAR",
        help="measured while it trains; a NAME that begins with clips holds clips",
    )
    parser.add_argument("--measure-every", type=int, default=1000, help="steps between figures of held-out samples")
    parser.add_argument("--save-minutes", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=2, help="that decode the data")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


def read_recipe(path: Path, overrides: list[str]) -> TokenizerRecipe:
    """A tokenizer's recipe. UsageError for another."""
    recipe = load_recipe(path, overrides)
    if not isinstance(recipe, TokenizerRecipe):
        raise UsageError(f"{path}: expected a tokenizer's recipe, found a {recipe.kind}'s")
    return recipe


def fit(recipe: TokenizerRecipe, data: Data, options: argparse.Namespace, device: torch.device) -> bool:
    """Run to the end of the length (True) or to a signal (False); in both cases out/final is what there is by then."""
    torch.manual_seed(recipe.run.seed)
    frames = options.crop_frames or recipe.data.frames
    counts = recipe.run.batch_size, options.clip_batch, options.clip_share
    batches = Batches(data.pictures, data.clips, recipe.data.size, frames, *counts)
    step = TokenizerStep(recipe, batches, device)
    run = step.run = Run(options.out, step.modules, step.optimizers(), recipe.run)
    save_recipe(recipe, options.out / "run.toml")

    def report(network: nn.Module) -> None:
        assert isinstance(network, CausalAutoencoder)
        run.log({"step": run.step, **measure(network, data.heldout, step.perceptual)})

    def update(done: float) -> dict[str, Tensor]:
        if data.heldout and run.step % options.measure_every == 0:
            run.with_average(report)
        return step(done)

    def export(network: nn.Module) -> None:
        assert isinstance(network, CausalAutoencoder)
        card = card_of(recipe, network.state_dict(), run.step)
        save_tokenizer(options.out / "final", copy.deepcopy(network).cpu(), recipe.name, card=card)

    print(f"resumed at step {run.step}" if run.resume() else "from the start", flush=True)
    finished = run.train(
        Length(recipe.run.steps, options.minutes),
        lambda number, done: share_of_rate(recipe.optimizer, recipe.run.steps, number, done),
        update,
        options.save_minutes,
    )
    if data.heldout:
        run.with_average(report)
    run.with_average(export)
    return finished


def train(options: argparse.Namespace) -> bool:
    """Read everything, and run as `fit`."""
    device, recipe = torch.device(options.device), read_recipe(options.recipe, options.set)
    return fit(recipe, read_data(options, recipe, device), options, device)


def main(argv: list[str] | None = None) -> int:
    """Run; errors as one line on stderr."""
    try:
        return 0 if train(parse(argv)) else 130
    except GrnError as error:
        print(f"resident_tokenizer: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
