"""The package as a whole: what importing costs, what no file may do, that recipes and pinned versions hold."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import grn
from grn.training.recipe import load_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
# Not the tests: theirs are the canaries that show what the unsafe way would do.
FILES = sorted(path for top in ("grn", "grn_cli", "recipes", "benchmarks") for path in (ROOT / top).rglob("*.py"))
RECIPES = sorted(
    path for path in (ROOT / "recipes").rglob("*.toml") if path.parent.name != "findings"
)  # those are measured
# They pin one exact build of torch, or need what does.
UNWANTED = {"torchvision", "torchaudio", "timm", "lpips", "torch_fidelity"}
UNSAFE = {("shell", True), ("allow_pickle", True), ("weights_only", False), ("trust_remote_code", True)}


def unsafe(source: str) -> Iterator[str]:
    """What runs code that came from elsewhere, or imports what the package does without."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in {"eval", "exec", "os.system"} or re.fullmatch(r"c?[pP]ickle\.(loads?|Unpickler)", name):
                yield f"{name}(), line {node.lineno}"
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in UNSAFE:
                    yield f"{keyword.arg}={keyword.value.value}, line {node.lineno}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"import of {module}" for module in modules if module.split(".")[0] in UNWANTED)


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import pickle; pickle.load(file)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file, weights_only=False)",
        "subprocess.run('ls', shell=True)",
        "import torchvision.transforms",
        "from timm import create_model",
    ],
)
def test_what_is_unsafe_is_found(source: str) -> None:
    assert list(unsafe(source))


def test_what_is_safe_is_not() -> None:
    assert not list(unsafe("model.eval(); pickle.dumps(1); torch.load(file, weights_only=True); import torch"))


def test_nothing_unsafe() -> None:
    found = {str(path.relative_to(ROOT)): list(unsafe(path.read_text(encoding="utf-8"))) for path in FILES}
    assert {path: calls for path, calls in found.items() if calls} == {}
    assert len(found) > 200


def test_importing_grn_is_light() -> None:
    script = "import sys, grn; grn.__version__; print({'torch', 'numpy', 'pydantic', 'PIL'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_name_of_the_package_is_there() -> None:
    """What is found by name at run time is what a type checker is told."""
    tree = ast.parse((ROOT / "grn" / "__init__.py").read_text(encoding="utf-8"))
    told = {
        (alias.asname, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    names = set(grn.__all__) - {"__version__"}
    assert {name for name, _ in told} == names == set(dir(grn)) - {"__version__"}
    for name, module in told:
        assert getattr(grn, name) is getattr(importlib.import_module(str(module)), name)
    with pytest.raises(AttributeError, match="has no attribute 'Pipelines'"):
        _ = grn.Pipelines


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "grn" / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["grn"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipes_parse(path: Path) -> None:
    assert load_recipe(path).name


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["plot"], *extras["emoji"]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    names = {plain(re.split(r"[\[<>=; ]", line)[0]) for line in wanted} - {"grn"}
    assert not names - {plain(name) for name in pins}
    assert pins["torch"] == "2.13.0"
    assert not {plain(name) for name in pins} & {plain(name) for name in UNWANTED}
    assert not [name for name in pins if name.startswith("nvidia")]


@pytest.mark.skipif(
    not (ROOT / "grn/models/embedded/emoji/model.safetensors").exists(), reason="the embedded generator is not here"
)
def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grn.media import read_image, write_image

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # Another test runs what needs the published weights, on small ones.
    blocks = re.findall(r"(?<!weights -->\n)```python\n(.*?)```", text, re.DOTALL)
    write_image(tmp_path / "photo.jpg.png", np.full((40, 56, 3), 200, np.uint8))
    (tmp_path / "photo.jpg.png").rename(tmp_path / "photo.jpg")  # what a file is, its bytes tell
    (tmp_path / "readme.py").write_text("".join(blocks))
    monkeypatch.chdir(tmp_path)
    runpy.run_path("readme.py")
    assert read_image(tmp_path / "a cat.png").shape == (128, 128, 3)
    assert read_image(tmp_path / "out.png").shape == (40, 56, 3)
