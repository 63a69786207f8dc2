"""`grn eval sweep`: every setting on the same seeds, kept and continued, as a table and as curves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.pipeline import Pipeline


class Script(torch.nn.Module):
    """Stands for Inception: three features."""

    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        means = img.float().mean((2, 3))
        return means if return_features else (means / 32).softmax(1)


@pytest.fixture
def base(here: Path, classes: Path) -> tuple[Any, ...]:
    torch.jit.save(torch.jit.script(Script()), "tiny.pt")
    np.savez("real.npz", np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8))
    return ("eval", "sweep", "-m", classes, "--reference", "real.npz", "-n", "4", "--inception", "tiny.pt", "--json")


def test_every_setting_is_drawn_from_the_same_seeds_and_kept(
    grn: Any, base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    stream = Pipeline.stream

    def noted(self: Pipeline, prompts: Any, **options: Any) -> Any:
        settings = {name: options[name] for name in ("guidance", "steps", "adaptive") if name in options}
        calls.append((list(prompts), list(options["seed"]), settings))
        return stream(self, prompts, **options)

    monkeypatch.setattr(Pipeline, "stream", noted)
    line = (*base, "--steps", "1,2", "--guidance", "1:2:1", "--repeats", "2", "-o", "kept")
    record = json.loads(grn(*line, "--plot", "curves.png").text)
    assert [(point["steps"], point["guidance"]) for point in record["points"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [seeds for _, seeds, _ in calls] == [[0, 1, 2, 3], [4, 5, 6, 7]] * 4
    assert all(settings["adaptive"] is False for *_, settings in calls)
    distances = [point["frechet_inception_distance"] for point in record["points"]]
    assert record["best"]["frechet_inception_distance"] == min(distances)
    assert len(set(distances)) == 4
    assert all(point["frechet_inception_distance_interval"] > 0 for point in record["points"])
    assert Path("curves.png").read_bytes()[:4] == b"\x89PNG"
    calls.clear()
    (Path("kept") / "report.json").unlink()
    again = json.loads(grn(*line).text)
    assert (again["points"], calls) == (record["points"], [])


def test_a_random_search_tries_some_and_prints_a_table(grn: Any, base: Any) -> None:
    line = [word for word in base if word != "--json"]
    text = grn(*line, "--steps", "1", "--guidance", "1:5:1", "--random", "2", "--markdown").text
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    assert len(rows) == 4
    assert sum("best" in row for row in rows) == 1
    titles = [title.strip() for title in rows[0].split("|")[1:-2]]
    assert len({*titles}) == len(titles) == 5  # the steps that are set, and their mean
    assert "4 pictures a setting" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to try"),
        (("--guidance", "1:2"), "--guidance: '1:2': no values to try"),
        (("--selection", "random,best"), "selection"),
        (("--tmin", "60"), "tmin 60 is above tmax"),
    ],
)
def test_refusals_come_before_anything_is_drawn(grn: Any, base: Any, options: Any, message: str) -> None:
    outcome = grn(*base, *options)
    assert (outcome.code, outcome.out) == (2, b"")
    assert message in outcome.err
