"""Resident training: banks of crops, the loop that stops and goes on, tokenizers and generators trained where their data lie."""

import argparse
import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from banks import Bank, Dice, cut, decode, divide, read_bank
from helpers.drawings import SIDE, THINGS, clips_tar, encoded, pictures_tar, sprites
from resident_generator import choose, make_scenes
from resident_generator import main as train_generator
from resident_loop import Length, Run, learning_rate
from resident_tokenizer import Batches, TokenizerStep, parse, quantize, read_data, read_recipe, some_frames
from resident_tokenizer import main as train_tokenizer
from sprites import write as write_sprites
from words_on_device import DeviceWords, words_of

from grn import hbq
from grn.errors import BadInputError
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import TextToVisualConfig
from grn.pipeline import Pipeline
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.config import OptimizerConfig, RunConfig, WordsConfig

CPU = torch.device("cpu")


def dice(step: int = 0) -> Dice:
    return Dice.of(0, step, CPU)


# Banks


def test_a_file_becomes_the_centre_square_on_white() -> None:
    picture = np.zeros((20, 40, 4), np.uint8)
    picture[:, 10:30] = (0, 0, 255, 255)
    picture[:10, 10:30, 3] = 0
    found = decode(encoded(picture), 20, 1)
    assert found.shape == (1, 20, 20, 3)
    assert found[0, 2, 10].tolist() == [255, 255, 255]
    assert found[0, 17, 10].tolist() == [0, 0, 255]


def test_a_short_clip_stays_at_its_last_frame() -> None:
    clip = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 100, 200)])
    assert decode(encoded(clip), 16, 5)[:, 0, 0, 0].tolist() == [0, 100, 200, 200, 200]
    assert decode(encoded(clip), 16, 2)[:, 0, 0, 0].tolist() == [0, 100]


def test_banks_are_the_same_by_any_number_of_processes(tmp_path: Path) -> None:
    path = pictures_tar(tmp_path / "some.tar", 5)
    one, two = (read_bank(path, 32, 1, processes) for processes in (1, 2))
    assert one.shape == (5, 1, 32, 32, 3)
    assert torch.equal(one, two)
    assert torch.equal(read_bank(path, 32, 1, 1, limit=2), one[:2])


def test_an_empty_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="found none"):
        read_bank(pictures_tar(tmp_path / "none.tar", 0), 32, 1, 1)


def test_crops_are_pieces_of_the_samples() -> None:
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    samples = torch.zeros((2, 9, 24, 24, 3), dtype=torch.uint8)
    for n in range(2):
        for t in range(9):
            samples[n, t] = torch.stack([rows, columns, torch.full_like(rows, 10 * n + t)], -1)
    bank = Bank(samples, (24, 24), 1.0)
    crops = ((cut(bank, 40, 8, 5, dice()) + 1) * 127.5).round()
    assert crops.shape == (40, 3, 5, 8, 8)
    assert (crops[:, 0].diff(dim=2) == 1).all()
    assert (crops[:, 1].diff(dim=3) == 1).all()
    assert (crops[:, 2].diff(dim=1) == 1).all()
    assert {int(value) for value in crops[:, 0, 0, 0, 0]} > {0, 16} - {-1}
    assert {int(value) for value in crops[:, 2, 0, 0, 0]} == {*range(5), *range(10, 15)}


