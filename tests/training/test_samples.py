"""Samples that cannot be trained on are named before or when they are met; recipes go through their sources as weighted."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.training import changed, class_recipe, figures, run, text_recipe, tokenizer_recipe

from grn.data.bad import Bad
from grn.errors import BadInputError
from grn.training.mixture import MixedSource
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe

RECIPES: dict[str, TokenizerRecipe | GeneratorRecipe] = {
    "tokenizer": tokenizer_recipe("pictures"),
    "text": text_recipe("pictures", "tokenizer", "words"),
    "class": class_recipe("pictures", "tokenizer"),
}
ONE = {"run.steps": 1, "run.batch_size": 8}


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def uncaption(folder: Path) -> None:
    for path in folder.rglob("*.txt"):
        path.unlink()


def unsort(folder: Path) -> None:
    """Not in class folders any more."""
    for path in list(folder.rglob("*.*")):
        path.rename(folder / path.name)


SAMPLES = [
    ("text", write("left/3.txt", "\u732b".encode()), "pictures/left/3.png: unreadable caption: prompt"),
    ("text", write("left/3.json", b'{"captions": ["left", "!!"]}'), "pictures/left/3.png: unreadable caption: prompt"),
    ("text", write("left/3.txt", b"\xff"), "pictures/left/3.png: unreadable caption, class or facts"),
    ("text", uncaption, "pictures: no picture has a caption"),
    ("class", unsort, "pictures/0.png: has no class"),
    ("class", write("left/3.cls", b"2"), "pictures/left/3.png: class 2 is not one of network.num_classes 2"),
    ("text", write("left/3.png", b"no picture"), "pictures/left/3.png: "),
    ("tokenizer", write("left/3.png", b"no picture"), "pictures/left/3.png: "),
]


@pytest.mark.parametrize(("name", "spoil", "message"), SAMPLES, ids=range(len(SAMPLES)))
def test_a_sample_that_cannot_be_read_is_named(
    request: pytest.FixtureRequest, name: str, spoil: Callable[[Path], object], message: str
) -> None:
    place = request.getfixturevalue("captioned" if name == "text" else "place")
    spoil(place / "pictures")
    with pytest.raises(BadInputError) as caught:
        run(changed(RECIPES[name], ONE), Path("a"))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_worker_process_names_it_in_one_line_too(place: Path) -> None:
    (place / "pictures" / "left" / "3.png").write_bytes(b"no picture")
    with pytest.raises(BadInputError) as caught:
        run(changed(tokenizer_recipe("pictures"), ONE | {"data.workers": 1}), Path("a"))
    assert str(caught.value).startswith("pictures/left/3.png: ")
    assert "\n" not in str(caught.value)


def test_a_few_bad_samples_are_skipped_and_named(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "pictures" / "left" / "3.png").write_bytes(b"no picture")
    recipe = changed(tokenizer_recipe("pictures"), {"data.most_bad": 0.2, "run.batch_size": 4})
    straight = run(recipe, Path("a"))
    assert [r.message for r in caplog.records if r.message.startswith("skipped: pictures/left/3.png: ")]
    lines = [json.loads(line) for line in Path("a/log.jsonl").read_text().splitlines()]
    assert sum("pictures/left/3.png" in line.get("unreadable", [""])[0] for line in lines) == 1
    # The same ones stand in for it when the run is repeated, by worker processes too, or goes on.
    run(changed(recipe, {"run.steps": 3, "data.workers": 1}), Path("b"))
    assert figures(straight)[3:] == figures(run(recipe, Path("b")))


@pytest.mark.parametrize("name", ["text", "class"])
def test_a_bad_caption_or_class_is_a_bad_sample(
    request: pytest.FixtureRequest, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = request.getfixturevalue("captioned" if name == "text" else "place")
    (place / "pictures" / "left" / ("3.txt" if name == "text" else "3.cls")).write_bytes(b"\xff")
    run(changed(RECIPES[name], ONE | {"data.most_bad": 0.2}), Path("a"))
    assert [r.message for r in caplog.records if r.message.startswith("skipped: pictures/left/3.png: unreadable cap")]


def test_too_many_bad_samples_stop_a_run() -> None:
    def count(most: float, samples: int, batches: int, every: int) -> int:
        bad = Bad(most, samples)
        for batch in range(batches):
            bad.add(10, {batch: "x"} if batch % every == 0 else {})
            bad.add(0, {0: "x"})  # the same one again
        return batches

    assert count(0.01, 10**6, 1000, every=20) == 1000  # 1 of 200
    assert count(0.01, 10**6, 100, every=10) == 100  # 10 of the first 1000
    assert count(0.5, 8, 4, every=1) == 4
    for most, samples, every in ((0.01, 10**6, 5), (0.0, 10**6, 100), (0.01, 50, 50)):
        with pytest.raises(BadInputError, match=r"data\.most_bad"):
            count(most, samples, 1000, every)


def test_a_source_that_keeps_nothing_is_named(place: Path) -> None:
    sources: Any = [{"path": "pictures", "keep": {"style": ["flat"]}}]
    with pytest.raises(BadInputError, match=r"no picture has style \['flat'\]"):
        run(changed(tokenizer_recipe("pictures"), {"data.sources": sources}), Path("a"))


def test_a_run_goes_through_its_sources_as_weighted(place: Path) -> None:
    with tarfile.open("more.tar", "w") as tar:
        for i in range(4):
            tar.add(place / "pictures" / ("left" if i % 2 else "right") / f"{i}.png", f"{i}.png")
    sources: Any = [{"path": "pictures"}, {"path": "more.tar", "weight": 3.0}]
    recipe = changed(tokenizer_recipe("pictures"), {"data.sources": sources})
    mixed = MixedSource(recipe.data, recipe.run.seed)
    numbers = mixed.order(0, 120)
    assert np.bincount([mixed.which(n) for n in numbers]).tolist() == [48, 72]
    assert np.bincount(numbers).tolist() == [6] * 8 + [18] * 4
    assert {mixed[n].key for n in numbers if mixed.which(n) == 1} == {"0", "1", "2", "3"}
    assert MixedSource(recipe.data, 1).order(0, 120) != numbers
