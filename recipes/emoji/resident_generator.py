"""Train a generator of pictures and clips on endless scenes, for example

    python recipes/emoji/resident_generator.py recipes/emoji/generator.toml -o runs/emoji --sprites data/emoji/sprites.tar --minutes 7

Takes a text-to-visual recipe as `grn train` does; of its data section, only `frames`, `fps` and `size` are read. Sprites lie in the
device's memory, where scenes are composed of them, encoded and learnt; clips (`--clips TAR...`) are encoded once, as they are and mirrored, and
take `--clip-share` of the steps (without any, it becomes a model of pictures alone); pictures (`--pictures TAR...`) are encoded once, as they
are, and take `--picture-share` of each other batch.
Scenes whose combinations are held out (scenes.py) are never trained on; with `--names train`, nor are held-out names and pairs: that is the
twin whose figures are measured, and `--names all` is what is shipped. `run.init` may be a generator of other codes: the layers that read and
write codes then start anew.

`--minutes` sets the length in place of `run.steps`. The run's folder holds checkpoints, log.jsonl and in the end final/, a model folder with
its tokenizer. The same command goes on where a run was stopped.
"""

import argparse
import copy
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from banks import Dice, read_bank
from compose import Renderer
from generator_sources import (
    ClipSource,
    MixedSource,
    SceneSource,
    choose,
    clip_source,
    make_scenes,
    picture_source,
    read_captioned,
    share_of_name,
)
from resident_loop import Length, Run, share_of_rate
from scenes import Composer
from sprites import read as read_sprites
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from words_on_device import DeviceWords, words_of

from grn.devices import fast_type
from grn.errors import ConfigError, GrnError, UsageError
from grn.hub.resolve import resolve
from grn.models.config import TextToVisualModelConfig
from grn.models.folder import ModelFolder, save_model
from grn.networks.condition import TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import PreparedText, TextToVisual
from grn.refine.sampler import Sampler
from grn.text.learnt import listed, read_words
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.card import card_of
from grn.training.generator import surprise
from grn.training.optimizers import Optimizers
from grn.training.recipe import GeneratorRecipe, RatioConfig, load_recipe, save_recipe
from grn.training.sheets import save_sheet


def corrupt(targets: Tensor, classes: int, config: RatioConfig, dice: Dice) -> tuple[Tensor, Tensor]:
    """The state that the network sees and its selection ratio [B] (algorithm 2), as `grn.training.generator_data.corrupt` on the device."""
    device, generator = targets.device, dice.device
    normal = torch.randn(len(targets), generator=generator, device=device)
    ratio = torch.sigmoid(config.mean + config.deviation * normal)
    kept = torch.rand(targets.shape, generator=generator, device=device) < ratio.view(-1, *[1] * (targets.dim() - 1))
    noise = torch.randint(classes, targets.shape, generator=generator, device=device)
    return torch.where(kept, targets, noise), ratio