def test_a_smaller_scale_shows_more_of_a_sample() -> None:
    samples = torch.randint(0, 256, (1, 1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = cut(Bank(samples, (16, 16), 1.0), 1, 16, 1, dice())
    pixels = samples[0, :, :, :, :].permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(whole[:, :, 0], F.interpolate(pixels, (16, 16), mode="bilinear", antialias=True), atol=1e-5)


def test_counts_are_divided_by_share() -> None:
    assert divide(10, [1, 1], dice()) == [5, 5]
    parts = torch.tensor([divide(5, [0.5, 0.3, 0.2], dice(step)) for step in range(400)], dtype=torch.float)
    assert (parts.sum(1) == 5).all()
    assert torch.allclose(parts.mean(0), torch.tensor([2.5, 1.5, 1.0]), atol=0.1)


# The loop


def test_rates_and_lengths() -> None:
    config = OptimizerConfig(lr=1.0, warmup_steps=4, decay_steps=50, final_lr=0.1)
    assert [learning_rate(config, 100, step, step / 100) for step in (0, 3, 50)] == [0.2, 0.8, 1.0]
    assert learning_rate(config, 100, 75, 0.75) == pytest.approx(0.55)
    assert learning_rate(config, 100, 999, 1.0) == pytest.approx(0.1)
    assert Length(10).done(5, 1e9) == 0.5
    assert Length(10, minutes=2).done(5, 30) == 0.25


def counting_run(folder: Path) -> tuple[Run, list[float]]:
    """A run whose model is one number that goes up by what the dice say."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    config = RunConfig(steps=10, batch_size=1, ema=0.5, log_every=2)
    return Run(folder, torch.nn.ModuleDict({"model": model}), {"model": optimizer}, config), []


def go(run: Run, steps: int, seen: list[float], stop_at: int | None = None) -> bool:
    def step(done: float) -> dict[str, torch.Tensor]:
        value = run.dice(CPU).chance()
        seen.append(value)
        loss = (run.modules["model"].weight - value).square().sum()
        run.optimizers["model"].zero_grad()
        loss.backward()
        run.optimizers["model"].step()
        if run.step == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return {"loss": loss.detach()}

    return run.train(Length(steps), lambda number, done: 0.1, step, save_minutes=60)


def test_a_run_that_is_stopped_goes_on_as_if_it_were_not(tmp_path: Path) -> None:
    whole, seen = counting_run(tmp_path / "whole")
    assert go(whole, 9, seen)
    first, seen_first = counting_run(tmp_path / "parts")
    assert not go(first, 9, seen_first, stop_at=4)
    second, seen_second = counting_run(tmp_path / "parts")
    assert second.resume()
    assert second.step == 5
    assert go(second, 9, seen_second)
    assert seen_first + seen_second == seen
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name])
    assert torch.equal(whole.modules["model"].weight, second.modules["model"].weight)
    assert second.seconds > first.seconds > 0


def test_the_average_follows_and_is_lent(tmp_path: Path) -> None:
    run, seen = counting_run(tmp_path)
    go(run, 6, seen)
    own, lent = run.modules["model"].weight.item(), []
    run.with_average(lambda model: lent.append(model.weight.item()))
    assert lent == [run.average["weight"].item()]
    assert 0 < lent[0] < own or 0 > lent[0] > own
    assert run.modules["model"].weight.item() == own


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    run, _ = counting_run(tmp_path)
    with pytest.raises(FloatingPointError, match="step 2"):
        run.train(Length(9), lambda number, done: 0.1, lambda done: {"loss": torch.tensor(math.nan)}, 60)


# Tokenizers

RECIPE = """
kind = "tokenizer"
name = "tiny"
[network]
channels = 4
rounds = 4
encoder_width = 8
decoder_width = 8
multipliers = [1, 2, 2]
encoder_blocks = 1
decoder_blocks = 1
patch = 2
halves_time = [true, true]
time_kernel = 3
factors_time = true
folds_time = false
attention = false
[data]
size = 16
frames = 5
fps = 6.0
[[data.sources]]
path = "pictures.tar"
resize = [24, 32]
[[data.sources]]
path = "clips.tar"
clips = true
resize = [32, 32]
[run]
steps = 4
batch_size = 3
ema = 0.9
log_every = 1
[optimizer]
lr = 1e-3
decay_steps = 2
final_lr = 0.1
[losses]
l1 = 1.0
perceptual = 0.1
gan = 0.0
[rounds]
2 = 0.5
4 = 0.3
none = 0.2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, tars and sprites, which is the current one."""
    pictures_tar(tmp_path / "pictures.tar", 5)
    clips_tar(tmp_path / "clips.tar", 3)
    made, pixels = sprites()
    write_sprites(tmp_path / "sprites.tar", made, {one.key: encoded(pixels[n], "WEBP") for n, one in enumerate(made)})
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


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


def test_a_tokenizer_is_trained_measured_and_written(place: Path) -> None:
    held = ["--heldout", "photos=pictures.tar", "clips=clips.tar"]
    more = ["--sprites", "sprites.tar", "--scenes", "8", "--clip-batch", "2", "--clip-share", "0.5", "--processes", "1"]
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", *more, *held]) == 0
    found = rows(place / "run")
    assert found[0].keys() >= {
        "photos_psnr_2",
        "photos_psnr_4",
        "photos_psnr_none",
        "photos_perceptual",
        "clips_psnr_4",
    }
    losses = {key for row in found for key in row}
    assert {"pictures_l1", "pictures_perceptual", "clips_l2"} <= losses
    assert Tokenizer.from_pretrained(str(place / "run" / "final")).config.time_stride == 4
    # The same command has nothing left to do; with more steps it goes on.
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", *more, "--set", "run.steps=6"]) == 0
    assert [row["step"] for row in rows(place / "run")[len(found) :]] == [5, 6]


def test_the_decoder_alone_leaves_codes_as_they_are(place: Path) -> None:
    common = ["recipe.toml", "--device", "cpu", "--processes", "1", "--clip-batch", "1"]
    assert train_tokenizer([*common, "-o", "first"]) == 0
    sets = ["decoder_only=true", "run.init=first/final", "losses.gan=0.5", "losses.gan_start=2", "optimizer.lr=1e-2"]
    assert train_tokenizer([*common, "-o", "second", *(f"--set={one}" for one in sets)]) == 0
    before, after = (Tokenizer.from_pretrained(str(place / name / "final")) for name in ("first", "second"))
    pixels = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    assert torch.equal(before.features(pixels), after.features(pixels))
    changed = [
        not torch.equal(one, other)
        for one, other in zip(before.network.decoder.parameters(), after.network.decoder.parameters(), strict=True)
    ]
    assert all(changed)
    assert any("pictures_discriminator" in row or "clips_discriminator" in row for row in rows(place / "second"))


def test_the_discriminator_weighs_as_much_as_is_asked(place: Path) -> None:
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
    recipe = read_recipe(options.recipe, options.set)
    step = TokenizerStep(recipe, read_batches(options), CPU)
    step.run = Run(place / "run", step.modules, step.optimizers(), recipe.run)
    pixels = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    drawn = step.decode(step.encode(pixels))
    loss = (drawn - pixels).abs().mean()
    fooling = step.fooling(loss, drawn[:, :, 0])
    last = step.network.decoder.head.conv.weight
    mine, theirs = (torch.autograd.grad(one, last, retain_graph=True)[0].norm() for one in (loss, fooling))
    assert float(theirs / mine) == pytest.approx(0.5, rel=0.02)


def read_batches(options: argparse.Namespace):
    recipe = read_recipe(options.recipe, options.set)
    data = read_data(options, recipe, CPU)
    return Batches(data.pictures, data.clips, recipe.data.size, recipe.data.frames, 2, 1, 0.5)


def test_other_recipes_and_misfits_are_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = Path(__file__).parents[2] / "recipes" / "emoji" / "scenes.toml"
    assert train_tokenizer([str(tiny), "-o", "run", "--device", "cpu"]) == 1
    assert "expected a tokenizer's recipe" in capsys.readouterr().err
    assert train_tokenizer(["recipe.toml", "-o", "run", "--device", "cpu", "--set=run.init=emoji-tokenizer"]) == 1
    assert "another shape" in capsys.readouterr().err


# Generators


@pytest.fixture
def words(place: Path) -> Path:
    others = "red green blue two three four five six left right above below flat style"
    vocabulary = [*THINGS, *(f"{name}s" for name in THINGS), *others.split()]
    vocabulary += ["##x", *"abcdefghijklmnopqrstuvwxyz"]
    config = StaticWordVectorsConfig(dim=6, rows=len(vocabulary))
    table = torch.randn(len(vocabulary), 6, generator=torch.Generator().manual_seed(0))
    StaticWordVectors(config, vocabulary, table).save(place / "words")
    return place / "words"


def test_captions_are_what_the_text_encoder_makes_of_them(words: Path) -> None:
    text = StaticWordVectors.load(words)
    captions = ["a cat", "two cats and a dog", "the", "a cat to the left of a red van"]
    device = DeviceWords(text, [words_of(caption) for caption in captions], CPU)
    found = device(torch.arange(4), dice().device, WordsConfig(turned=0.0), dropped=0.0)
    expected = text.encode(captions)
    assert torch.equal(found.mask, expected.mask)
    assert torch.allclose(found.tokens[found.mask], expected.tokens[expected.mask], atol=1e-6)


def test_captions_are_dropped_and_turned(words: Path) -> None:
    text = StaticWordVectors.load(words)
    device, many = DeviceWords(text, [["cat", "dog"], ["van"]], CPU), torch.zeros(400, dtype=torch.long)
    dropped = device(many, dice().device, WordsConfig(), dropped=0.25)
    empty = text.encode([""])
    gone = dropped.mask.sum(1) == 1
    assert 0.15 < gone.float().mean() < 0.35
    assert torch.equal(dropped.tokens[gone][:, :1], empty.tokens.expand(int(gone.sum()), -1, -1))
    turned = device(many, dice().device, WordsConfig(turned=0.5, degrees=60), dropped=0.0).tokens[:, 1]
    angle = torch.rad2deg(torch.arccos(F.cosine_similarity(turned, text.word_vectors("cat"), dim=-1).clamp(-1, 1)))
    assert angle.max() < 60.1
    assert 0.35 < (angle < 0.1).float().mean() < 0.65
    # Turned towards itself, which in a table as small as this one happens, a word has no way to go.
    kept = turned.norm(dim=-1).isclose(text.word_vectors("cat").norm(), rtol=1e-4)
    assert kept.float().mean() > 0.97


def test_a_caption_that_cannot_be_spelt_is_refused(words: Path) -> None:
    with pytest.raises(BadInputError, match="7"):
        DeviceWords(StaticWordVectors.load(words), [["cat"], ["7"]], CPU)


def test_scenes_are_the_same_by_any_number_of_processes() -> None:
    (words, one), (others, two) = (make_scenes(sprites()[0], 90, 3, processes) for processes in (1, 2))
    assert words == others
    assert len(words) == len(one) == 90
    assert torch.equal(one.objects.nan_to_num(9), two.objects.nan_to_num(9))
    assert torch.equal(one.grounds, two.grounds)


def test_a_twin_is_not_trained_on_held_out_names() -> None:
    made, _ = sprites()
    names = {names: {made[n].name for n in choose(made, ["3d"], names)} for names in ("all", "train")}
    assert names["all"] - names["train"] == {"hat"}
    assert {made[n].style for n in choose(made, ["flat"], "all")} == {"flat"}
    assert 3 <= len(choose(made, ["3d", "flat"], "all", limit=4)) <= 5


def test_a_generator_of_pictures_and_clips_is_trained(place: Path, words: Path) -> None:

    torch.manual_seed(0)
    save_tokenizer(place / "tokenizer", CausalAutoencoder(TokenizerConfig.tiny()), "tiny")
    network = TextToVisualConfig.tiny("ind")
    recipe = f"""
kind = "generator"
name = "tiny"
tokenizer = "tokenizer"
text_encoder = "words"
cut = 0.5
sheet_prompts = ["a cat", "a red dog"]
[network]
{chr(10).join(f"{key} = {json.dumps(value)}" for key, value in network.model_dump(mode="json").items())}
[data]
size = {SIDE}
frames = 5
fps = 6.0
[[data.sources]]
path = "clips.tar"
clips = true
[run]
steps = 6
batch_size = 3
log_every = 1
[sampling]
steps = 2
"""
    (place / "generator.toml").write_text(recipe)
    common = ["generator.toml", "-o", "run", "--sprites", "sprites.tar", "--clips", "clips.tar", "--scenes", "40"]
    common += ["--names", "train", "--clip-share", "0.5", "--clip-batch", "2", "--processes", "2", "--device", "cpu"]
    assert train_generator(common) == 0
    assert {"loss_pictures", "loss_clips"} <= {key for row in rows(place / "run") for key in row}
    assert (place / "run" / "samples" / "00000006.png").is_file()
    assert (place / "run" / "final" / "tokenizer" / "config.json").is_file()
    pipeline = Pipeline.from_pretrained(place / "run" / "final")
    drawn = pipeline("two red cats", size=(1, SIDE, SIDE))
    assert drawn.frames.shape == (1, SIDE, SIDE, 3)
    clip = pipeline("two red cats")
    assert clip.frames.shape == (5, SIDE, SIDE, 3)
