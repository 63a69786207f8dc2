"""More things, more steps? The script counts what it should."""

import json
from pathlib import Path

import numpy as np
import pytest
from complexity import KINDS, ask, main, measure
from helpers.drawings import THINGS
from sprites import Sprite

from grn.pipeline import Pipeline

MADE = [Sprite(f"3d-{n}", name, "3d", "objects", "train", (f"a {name}",)) for n, name in enumerate(THINGS)]


def test_as_many_prompts_of_each_number_of_things_and_the_same_by_seed() -> None:
    asked = ask(MADE, 10, seed=0)
    assert {things: len(prompts) for things, prompts in asked.items()} == dict.fromkeys(KINDS, 3)
    for things, prompts in asked.items():
        for prompt in prompts:
            assert sum(name in prompt for name in THINGS) >= things
    assert ask(MADE, 10, seed=0) == asked != ask(MADE, 10, seed=1)


def test_figures_are_means_over_both_seeds(words: Path) -> None:
    pipeline = Pipeline.from_pretrained(words)
    prompts = ["a red apple", "a cat"]
    (found,) = measure(pipeline, {2: prompts}, seed=0, batch_size=2)
    first, second = (pipeline(prompts, seed=seed, adaptive=True) for seed in (0, 10_000))
    assert found.steps == np.mean([result.steps for result in (*first, *second)])
    assert found.entropy == pytest.approx(np.mean([result.entropy or 0 for result in (*first, *second)]), abs=1e-5)
    levels = [np.abs(a.frames.astype(int) - b.frames).mean() for a, b in zip(first, second, strict=True)]
    assert found.seeds_differ == pytest.approx(np.mean(levels)) != 0
    assert (found.things, found.prompts) == (2, 2)


def test_the_command_prints_and_draws(
    words: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("complexity.ask", lambda *_: {1: ["a cat"], 2: ["a cat and an apple"]})
    command = ["--model", str(words), "--sprites", "sprites.tar", "--plot", "steps.svg"]
    assert main(command) == 0
    assert "levels between seeds" in capsys.readouterr().out
    assert "<svg" in (place / "steps.svg").read_text()
    assert main([*command, "--json"]) == 0
    assert [one["things"] for one in json.loads(capsys.readouterr().out)] == [1, 2]
    assert main(["--sprites", "none.tar"]) == 1
    assert "complexity: error: " in capsys.readouterr().err
