"""The documents that are made from the app: up to date, with every key described."""

from pathlib import Path

import pytest

from grn.training.recipe import GeneratorRecipe, TokenizerRecipe
from tools import reference

DOCS = Path(__file__).parents[2] / "docs"


def test_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check", str(DOCS)]) == 0, capsys.readouterr().err


def test_check_finds_a_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "commands.md").write_text("# Old\n")
    assert reference.main(["--check", str(tmp_path)]) == 1
    assert "commands.md: differs from the app" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [TokenizerRecipe, GeneratorRecipe])
def test_every_key_of_a_recipe_has_a_description(recipe: type) -> None:
    found = {section: reference.keys(model) for section, model in reference.sections(recipe)}
    assert {"data", "data.sources[]", "run", "optimizer", "network"} <= found.keys()
    assert not [f"{section}.{key}" for section, keys in found.items() for key, field in keys if not field.description]