class GeneratorStep:
    """One update of the network, on scenes or on clips."""

    def __init__(
        self,
        recipe: GeneratorRecipe,
        scenes: SceneSource | MixedSource,
        clips: ClipSource | None,
        clip_share: float,
        clip_batch: int,
        device: torch.device,
    ) -> None:
        assert isinstance(recipe.network, TextToVisualConfig), "scenes have captions"
        self.recipe, self.config, self.device = recipe, recipe.network, device
        self.scenes, self.clips = scenes, clips
        self.clip_share, self.clip_batch = clip_share, clip_batch
        self.network, self.surprise = TextToVisual(recipe.network), surprise
        if recipe.run.init is not None:
            start(self.network, resolve(str(recipe.run.init), kind="generator").folder)
        self.modules = nn.ModuleDict({"model": self.network}).to(device)
        if recipe.run.compile == "on":
            for block in self.network.blocks:  # the words pass through them as well
                block.compile()
            self.surprise = torch.compile(surprise, dynamic=True, fullgraph=True)
        self.run: Run | None = None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW, and Muon of the matrices inside the blocks where the recipe says so, by names of this run."""
        made = Optimizers(self.network, self.recipe.optimizer, self.recipe.run.steps).each
        for optimizer in made:
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return dict(zip(("model", "matrices"), made, strict=False))

    def __call__(self, done: float) -> dict[str, Tensor]:
        """Compute and apply one update; returns the loss, on the device."""
        assert self.run is not None, "the step belongs to a run"
        dice, recipe = self.run.dice(self.device), self.recipe
        moving = self.clips is not None and dice.chance() < self.clip_share
        if moving:
            assert self.clips is not None, "clips were drawn"
            targets, rows = self.clips(self.clip_batch, recipe.cut, dice)
            words = self.clips.words
        else:
            targets, rows = self.scenes(recipe.run.batch_size, dice)
            words = self.scenes.words
        condition = words(rows, dice.device, recipe.words, recipe.drop_condition)
        order = condition.mask.sum(1).argsort()
        targets, condition = targets[order], condition.rows(order)
        state, ratio = corrupt(targets, self.config.classes, recipe.ratio, dice)
        lowered = recipe.run.lowered(self.device.type)
        self.network.zero_grad(set_to_none=True)
        with _attention(self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=lowered):
                logits = self.network(state, ratio, self._prepared(condition))
            loss = self.surprise(logits, targets).mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimizer.clip)
        for optimizer in self.run.optimizers.values():
            optimizer.step()
        return {"loss_clips" if moving else "loss_pictures": loss.detach()}

    def _prepared(self, condition: TextCondition) -> PreparedText:
        """Texts in order of their lengths, most of them padded to a few words only: the longest has three times as many as the mean."""
        parts = torch.arange(len(condition), device=self.device).split(math.ceil(0.75 * len(condition)))
        trimmed = [condition.rows(part).trimmed() for part in parts]
        return PreparedText.cat([self.network.prepare(part) for part in trimmed])


def start(network: TextToVisual, path: Path) -> None:
    """Take over a generator's weights; where its codes are others, all but the layers that read and write them.

    Blocks beyond its last start anew. ConfigError where more differs.
    """
    model = ModelFolder.open(path)
    assert isinstance(model.config.network, TextToVisualConfig), "its network is that of a text-to-visual model"
    other = TextToVisual(model.config.network)
    model.load_weights(other)
    own, found = network.state_dict(), other.state_dict()
    unfit = {name for name in own.keys() | found.keys() if name not in own or name not in found}
    unfit |= {name for name in own.keys() & found.keys() if own[name].shape != found[name].shape}
    beyond = tuple(f"blocks.{number}." for number in range(model.config.network.depth, len(network.blocks)))
    anew = ("embed.", "widen.", "head.", *beyond)
    if more := sorted(name for name in unfit if not name.startswith(anew)):
        raise ConfigError(f"run.init {path}: its network has another shape than the recipe's ({more[0]})")
    if unfit:
        print(f"new: {', '.join(sorted(unfit))}", flush=True)
    network.load_state_dict(own | {name: value for name, value in found.items() if name not in unfit})


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """On a processor, the plain attention: of a scene's few tokens, flash attention's gradient in bfloat16 takes 1.8 to 2.4 times as long."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def export(
    recipe: GeneratorRecipe,
    network: nn.Module,
    tokenizer: Tokenizer,
    text: StaticWordVectors | str,
    words: Iterable[str],
    clips: bool,
    folder: Path,
    steps: int,
    data: Sequence[Path],
) -> None:
    """Write a model folder with its tokenizer, in half precision, and with the text encoder or, where that has a name, a note of it.

    words: of all captions. clips: whether it has learnt any. steps, data: how long it was trained, and on what.
    """
    config = TextToVisualModelConfig(
        name=recipe.name,
        network=recipe.network,
        sampling=recipe.sampling,
        clip_sampling=recipe.clip_sampling if clips else None,
        size=recipe.data.size,
        text_encoder=text if isinstance(text, str) else None,
        frames=recipe.data.frames if clips else 1,
        fps=recipe.data.fps if clips else None,
        stills=recipe.stills and clips,
    )
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    card = card_of(recipe, weights, steps, data)
    save_model(folder, config, weights, dtype=torch.float16, card=card, files=listed(words))
    save_tokenizer(folder / "tokenizer", copy.deepcopy(tokenizer.network).cpu(), tokenizer.name)
    if not isinstance(text, str):
        text.save(folder / "text_encoder")


