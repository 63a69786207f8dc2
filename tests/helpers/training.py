"""Recipes of tiny networks, as objects, the data that they train on, and runs of them."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tomli_w
import torch

from grn.media import VideoWriter, write_image
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.refine.config import SamplerConfig
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import save_tokenizer
from grn.training.config import DataConfig, OptimizerConfig, RunConfig, SourceConfig
from grn.training.recipe import GeneratorRecipe, TokenizerLosses, TokenizerRecipe
from grn.training.run import train

NETWORK = TokenizerConfig(
    channels=4, rounds=2, encoder_width=4, decoder_width=4, multipliers=(1, 1), encoder_blocks=1, decoder_blocks=1,
    halves_time=(False,), time_kernel=1,
)  # fmt: skip
VIDEO_NETWORK = NETWORK.model_copy(update={"halves_time": (True,), "time_kernel": 3, "folds_time": False})
TEXT_NETWORK = TextToVisualConfig(
    target="ind", channels=4, rounds=2, width=16, depth=2, heads=2, mlp_ratio=1.0, text_width=6
)
CLASS_NETWORK = ClassToImageConfig(
    channels=4, rounds=2, width=16, depth=2, heads=2, num_classes=2, size=4, bottleneck=8, context_tokens=2,
    context_start=1,
)  # fmt: skip
RUN = RunConfig(steps=6, batch_size=2, save_every=3, log_every=1, sheet_every=100, precision="float32")
UNTIMED = ("samples_per_s", "tokens_per_s", "flop_per_s", "peak_share", "data_wait", "memory_gb", "seconds_left")
R = TypeVar("R", TokenizerRecipe, GeneratorRecipe)


def tokenizer_recipe(pictures: Path | str) -> TokenizerRecipe:
    """An image tokenizer's, without perceptual and adversarial losses."""
    return TokenizerRecipe(
        kind="tokenizer",
        name="tiny",
        network=NETWORK,
        data=DataConfig(sources=(SourceConfig(path=Path(pictures), resize=(16, 20)),), size=16, flip=True),
        run=RUN,
        losses=TokenizerLosses(perceptual=0.0, gan=0.0),
        rounds={"1": 0.5, "none": 0.5},
    )


def video_recipe(pictures: Path | str, clips: Path | str) -> TokenizerRecipe:
    """A joint tokenizer's, with every loss but motion."""
    sources = (
        SourceConfig(path=Path(pictures), resize=(16, 20)),
        SourceConfig(path=Path(clips), clips=True, weight=2.0),
    )
    return TokenizerRecipe(
        kind="tokenizer",
        name="joint",
        network=VIDEO_NETWORK,
        data=DataConfig(sources=sources, size=16, frames=5),
        run=RUN,
        losses=TokenizerLosses(perceptual=0.1, gan=0.1),
        rounds={"2": 0.7, "none": 0.3},
    )


def text_recipe(pictures: Path | str, tokenizer: Path | str, words: Path | str) -> GeneratorRecipe:
    """A text-to-image generator's."""
    return GeneratorRecipe(
        kind="generator",
        name="tiny-emoji",
        network=TEXT_NETWORK,
        tokenizer=str(tokenizer),
        text_encoder=Path(words),
        data=DataConfig(sources=(SourceConfig(path=Path(pictures)),), size=16),
        run=RUN.model_copy(update={"batch_size": 4}),
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=2, decay_steps=3, final_lr=0.1),
        sampling=SamplerConfig(steps=3),
    )


def class_recipe(pictures: Path | str, tokenizer: Path | str) -> GeneratorRecipe:
    """A class-to-image generator's."""
    return GeneratorRecipe(
        kind="generator",
        name="tiny-classes",
        network=CLASS_NETWORK,
        tokenizer=str(tokenizer),
        data=DataConfig(sources=(SourceConfig(path=Path(pictures)),), size=16, flip=True),
        run=RUN.model_copy(update={"batch_size": 4}),
        sampling=SamplerConfig(steps=2),
    )


def changed(recipe: R, values: dict[str, Any]) -> R:
    """The recipe with other values at dotted keys, checked like a new one."""
    tree = recipe.model_dump()
    for key, value in values.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place[section]
        place[last] = value
    return type(recipe).model_validate(tree)


def recipe_text(recipe: TokenizerRecipe | GeneratorRecipe) -> str:
    """What the recipe's file says."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def make_pictures(folder: Path, count: int = 8) -> Path:
    """Captioned pictures of noise in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("left" if i % 2 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, rng.integers(0, 255, (20, 24, 3), dtype=np.uint8))
    return folder


def caption(folder: Path) -> None:
    """Every picture and clip is called by the folder that it is in."""
    for path in folder.rglob("*.*"):
        path.with_suffix(".txt").write_text(path.parent.name if path.parent.name in ("left", "right") else "left")


def make_clips(folder: Path, count: int = 4) -> Path:
    """Captioned clips of 7 frames in which noise moves."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(count):
        base = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        with VideoWriter(folder / f"{i}.{'webp' if i % 2 else 'gif'}", 24, 20, 10) as video:
            for t in range(7):
                video.write(np.roll(base, 2 * t, axis=1))
    caption(folder)
    return folder


def make_tokenizer(folder: Path, network: TokenizerConfig = NETWORK) -> Path:
    """A tokenizer that has learnt nothing."""
    torch.manual_seed(0)
    save_tokenizer(folder, CausalAutoencoder(network), "t")
    return folder


def make_words(folder: Path, seed: int = 0) -> Path:
    """A text encoder of two words."""
    torch.manual_seed(seed)
    StaticWordVectors(StaticWordVectorsConfig(dim=6, rows=2), ["left", "right"], torch.randn(2, 6)).save(folder)
    return folder


def run(recipe: TokenizerRecipe | GeneratorRecipe, folder: Path, **options: Any) -> list[dict[str, float]]:
    """Train, and return the rows of the log."""
    rows: list[dict[str, float]] = []
    train(recipe, folder, lambda step, row: rows.append(row), **options)
    return rows


def stopping(rows: list[dict[str, float]], after: int) -> Callable[[int, dict[str, float]], None]:
    """A report that adds to `rows` and asks the run to stop after a step."""

    def report(step: int, row: dict[str, float]) -> None:
        rows.append(row)
        if step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def figures(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows without what differs from run to run."""
    return [{name: value for name, value in row.items() if name not in UNTIMED} for row in rows]


def log_rows(run: Path) -> list[dict[str, Any]]:
    """What a run has logged."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
