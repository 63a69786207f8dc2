"""Samples of any size in sequences of at most so many tokens: the same training as in one part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import changed, figures, run, text_recipe

from grn.networks.text_to_visual import TextToVisual
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer
from grn.training.config import RunConfig
from grn.training.generator import GeneratorTask
from grn.training.generator_data import CaptionChoice, GeneratorExample, corrupt
from grn.training.loader import packs

MIXED: dict[str, Any] = {
    "tokenizer": "joint",
    "data.sources": [{"path": "clips", "clips": True}, {"path": "pictures"}],
    "data.frames": 5,
    "data.fps": 8.0,
    "run.batch_size": 6,
    "run.steps": 3,
    "optimizer.decay_steps": 0,
    "optimizer.final_lr": 1.0,
}
KEPT = ("loss", "gradient_norm", "accuracy")


def test_packs_hold_each_example_once_and_at_most_so_many_tokens() -> None:
    tokens = [*np.random.default_rng(0).integers(1, 60, 200).tolist(), 150]
    found = packs(tokens, 100)
    assert sorted(n for one in found for n in one) == list(range(201))
    sizes = [sum(tokens[n] for n in one) for one in found]
    assert [size for size in sizes if size > 100] == [150]
    assert [200] in found
    assert sum(sizes) / (100 * len(sizes)) > 0.97  # hardly anything is empty
    assert packs([5, 5, 5], 10) == [[0, 1], [2]]
    assert packs([], 10) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_packed_training_is_that_in_one_part(clips_place: Path, workers: int) -> None:
    recipe = changed(text_recipe("pictures", "tokenizer", "words"), MIXED)
    whole = run(recipe, Path("a"))
    packed = changed(recipe, {"run.tokens_per_batch": 64, "data.workers": workers})
    rows = run(packed, Path("b"))
    for row, other in zip(rows, whole, strict=True):
        assert {name: row[name] for name in KEPT} == pytest.approx({name: other[name] for name in KEPT}, rel=1e-4)
        assert 0 <= row["padding"] < 0.5
        assert "padding" not in other
    run(changed(packed, {"run.steps": 2}), Path("c"))
    assert figures(run(packed, Path("c"))) == figures(rows)[2:]


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("attention", ["one-way", "joint"])
def test_the_tokens_of_an_example_are_its_places_in_the_sequence(captioned: Path, attention: str, patch: int) -> None:
    values = {"network.text_attention": attention, "network.patch": patch, "run.tokens_per_batch": 1000}
    recipe = changed(text_recipe("pictures", "tokenizer", "words"), values)
    network = TextToVisual(recipe.network)  # type: ignore[arg-type]
    task = GeneratorTask(recipe, network, Tokenizer.from_pretrained("tokenizer"), StaticWordVectors.load(Path("words")))
    seen: list[int] = []
    network.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    shapes = ((1, 4, 4), (3, 2, 4), (1, 2, 2))
    examples = [
        GeneratorExample(maps, corrupt(maps.shape, 4, recipe.ratio, np.random.default_rng(0)), CaptionChoice(text))
        for maps, text in zip((torch.zeros(*one, 4).byte() for one in shapes), ("left right", "", "left"), strict=True)
    ]
    (loss,) = task.losses(task.collate(examples), 0)
    assert seen[-1] == sum(map(task.tokens, examples))  # before it, one-way texts are prepared
    assert float(loss.figures["padding"]) == pytest.approx(1 - seen[-1] / 1000)


def test_parts_follow_from_the_tokens() -> None:
    with pytest.raises(ValueError, match="the number of parts follows from tokens_per_batch"):
        RunConfig(steps=1, batch_size=2, accumulate=2, tokens_per_batch=10)
