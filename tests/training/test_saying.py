"""What a run says of itself: every figure in log.jsonl and on the console, trackers, the quick Frechet distance."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import UNTIMED, changed, class_recipe, log_rows, run, text_recipe, tokenizer_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from grn.errors import ConfigError
from grn.training.distance import Distance
from grn.training.figures import Meter, matmul_peak
from grn.training.tokenizer import TokenizerTask

ROW = {"step", "loss", "accuracy", "gradient_norm", "lr", *UNTIMED}


def test_a_row_has_every_figure(place: Path) -> None:
    recipe = changed(class_recipe("pictures", "tokenizer"), {"optimizer.lr": 2e-3, "optimizer.warmup_steps": 4})
    run(recipe, Path("a"))
    rows = log_rows(Path("a"))
    assert {name for name in rows[0] if "/" not in name} == ROW
    assert [row["lr"] for row in rows[:5]] == [5e-4, 1e-3, 1.5e-3, 2e-3, 2e-3]  # the rate itself, not a share of it
    assert all(row["flop_per_s"] > 0 and 0 < row["peak_share"] < 1 and row["gradient_norm"] > 0 for row in rows)


def test_what_comes_every_0_steps_comes_at_the_end_or_never(place: Path) -> None:
    never = dict.fromkeys(("run.save_every", "run.log_every", "run.sheet_every", "run.distance_every"), 0)
    run(changed(class_recipe("pictures", "tokenizer"), never), Path("a"))
    assert [row["step"] for row in log_rows(Path("a"))] == [6]
    left = {path.name for path in Path("a").iterdir() if path.is_dir()}
    assert left == {"step-00000006", "final"}


@pytest.mark.parametrize("fast", [False, True])
def test_a_format_that_is_slow_here_is_told(
    place: Path, fast: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("grn.devices.multiplies_bfloat16", lambda: fast)
    for precision in ("bfloat16", "float32", None):
        recipe = changed(class_recipe("pictures", "tokenizer"), {"run.precision": precision, "run.steps": 1})
        run(recipe, Path(str(precision)))
    told = [text for text in caplog.messages if "faster in float32; leave it out" in text]
    assert len(told) == (not fast)


def test_speed_is_of_all_processes_and_its_share_of_one_device() -> None:
    meter = Meter(10, peak=1e6)
    meter.add({"loss": (3.0, 2)}, samples=2, tokens=20, operations=1e5, waited=0.0)
    meter.add({"loss": (1.0, 2)}, samples=2, tokens=20, operations=1e5, waited=0.0)
    totals, speed = meter.take(2, torch.device("cpu"), processes=4)
    assert totals == {"loss": (4.0, 4)}
    seconds = 16 / speed["samples_per_s"]
    assert speed["tokens_per_s"] == pytest.approx(160 / seconds)
    assert speed["flop_per_s"] == pytest.approx(8e5 / seconds)
    assert speed["peak_share"] == pytest.approx(2e5 / seconds / 1e6)
    assert speed["seconds_left"] == pytest.approx(4 * seconds)


def test_a_peak_is_that_of_the_number_format() -> None:
    assert matmul_peak(torch.device("cpu"), torch.float32) > 1e8


def test_trackers_are_told_figures_and_settings(place: Path) -> None:
    recipe = changed(class_recipe("pictures", "tokenizer"), {"run.trackers": ("tensorboard",), "run.steps": 2})
    run(recipe, Path("a"))
    events = EventAccumulator(str(Path("a/trackers") / recipe.name)).Reload()
    said = [row["loss"] for row in log_rows(Path("a"))]
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [
        (step, pytest.approx(loss, abs=1e-5)) for step, loss in enumerate(said, 1)
    ]
    (settings,) = Path("a/trackers").rglob("hparams.yml")
    assert "network.width: 16" in settings.read_text()


@pytest.mark.filterwarnings("ignore:.*no supported trackers")
def test_a_tracker_that_is_not_there_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    recipe = changed(class_recipe("pictures", "tokenizer"), {"run.trackers": ("tensorboard", "wandb")})
    with pytest.raises(ConfigError, match="trackers: the package tensorboard is not installed"):
        run(recipe, Path("a"))


@pytest.mark.parametrize("kind", ["tokenizer", "class", "text"])
def test_distances_are_measured_as_often_as_asked(captioned: Path, kind: str) -> None:
    if kind != "text":
        for path in captioned.glob("pictures/*/*.txt"):
            path.unlink()
    recipes: dict[str, Any] = {
        "tokenizer": tokenizer_recipe("pictures"),
        "class": class_recipe("pictures", "tokenizer"),
        "text": text_recipe("pictures", "tokenizer", "words"),
    }
    values = {"run.steps": 5, "run.distance_every": 2, "run.distance_pictures": 3, "optimizer.lr": 1e-30}
    run(changed(recipes[kind], values), Path("a"))
    found = {row["step"]: row["distance"] for row in log_rows(Path("a")) if "distance" in row}
    assert list(found) == [2, 4]
    assert found[2] == pytest.approx(found[4], rel=1e-4)  # the same model gives the same distance
    assert found[2] > 0


@pytest.mark.parametrize("kind", ["tokenizer", "text"])
def test_samples_that_cannot_be_read_are_left_out_of_distances_and_sheets(captioned: Path, kind: str) -> None:
    (captioned / "pictures/left/1.png").write_bytes(b"no picture")
    (captioned / "pictures/left/3.txt").write_text("\u732b")  # no word that the table has
    recipe = tokenizer_recipe("pictures") if kind == "tokenizer" else text_recipe("pictures", "tokenizer", "words")
    values = {
        "run.steps": 1,
        "run.distance_every": 1,
        "run.distance_pictures": 8,
        "run.sheet_every": 1,
        "data.most_bad": 0.9,
    }
    run(changed(recipe, values), Path("a"))
    (distance,) = [row["distance"] for row in log_rows(Path("a")) if "distance" in row]
    assert distance > 0
    assert len(list(Path("a/samples").iterdir())) == 1


def test_the_checkpoint_of_a_step_comes_before_its_distance(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Distance) -> float:
        assert [path.name for path in Path("a").glob("step-*")] == ["step-00000002"]
        raise KeyboardInterrupt

    monkeypatch.setattr(Distance, "measure", killed)
    values = {"run.steps": 4, "run.save_every": 2, "run.distance_every": 2, "run.distance_pictures": 3}
    with pytest.raises(KeyboardInterrupt):
        run(changed(tokenizer_recipe("pictures"), values), Path("a"))


def test_prompts_of_sheets_that_cannot_be_read_are_refused_at_the_start(captioned: Path) -> None:
    recipe = changed(text_recipe("pictures", "tokenizer", "words"), {"sheet_prompts": ("left", "\u732b")})
    with pytest.raises(ConfigError, match="sheet_prompts: prompt '\u732b': holds no word"):
        run(recipe, Path("a"))
    assert not list(Path("a").glob("step-*"))


def test_a_distance_is_0_where_the_model_makes_the_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenizerTask, "made", TokenizerTask.real)
    run(
        changed(tokenizer_recipe("pictures"), {"run.steps": 1, "run.distance_every": 1, "run.distance_pictures": 3}),
        Path("a"),
    )
    (distance,) = [row["distance"] for row in log_rows(Path("a")) if "distance" in row]
    assert distance == pytest.approx(0, abs=1e-6)
