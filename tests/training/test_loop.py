"""Runs on tiny networks: exact resumption, stopping, batches in parts, the average, what is not finite."""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import changed, class_recipe, figures, run, stopping, text_recipe, tokenizer_recipe, video_recipe
from safetensors.torch import load_file

from grn.devices import fast_type
from grn.errors import ConfigError, TrainingDivergedError
from grn.networks.autoencoder import CausalAutoencoder
from grn.training import loop as loops
from grn.training.engine import Engine
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, load_recipe
from grn.training.run import parameters, train
from grn.training.task import Loss
from grn.training.tokenizer import TokenizerBatch, TokenizerTask


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def stop_and_resume(recipe: TokenizerRecipe | GeneratorRecipe, folder: Path, after: int) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    with pytest.raises(loops.Stopped):
        train(recipe, folder, stopping(rows, after))
    return rows + run(recipe, folder)


def weights(folder: str, step: int = 6) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / f"step-{step:08d}" / "weights.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_tokenizer_run_equals_the_uninterrupted_one(place: Path, workers: int) -> None:
    losses = {"losses.perceptual": 0.1, "losses.gan": 0.1, "losses.gan_start": 2, "data.workers": workers}
    recipe = changed(tokenizer_recipe("pictures"), losses)
    straight = run(recipe, Path("a"))
    assert figures(straight) == figures(stop_and_resume(recipe, Path("b"), 4))
    assert same(weights("a"), weights("b"))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_generator_run_equals_the_uninterrupted_one(captioned: Path, optimizer: str) -> None:
    recipe = changed(text_recipe("pictures", "tokenizer", "words"), {"optimizer.name": optimizer})
    straight = run(recipe, Path("a"))
    assert straight[-1]["loss"] < math.log(4) + 0.2
    assert figures(straight) == figures(stop_and_resume(recipe, Path("b"), 2))


def test_a_resumed_run_on_pictures_and_clips_equals_the_uninterrupted_one(clips_place: Path) -> None:
    recipe = video_recipe("pictures", "clips")
    assert figures(run(recipe, Path("a"))) == figures(stop_and_resume(recipe, Path("b"), 3))
    assert same(weights("a"), weights("b"))


@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_precision_is_what_the_recipe_says(place: Path, kind: str) -> None:
    recipe: Any = tokenizer_recipe("pictures") if kind == "tokenizer" else class_recipe("pictures", "tokenizer")
    recipe = changed(recipe, {"run.steps": 3})
    named = {
        name: figures(run(changed(recipe, {"run.precision": name}), Path(name))) for name in ("float32", "bfloat16")
    }
    fast = "bfloat16" if fast_type(default_device()) == torch.bfloat16 else "float32"
    assert figures(run(changed(recipe, {"run.precision": None}), Path("default"))) == named[fast]
    assert named["bfloat16"] != named["float32"]
    for low, full in zip(*named.values(), strict=True):
        assert low == pytest.approx(full, rel=0.1, abs=0.02)
    found = load_file(Path("bfloat16/final/model.safetensors"))
    assert {weight.dtype for weight in found.values()} == {torch.float16}  # the weights themselves are not lowered


def test_a_batch_in_parts_trains_as_a_whole_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(
        tokenizer_recipe("pictures"), {"losses.gan": 0.1, "losses.gan_start": 1, "run.steps": 4, "run.batch_size": 4}
    )
    whole = run(recipe, Path("a"))
    calls: list[int] = []
    losses = TokenizerTask.losses

    def counted(self: TokenizerTask, batch: TokenizerBatch, step: int) -> list[Loss]:
        calls.append(len(batch))
        return losses(self, batch, step)

    monkeypatch.setattr(TokenizerTask, "losses", counted)
    parts = run(changed(recipe, {"run.accumulate": 2}), Path("b"))
    assert calls == [2] * 8
    for row, other in zip(figures(whole), figures(parts), strict=True):
        assert row.keys() == other.keys()
        names = row.keys() - {"psnr"}  # the mean of PSNRs is not the PSNR of means
        assert [row[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-4, abs=1e-5)
    first, second = weights("a", 4), weights("b", 4)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=2e-5)
    with pytest.raises(ConfigError, match=r"run\.batch_size 4 is not a multiple .* run\.accumulate 3"):
        run(changed(recipe, {"run.accumulate": 3}), Path("c"))


def test_the_average_follows_the_weights(place: Path) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": 1})
    run(recipe, Path("a"))
    start = load_file(Path("a/step-00000001/ema.safetensors"))
    now = weights("a", 1)
    torch.manual_seed(0)
    initial = CausalAutoencoder(recipe.network).state_dict()
    name = "decoder.stem.weight"
    decay = 1 / 10  # (1 + step) / (10 + step) at step 0 is below the configured decay
    assert torch.allclose(start[name], initial[name] * decay + now[f"model.{name}"] * (1 - decay), atol=1e-6)


