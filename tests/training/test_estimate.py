"""What a run would take is told by steps that are measured, on every kind of task, with no data read."""

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from helpers.training import changed, class_recipe, text_recipe, tokenizer_recipe, video_recipe

from grn.errors import ConfigError, EnvironmentFaultError
from grn.training.loop import Loop
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe
from grn.training.run import measure

RECIPES: dict[str, TokenizerRecipe | GeneratorRecipe] = {
    "tokenizer": tokenizer_recipe("absent"),
    "video": video_recipe("absent", "absent"),
    "class": class_recipe("absent", "tokenizer"),
    "text": changed(text_recipe("absent", "tokenizer", "words"), {"data.sizes": [[16, 16], [24, 16]]}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_task_is_measured_without_its_data(place: Path, name: str) -> None:
    found = measure(changed(RECIPES[name], {"run.batch_size": 8, "run.accumulate": 2}))
    assert found.samples == 4  # a part of a batch
    assert 0 < found.step_seconds < 10
    assert found.memory > 1e7
    assert 0 < found.peak_share < 1
    assert found.flop_per_s > 0
    assert not {"absent", "cache"} & {path.name for path in place.iterdir()}


@pytest.mark.parametrize(
    ("fixed", "each", "batch", "measured"),
    [
        (1, 9, 12, 2),  # two at least: what each adds is not told from one
        (1, 2, 12, 4),  # so many that a step takes twice as long as with one
        (2, 0.25, 32, 16),
        (30, 0.1, 32, 2),  # or as many as can be waited for
        (0.1, 0.001, 8, 8),
    ],
)
def test_a_step_is_as_long_as_its_parts(
    place: Path, monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, batch: int, measured: int
) -> None:
    """By a clock that moves `fixed` seconds for a step and `each` for each of its samples."""
    clock = [0.0]
    step = Loop.train_step

    def timed(self: Loop, parts: list) -> tuple:
        clock[0] += fixed + each * sum(len(part.batch) for part in parts)
        return step(self, parts)

    monkeypatch.setattr(Loop, "train_step", timed)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("grn.training.estimate.matmul_peak", lambda device, dtype: 1e12)
    found = measure(changed(RECIPES["class"], {"run.batch_size": batch}))
    assert found.samples == measured
    assert found.step_seconds == pytest.approx(fixed + each * batch)


def test_too_little_memory_is_said_before_it_is_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Free)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFaultError, match=r"weights, their gradients, moments and average take .* are free"):
        measure(RECIPES["class"])


def test_a_batch_that_cannot_be_shared_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 3 is not a multiple"):
        measure(changed(RECIPES["class"], {"run.batch_size": 3, "run.accumulate": 2}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"run.accumulate": 2}, "run.accumulate 2: a part of 4 samples does not fit into the memory of cpu; raise it"),
        ({"run.tokens_per_batch": 34}, "run.tokens_per_batch 34: a part of 2 samples .* of cpu; lower it"),
    ],
)
def test_a_part_that_does_not_fit_is_told_what_makes_it_smaller(
    place: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], says: str
) -> None:
    def full(self: Loop, parts: list) -> tuple:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(Loop, "train_step", full)
    with pytest.raises(EnvironmentFaultError, match=says):
        measure(changed(RECIPES["text"], values | {"run.batch_size": 8}))
