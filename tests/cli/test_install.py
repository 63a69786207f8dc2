"""What is installed: the package wins over a folder of its name, recipes and completions come with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grn.hub.resolve import resolve
from grn.training.recipe import GeneratorRecipe, load_recipe
from grn_cli import recipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_import_beside_a_clone_named_grn(tmp_path: Path) -> None:
    """An editable install by path is found after the current folder, whose `grn` has no __init__.py of the package."""
    (tmp_path / "grn" / "grn").mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import grn; print(grn.__version__)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0.1.0\n"
    # With this and no package elsewhere, setuptools installs a path; else a finder that comes after the namespace.
    assert SETUPTOOLS["package-dir"] == {"": "."}


def test_recipes_and_completions_are_installed() -> None:
    installed = {path for patterns in SETUPTOOLS["data-files"].values() for one in patterns for path in ROOT.glob(one)}
    wanted = {*(ROOT / "recipes").rglob("*.toml"), *(ROOT / "completions").iterdir()}
    assert wanted <= installed


def test_recipes_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipes.find("emoji/generator") == ROOT / "recipes" / "emoji" / "generator.toml"
    assert {"emoji/generator", "paper/grn-b"} <= {*recipes.names()}
    assert recipes.find("mine.toml") == Path("mine.toml")
    (tmp_path / "emoji").mkdir()
    (tmp_path / "emoji" / "generator").touch()
    assert recipes.find("emoji/generator") == Path("emoji/generator")  # what is there comes first


@pytest.mark.parametrize("name", ["grn", "grn_cli"])
def test_runs_as_a_module(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", name, "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("grn 0.1.0\n", "")


def test_the_emoji_recipe_needs_nothing_but_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data apart: in an empty folder a dry run finds the recipe, the tokenizer and the words by their names."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(recipes.find("emoji/generator"))
    assert isinstance(recipe, GeneratorRecipe)
    for name, kind in ((recipe.tokenizer, "tokenizer"), (recipe.text_encoder, "text-encoder")):
        assert resolve(str(name), offline=True, kind=kind).source == "embedded"