def test_the_run_folder_says_what_was_trained(place: Path) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": 2, "optimizer.lr": 0.5e-3})
    ticks: list[int] = []
    train(recipe, Path("a"), lambda step, row: None, on_step=ticks.append)
    assert load_recipe(Path("a/run.toml")) == recipe
    rows = [json.loads(line) for line in Path("a/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == ticks == [1, 2]
    assert [row["lr"] for row in rows] == [0.5e-3, 0.5e-3]
    assert all(0 <= row["data_wait"] <= 1 for row in rows)
    assert parameters(recipe) == sum(v.numel() for v in load_file(Path("a/final/model.safetensors")).values())


def test_the_log_shows_the_learning_rate_itself(place: Path) -> None:
    course = {"optimizer.lr": 1e-2, "optimizer.warmup_steps": 2, "optimizer.decay_steps": 2, "optimizer.final_lr": 0.0}
    rows = run(changed(tokenizer_recipe("pictures"), course), Path("a"))
    assert [row["lr"] for row in rows] == pytest.approx([0.5e-2, 1e-2, 1e-2, 1e-2, 1e-2, 0.5e-2])


# What is not finite


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int], spoilt: Callable[[Loss], Loss]) -> None:
    losses = TokenizerTask.losses

    def poisoned(self: TokenizerTask, batch: TokenizerBatch, step: int) -> list[Loss]:
        return [spoilt(loss) if step in steps else loss for loss in losses(self, batch, step)]

    monkeypatch.setattr(TokenizerTask, "losses", poisoned)


def second_is_bad(loss: Loss) -> Loss:
    assert loss.samples is not None
    samples = loss.samples.detach().clone()
    samples[1] = math.nan
    return Loss(loss.trains, loss.value * math.nan, loss.figures, samples)


def test_a_loss_that_is_not_finite_stops_before_the_update(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.bad_steps": 1})
    with monkeypatch.context() as patch:
        poison(patch, {2}, second_is_bad)
        with pytest.raises(TrainingDivergedError, match=r"step 2: model loss nan, .* on pictures/\w+/\d.png; 1 such"):
            run(recipe, Path("a"))
    run(changed(recipe, {"run.steps": 2}), Path("b"))
    assert same(weights("a", 2), weights("b", 2))


def test_what_another_process_has_found_spoils_the_step_of_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.save_every": 1, "run.steps": 2})
    largest, once = Engine.largest, iter([[1]])

    def spoilt(self: Engine, values: list[int]) -> list[int]:
        found = largest(self, values)
        return next(once, found) if values == [False] else found

    monkeypatch.setattr(Engine, "largest", spoilt)
    there = ["there.png"], ["there.png"]
    monkeypatch.setattr(Engine, "gather", lambda self, own: [own, there] if isinstance(own, tuple) else [own])
    run(recipe, Path("a"))
    log = [json.loads(line) for line in Path("a/log.jsonl").read_text().splitlines()]
    assert log[0] == {"step": 1, "skipped": ["there.png"]}
    assert [row["step"] for row in log[1:]] == [1, 2]
    assert "loss" not in log[1]
    assert "l1" in log[2]


def test_a_bad_step_is_skipped_with_its_samples_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"run.save_every": 1, "run.keep": 9, "run.bad_steps": 2})
    poison(monkeypatch, {1, 3}, second_is_bad)
    with caplog.at_level(logging.WARNING, "grn"):
        rows = run(recipe, Path("a"))
    assert [row["step"] for row in rows if "l1" in row] == [1, 3, 5, 6]
    assert same(weights("a", 1), weights("a", 2))
    assert not same(weights("a", 2), weights("a", 3))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["step 1", "step 3"]
    log = [json.loads(line) for line in Path("a/log.jsonl").read_text().splitlines()]
    named = [row["skipped"] for row in log if "skipped" in row]
    assert [len(names) for names in named] == [1, 1]
    assert all(Path(names[0]).is_file() for names in named)


def test_bad_steps_in_a_row_stop_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {1, 2}, second_is_bad)
    with pytest.raises(
        TrainingDivergedError, match=r"step 2: .* 2 such steps in a row; the weights before them are in"
    ):
        run(changed(tokenizer_recipe("pictures"), {"run.bad_steps": 2}), Path("a"))


def test_a_gradient_that_is_not_finite_is_a_bad_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def infinite(loss: Loss) -> Loss:
        return Loss(loss.trains, loss.value + (loss.value - loss.value.detach()).clamp_min(0).sqrt())

    poison(monkeypatch, {1}, infinite)
    with pytest.raises(TrainingDivergedError, match=r"model loss 0\.\d+, gradient norm (nan|inf)"):
        run(changed(tokenizer_recipe("pictures"), {"run.bad_steps": 1}), Path("a"))