@torch.no_grad()
def sheet(
    recipe: GeneratorRecipe, network: TextToVisual, tokenizer: Tokenizer, text: StaticWordVectors, path: Path
) -> None:
    """The recipe's sheet_prompts as pictures at seed 0, eight in a row."""
    device = tokenizer.device
    condition, null = text.encode(recipe.sheet_prompts).to(device), text.encode([""]).to(device)
    side = recipe.data.size // tokenizer.config.stride
    found = Sampler(network.eval(), recipe.sampling).run(condition, null, (1, side, side), seed=0)
    indices = torch.stack([sample.indices for sample in sorted(found, key=lambda sample: sample.number)])
    network.train()
    save_sheet(tokenizer.decode(indices, recipe.network.rounds)[:, :, 0], path, columns=8)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change the recipe")
    parser.add_argument("--minutes", type=float, help="length of the whole run, resumed or not; else run.steps")
    parser.add_argument("--sprites", type=Path, required=True, help="tar written by sprites.py")
    parser.add_argument("--styles", nargs="+", default=["3d", "flat", "noto"])
    parser.add_argument("--names", choices=["train", "all"], default="all", help="leave held-out names and pairs out")
    parser.add_argument("--alone", type=float, default=0.0, help="share of the scenes that are a sprite as it is")
    parser.add_argument("--single", type=float, default=0.45, help="share of the others that are one thing")
    parser.add_argument("--grid", type=int, default=0, help="cells a side that things fill whole ones of; 0: none")
    parser.add_argument(
        "--common", type=float, default=0.0, help="things by their words' rank among the text encoder's, to this power"
    )
    parser.add_argument("--scenes", type=int, default=400_000, help="made before the start, then drawn from")
    parser.add_argument(
        "--words-of", metavar="MODEL", help="whose text encoder the recipe's is: it is then named, not copied"
    )
    parser.add_argument("--codes", type=Path, help="folder of all codes, which are then made once; for a processor")
    parser.add_argument("--photos", type=Path, help="tar of photographs for soft grounds")
    parser.add_argument("--pictures", type=Path, nargs="+", help="tars written by prepare.py: emoji as they are")
    parser.add_argument("--picture-share", type=float, default=0.5, help="share of a batch that is such pictures")
    parser.add_argument("--clips", type=Path, nargs="+", help="tars written by prepare_video.py")
    parser.add_argument("--clip-share", type=float, default=0.25, help="share of the steps that take clips")
    parser.add_argument("--clip-batch", type=int, default=64, help="clips in a batch of clips")
    parser.add_argument("--limit", type=int, help="at most so many sprites, and clips of a tar: to try the command")
    parser.add_argument("--sheet-minutes", type=float, default=0.0, help="time between sheets; 0: at the end alone")
    parser.add_argument("--save-minutes", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=2, help="that decode the data and make the scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


def read_recipe(path: Path, overrides: list[str]) -> tuple[GeneratorRecipe, StaticWordVectors]:
    """The recipe and the word vectors that it names."""
    recipe = load_recipe(path, overrides)
    if not isinstance(recipe, GeneratorRecipe) or not isinstance(recipe.network, TextToVisualConfig):
        raise UsageError(f"{path}: expected a recipe of a text-to-visual generator")
    if recipe.text_encoder is None or recipe.network.target != "ind":
        raise ConfigError(f"{path}: expected text_encoder and network.target = 'ind', which is what is trained here")
    return recipe, StaticWordVectors.load(resolve(str(recipe.text_encoder), kind="text-encoder").folder)


def read_pictures(
    options: argparse.Namespace, recipe: GeneratorRecipe, text: StaticWordVectors, tokenizer: Tokenizer
) -> SceneSource | MixedSource:
    """Scenes of the sprites that are trained on, and pictures beside them where there are any."""
    device = tokenizer.device
    sprites, pixels = read_sprites(options.sprites)
    kept = choose(sprites, options.styles, options.names, options.limit)
    sprites, pixels = [sprites[number] for number in kept], pixels[kept]
    photos = read_bank(options.photos, 64, 1, options.processes)[:, 0].to(device) if options.photos else None
    ranks = {word: number for number, word in enumerate(text.vocabulary)}
    common = partial(share_of_name, ranks, options.common) if options.common else None
    composer = partial(
        Composer, tuple(sprites), alone=options.alone, single=options.single, grid=options.grid, common=common
    )
    captions, scenes = make_scenes(composer, options.scenes, recipe.run.seed, options.processes)
    renderer = Renderer(torch.from_numpy(pixels).to(device), photos, shaken=not options.grid)

    def wanted(about: dict[str, Any]) -> bool:
        return about["style"] in options.styles and options.names in ("all", about["split"])

    read = [
        read_captioned(path, recipe.data.size, 1, options.processes, options.limit, wanted)
        for path in options.pictures or []
    ]
    said = [one for _, found in read for one in found]
    words = DeviceWords(text, [*captions, *(words_of(caption) for one in said for caption in one)], device)
    composed = SceneSource(scenes.to(device), words, renderer, tokenizer, recipe.network.rounds)
    if options.codes is not None:
        composed = composed.kept(options.codes, recipe.run.seed)
    if not read:
        return composed
    stills = np.concatenate([pixels for pixels, _ in read])
    shown = picture_source(stills, said, words, len(captions), tokenizer, recipe.network.rounds, options.codes)
    return MixedSource(composed, shown, options.picture_share)


def train(options: argparse.Namespace) -> bool:
    """Run to the end of the length (True) or to a signal (False)."""
    device = torch.device(options.device)
    recipe, text = read_recipe(options.recipe, options.set)
    tokenizer = Tokenizer.from_pretrained(recipe.tokenizer, str(device))
    reader = Tokenizer.from_pretrained(recipe.tokenizer, str(device), fast_type(device))
    source = read_pictures(options, recipe, text, reader)
    clips = None
    if options.clips is not None:
        size, frames = recipe.data.size, recipe.data.frames
        found = [read_captioned(path, size, frames, options.processes, options.limit) for path in options.clips]
        pixels, said = np.concatenate([shown for shown, _ in found]), [one for _, captions in found for one in captions]
        clips = clip_source(pixels, said, text, reader, recipe.network.rounds, options.codes)
    torch.manual_seed(recipe.run.seed)
    step = GeneratorStep(recipe, source, clips, options.clip_share, options.clip_batch, device)
    run = step.run = Run(options.out, step.modules, step.optimizers(), recipe.run)
    save_recipe(recipe, options.out / "run.toml")
    drawn = 0.0

    def draw(network: nn.Module) -> None:
        assert isinstance(network, TextToVisual)
        if recipe.sheet_prompts:
            sheet(recipe, network, tokenizer, text, options.out / "samples" / f"{run.step:08d}.png")

    def update(done: float) -> dict[str, Tensor]:
        nonlocal drawn
        if options.sheet_minutes and run.seconds > drawn + 60 * options.sheet_minutes:
            drawn = run.seconds
            run.with_average(draw)
        return step(done)

    print(f"resumed at step {run.step}" if run.resume() else "from the start", flush=True)
    drawn = run.seconds
    finished = run.train(
        Length(recipe.run.steps, options.minutes),
        lambda number, done: share_of_rate(recipe.optimizer, recipe.run.steps, number, done),
        update,
        options.save_minutes,
    )
    known = source.words.known | (clips.words.known if clips else frozenset())
    if recipe.run.init is not None:
        known |= read_words(resolve(str(recipe.run.init), kind="generator").folder)
    encoder, moving, final = options.words_of or text, clips is not None, options.out / "final"
    data = [options.sprites, *(options.pictures or []), *(options.clips or [])]
    run.with_average(lambda network: export(recipe, network, tokenizer, encoder, known, moving, final, run.step, data))
    run.with_average(draw)
    return finished


def main(argv: list[str] | None = None) -> int:
    """Run; errors as one line on stderr."""
    try:
        return 0 if train(parse(argv)) else 130
    except GrnError as error:
        print(f"resident_generator: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
