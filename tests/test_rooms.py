"""The rooms of the house: imports run one way, from what a user holds down to the arithmetic, and nothing runs in a circle."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a module imports only from its own room and from those above it in this list.
ROOMS = (
    "grn.errors",
    "grn.validation",
    "grn.files",
    "grn.digests",
    "grn.devices",
    "grn.hbq",
    "grn.codes",
    "grn.media",
    "grn.networks",
    "grn.refine",
    "grn.models",
    "grn.hub",
    "grn.features",
    "grn.text",
    "grn.tokenizer",
    "grn.generator",
    "grn.progress",
    "grn.prompts",
    "grn.request",
    "grn.result",
    "grn.pipeline",
    "grn.editing",
    "grn.data",
    "grn.evaluation",
    "grn.training",
    "grn_cli",
)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the package and the command."""
    found = {}
    for top in ("grn", "grn_cli"):
        for path in (root / top).rglob("*.py"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(source: str) -> Iterator[str]:
    """What a module imports, wherever in it: of `from a import b` both a.b and a, whichever is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                yield node.module


def arrows() -> dict[str, set[str]]:
    """For each of our modules, those of ours that it imports."""
    known = modules()
    del known["grn"]  # it names what users hold, and imports each when it is asked for
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = {target for target in imported(path.read_text(encoding="utf-8")) if target in known}
        # `from grn import hbq` is an arrow to grn.hbq, not to the package; so is `from grn.codes import container`.
        packages = {target for target in targets if any(other.startswith(f"{target}.") for other in targets)}
        found[name] = targets - {name} - {package for package in packages if package == name.rpartition(".")[0]}
    return found


def room(module: str) -> int:
    """The number of the room that a module is in."""
    matching = [i for i, name in enumerate(ROOMS) if module == name or module.startswith(f"{name}.")]
    return matching[-1] if matching else pytest.fail(f"{module} is in no room; add its room to ROOMS")


def test_no_import_runs_up() -> None:
    up = [
        f"{name} -> {target}" for name, targets in arrows().items() for target in targets if room(target) > room(name)
    ]
    assert up == []


def test_no_circle() -> None:
    graph = arrows()
    # A package that gathers its own modules' names is no circle with them.
    graph = {name: {t for t in targets if not name.startswith(f"{t}.")} for name, targets in graph.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_map_has_the_rooms_in_their_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where")[0]
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    shown = [re.sub(r"\.py$|/$", "", path).replace("/", ".") for cell in cells for path in re.findall("`(.*?)`", cell)]
    assert [name for name in shown if name != "grn_cli.options"] == list(ROOMS)


def test_an_arrow_up_is_seen() -> None:
    assert list(imported("def f():\n    from grn.pipeline import Pipeline")) == [
        "grn.pipeline.Pipeline",
        "grn.pipeline",
    ]
    assert room("grn.pipeline") > room("grn.networks.layers") > room("grn.hbq")
