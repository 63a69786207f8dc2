"""A resumed run takes every changed setting, and says so, or refuses it by its name."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import changed, class_recipe, run, tokenizer_recipe

from grn.errors import ConfigError
from grn.training.recipe import load_recipe
from grn.training.resume import changes, described, refused
from grn.training.run import train


def groups(folder: str, step: int, module: str = "model") -> list[dict[str, Any]]:
    states = torch.load(Path(folder) / f"step-{step:08d}" / "optimizer.pt", weights_only=True)[module]
    return [group for state in states for group in state["param_groups"]]


def first(place: Path, values: dict[str, Any]) -> Any:
    recipe = changed(tokenizer_recipe("pictures"), {"run.steps": 3, **values})
    run(recipe, Path("a"))
    return recipe


def test_changed_rates_count_and_are_said(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    gan = {"losses.gan": 0.1}
    recipe = first(place, gan)
    later = {
        "run.steps": 6,
        "optimizer.lr": 1e-2,
        "optimizer.weight_decay": 0.3,
        "optimizer.betas": (0.8, 0.7),
        "losses.gan_lr": 2e-3,
        "losses.gan_betas": (0.1, 0.2),
        "losses.gan_weight_decay": 0.4,
    }
    with caplog.at_level(logging.WARNING, "grn"):
        run(changed(recipe, later), Path("a"))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("settings that count from step 3 on: ")
    for key in later:
        assert key in said
    assert "optimizer.lr 0.0001 -> 0.01" in said
    (group,), (judge,) = groups("a", 6), groups("a", 6, "discriminator")
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-2, 0.3, (0.8, 0.7))
    assert (judge["lr"], judge["weight_decay"], judge["betas"]) == (2e-3, 0.4, (0.1, 0.2))
    assert load_recipe(Path("a/run.toml")).optimizer.lr == 1e-2


def test_muons_settings_count_too(place: Path) -> None:
    recipe = changed(class_recipe("pictures", "tokenizer"), {"optimizer.name": "muon", "run.steps": 3})
    run(recipe, Path("a"))
    run(changed(recipe, {"run.steps": 4, "optimizer.matrix_lr": 0.5, "optimizer.weight_decay": 0.25}), Path("a"))
    rest, matrices = groups("a", 4)
    assert (matrices["lr"], matrices["weight_decay"], rest["weight_decay"]) == (0.5, 0.25, 0.25)


def test_the_same_recipe_says_nothing(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = first(place, {})
    with caplog.at_level(logging.WARNING, "grn"):
        run(recipe, Path("a"))
    assert caplog.records == []


REFUSED = [
    ({"run.seed": 1}, "run.seed was 0 and is now 1: it decided the initial weights"),
    ({"run.batch_size": 4}, "run.batch_size was 2 and is now 4"),
    ({"run.ema": 0.0}, "run.ema was 0.999 and is now 0.0"),
    ({"run.init": "tokenizer"}, "run.init was None and is now 'tokenizer'"),
    ({"losses.gan": 0.1}, "losses.gan was 0.0 and is now 0.1"),
    ({"network.channels": 5}, "network.channels was 4 and is now 5: it shapes the weights"),
    ({"decoder_only": True}, "decoder_only was False and is now True"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[next(iter(values)) for values, _ in REFUSED])
def test_what_cannot_change_is_refused_by_name(place: Path, values: dict[str, Any], message: str) -> None:
    recipe = first(place, {})
    before = Path("a/run.toml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(changed(recipe, {**values, "run.steps": 6}), Path("a"), lambda step, row: None)
    assert f"a/step-00000003: cannot go on with this recipe: {message}" in str(caught.value)
    assert Path("a/run.toml").read_bytes() == before  # it still tells what was trained
    assert not Path("a/step-00000006").exists()


def test_every_difference_is_found_once() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": {}}
    after = {"a": 1, "b": {"c": [1, 3]}, "e": {}, "f": {"g": True}}
    found = changes(before, after)
    assert found == {"b.c": ([1, 2], [1, 3]), "f.g": (None, True)}
    assert described(found) == "b.c [1, 2] -> [1, 3], f.g None -> True"
    assert refused({"networks.x": (1, 2), "run.ema": (0.9, 0.99)}) == []
    assert len(refused({"network.x": (1, 2), "run.ema": (0.9, 0)})) == 2
