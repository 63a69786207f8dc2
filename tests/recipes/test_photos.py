"""The recipe for one's own pictures: trains on class folders as it is, but for its size, and draws by their names."""

from pathlib import Path
from typing import Any

import pytest
from helpers.training import changed, make_pictures, run

from grn.pipeline import Pipeline
from grn.training.recipe import GeneratorRecipe, load_recipe
from grn.training.run import parameters

RECIPE = Path(__file__).parents[2] / "recipes" / "photos-tiny.toml"


def test_class_folders_become_a_generator_that_knows_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "photos", 4)
    recipe: Any = load_recipe(RECIPE)
    assert isinstance(recipe, GeneratorRecipe)
    assert parameters(recipe) / 1e6 == pytest.approx(4.2, abs=0.1)
    small = {"network.depth": 3, "network.num_classes": 2, "run.batch_size": 2, "run.steps": 1, "sampling.steps": 2}
    rows = run(changed(recipe, small | {"optimizer.decay_steps": 0, "optimizer.final_lr": 1.0}), Path("run"))
    assert [row["step"] for row in rows] == [1]
    pipeline = Pipeline.from_pretrained(Path("run/final"))
    assert pipeline.class_names == ("left", "right")
    (result,) = pipeline([1])
    assert result.frames.shape == (1, 128, 128, 3)
