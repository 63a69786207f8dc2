"""`grn models calibrate`: what it measures, stores and refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from grn.models.folder import ModelFolder
from grn.pipeline import Pipeline
from grn.refine.schedule import adaptive_steps


@pytest.fixture
def place(here: Path, words: Path, classes: Path) -> Path:
    """A current folder with copies of both tiny models and four pictures with captions, half of them noto's."""
    shutil.copytree(words, here / "model")
    shutil.copytree(classes, here / "classes")
    for i, caption in enumerate(("a cat", "a red cat", "a dog", "red")):
        folder = here / "set"
        folder.mkdir(exist_ok=True)
        shutil.copy(here / "photo.png", folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption)
        (folder / f"{i}.json").write_text(json.dumps({"style": ("noto", "3d")[i % 2]}))
    return here


def _sampling(folder: str = "model") -> dict[str, Any]:
    return ModelFolder.open(Path(folder)).config.document()["sampling"]


BASE = ("models", "calibrate", "model", "--captions", "set")


def test_the_mean_is_reached_and_stored(grn: Any, place: Path) -> None:
    before = ModelFolder.open(Path("model")).config.document()
    record = json.loads(grn(*BASE, "--json", "--k", "3000", "--mean", "20", "--tmin", "6", "--tmax", "40").text)
    steps = [adaptive_steps(entropy, record["k"], record["b"], (6, 40)) for entropy in record["entropies"]]
    assert len(steps) == 4
    assert record["mean"] == pytest.approx(sum(steps) / 4)
    assert record["mean"] == pytest.approx(20, abs=1)
    assert len(set(steps)) > 1
    after = ModelFolder.open(Path("model")).config.document()
    assert after["sampling"] == {**before["sampling"], "tmin": 6, "tmax": 40, "k": 3000.0, "b": record["b"]}
    assert {k: v for k, v in after.items() if k != "sampling"} == {k: v for k, v in before.items() if k != "sampling"}
    # The entropies are those that sampling will meet: the same prompts and seeds take just these steps.
    captions = [(place / "set" / f"{i}.txt").read_text() for i in range(4)]
    assert [
        result.steps for result in Pipeline.from_pretrained("model")(captions, seed=range(4), adaptive=True)
    ] == steps


def test_options_matter(grn: Any, place: Path) -> None:
    def entropies(*options: str) -> list[float]:
        return json.loads(grn(*BASE, "--json", "--dry-run", *options).text)["entropies"]

    before = _sampling()
    assert entropies() == entropies()
    assert entropies("--seed", "1") != entropies()
    assert len(entropies("-n", "2")) == 2
    assert len(entropies("--keep", "style=noto")) == 2
    assert _sampling() == before  # --dry-run
    text = grn(*BASE, "--dry-run", "--k", "500", "--mean", "30").text
    assert "k = 500, b = " in text
    assert "mean 29." in text or "mean 30." in text


def test_other_values_of_k_and_a_histogram_are_shown(grn: Any, place: Path) -> None:
    line = (*BASE, "--dry-run", "--mean", "30", "--tmin", "6", "--others", "100,3000", "--plot", "steps.png")
    text = grn(*line).text.splitlines()
    assert [row.split()[0] for row in text[-4:]] == ["k", "600.00", "100", "3000"]
    assert Path("steps.png").read_bytes()[:4] == b"\x89PNG"
    refused = grn(*line)
    assert (refused.code, "steps.png: exists already" in refused.err) == (2, True)
    rows = json.loads(grn(*line, "--force", "--json").text)["rows"]
    assert all(row["mean"] == pytest.approx(30, abs=1.5) for row in rows)
    assert all(0 <= row["at_tmin"] + row["at_tmax"] <= 1 for row in rows)
    assert "--others a: expected numbers" in grn(*BASE, "--others", "a").err


def test_a_class_model_is_measured_over_its_classes(grn: Any, place: Path) -> None:
    record = json.loads(grn("models", "calibrate", "classes", "-n", "7", "--mean", "30", "--json").text)
    assert len(record["entropies"]) == 7
    assert _sampling("classes")["b"] == record["b"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("model --captions set --mean 60", 2, "--mean 60: lies outside tmin 10 to tmax 50"),
        ("model --captions set --tmin 5", 2, "tmin 5 must be above the warm-up"),
        ("model --captions nowhere", 3, "nowhere: no such folder or tar"),
        ("model --captions set --keep style=no", 3, "set: no picture has style=no"),
        ("no-model", 4, "no-model: no model of that name"),
        ("emoji-tokenizer", 4, "emoji-tokenizer"),
    ],
)
def test_refusals(grn: Any, place: Path, arguments: str, code: int, message: str) -> None:
    before = _sampling()
    outcome = grn("models", "calibrate", *arguments.split())
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, b"", 1), outcome.err
    assert message in outcome.err
    assert _sampling() == before
