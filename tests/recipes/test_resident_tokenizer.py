"""Tokenizers trained where their data lie."""

import argparse
from pathlib import Path

import pytest
import torch
from banks import Dice
from helpers.training import log_rows, recipe_text
from resident_loop import Run
from resident_tokenizer import Batches, TokenizerStep, parse, quantize, read_data, read_recipe, some_frames
from resident_tokenizer import main as train_tokenizer

from grn import hbq
from grn.networks.autoencoder_config import TokenizerConfig
from grn.tokenizer import Tokenizer
from grn.training.config import DataConfig, OptimizerConfig, RunConfig, SourceConfig
from grn.training.recipe import TokenizerLosses, TokenizerRecipe

CPU = torch.device("cpu")


def dice(step: int = 0) -> Dice:
    return Dice.of(0, step, CPU)


NETWORK = TokenizerConfig(
    channels=4, rounds=4, encoder_width=8, decoder_width=8, multipliers=(1, 2, 2), encoder_blocks=1, decoder_blocks=1,
    patch=2, halves_time=(True, True), time_kernel=3, factors_time=True, folds_time=False, attention=False,
)  # fmt: skip
RECIPE = TokenizerRecipe(
    kind="tokenizer",
    name="tiny",
    network=NETWORK,
    data=DataConfig(
        sources=(
            SourceConfig(path=Path("pictures.tar"), resize=(24, 32)),
            SourceConfig(path=Path("clips.tar"), clips=True, resize=(32, 32)),
        ),
        size=16,
        frames=5,
        fps=6.0,
    ),
    run=RunConfig(steps=4, batch_size=3, ema=0.9, log_every=1),
    optimizer=OptimizerConfig(lr=1e-3, decay_steps=2, final_lr=0.1),
    losses=TokenizerLosses(l1=1.0, perceptual=0.1, gan=0.0),
    rounds={"2": 0.5, "4": 0.3, "none": 0.2},
)


def test_each_sample_is_quantized_to_its_own_rounds() -> None:
    features = torch.tanh(torch.randn(5, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = quantize(features, torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0]))
    expected = [features[0], *(hbq.quantize(features[i], rounds) for i, rounds in ((1, 1), (2, 2), (3, 4), (4, 8)))]
    assert torch.equal(found, torch.stack(expected))
    (gradient,) = torch.autograd.grad(found.sum(), features)
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_some_frames_of_clips() -> None:
    clips = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(2, 3, 5, 2, 2)
    found = some_frames(clips, 3, dice())
    assert found.shape == (6, 3, 2, 2)
    assert len(set(found[:3, 0, 0, 0].tolist())) == 3
    assert some_frames(clips[:, :, :1], 3, dice()).shape == (2, 3, 2, 2)


def test_a_tokenizer_is_trained_measured_and_written(recipe: Path) -> None:
    held = ["--heldout", "photos=pictures.tar", "clips=clips.tar"]
    more = ["--sprites", "sprites.tar", "--scenes", "8", "--clip-batch", "2", "--clip-share", "0.5", "--processes", "1"]
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", *more, *held]) == 0
    found = log_rows(recipe / "run")
    assert found[0].keys() >= {
        "photos_psnr_2",
        "photos_psnr_4",
        "photos_psnr_none",
        "photos_perceptual",
        "clips_psnr_4",
    }
    losses = {key for row in found for key in row}
    assert {"pictures_l1", "pictures_perceptual", "clips_l2"} <= losses
    assert Tokenizer.from_pretrained(str(recipe / "run" / "final")).config.time_stride == 4
    assert f"{found[-1]['step']:.0f} steps of" in (recipe / "run" / "final" / "README.md").read_text()
    # The same command has nothing left to do; with more steps it goes on.
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", *more, "--set", "run.steps=6"]) == 0
    assert [row["step"] for row in log_rows(recipe / "run")[len(found) :]] == [5, 6]


def test_the_decoder_alone_leaves_codes_as_they_are(recipe: Path) -> None:
    common = ["recipe.toml", "--device", "cpu", "--processes", "1", "--clip-batch", "1"]
    assert train_tokenizer([*common, "-o", "first"]) == 0
    sets = ["decoder_only=true", "run.init=first/final", "losses.gan=0.5", "losses.gan_start=2", "optimizer.lr=1e-2"]
    assert train_tokenizer([*common, "-o", "second", *(f"--set={one}" for one in sets)]) == 0
    before, after = (Tokenizer.from_pretrained(str(recipe / name / "final")) for name in ("first", "second"))
    pixels = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    assert torch.equal(before.features(pixels), after.features(pixels))
    changed = [
        not torch.equal(one, other)
        for one, other in zip(before.network.decoder.parameters(), after.network.decoder.parameters(), strict=True)
    ]
    assert all(changed)
    assert any("pictures_discriminator" in row or "clips_discriminator" in row for row in log_rows(recipe / "second"))


def test_the_discriminator_weighs_as_much_as_is_asked(recipe: Path) -> None:
    """The gradient of the adversarial loss at the last layer is `losses.gan` times that of the others."""
    options = parse(
        [
            "recipe.toml",
            "-o",
            "run",
            "--device",
            "cpu",
            "--processes",
            "1",
            "--set=losses.gan=0.5",
            "--set=losses.gan_start=0",
        ]
    )
    config = read_recipe(options.recipe, options.set)
    step = TokenizerStep(config, read_batches(options), CPU)
    step.run = Run(recipe / "run", step.modules, step.optimizers(), config.run)
    pixels = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    drawn = step.decode(step.encode(pixels))
    loss = (drawn - pixels).abs().mean()
    fooling = step.fooling(loss, drawn[:, :, 0])
    last = step.network.decoder.head.conv.weight
    mine, theirs = (torch.autograd.grad(one, last, retain_graph=True)[0].norm() for one in (loss, fooling))
    assert float(theirs / mine) == pytest.approx(0.5, rel=0.02)


@pytest.fixture
def recipe(place: Path) -> Path:
    """The folder of tars, with a recipe."""
    (place / "recipe.toml").write_text(recipe_text(RECIPE))
    return place


def read_batches(options: argparse.Namespace):
    recipe = read_recipe(options.recipe, options.set)
    data = read_data(options, recipe, CPU)
    return Batches(data.pictures, data.clips, recipe.data.size, recipe.data.frames, 2, 1, 0.5)


def test_other_recipes_and_misfits_are_one_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = Path(__file__).parents[2] / "recipes" / "emoji" / "generator.toml"
    assert train_tokenizer([str(tiny), "-o", "run", "--device", "cpu"]) == 1
    assert "expected a tokenizer's recipe" in capsys.readouterr().err
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", "--set=run.init=emoji-tokenizer"]) == 1
    assert "another shape" in capsys.readouterr().err
