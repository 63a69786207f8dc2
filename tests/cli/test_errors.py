"""What the library says and what the command adds: facts there, the remedy in the command's own words here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from grn import errors
from grn_cli.errors import message

ROOT = Path(__file__).parents[2]
SPOKEN = re.compile(r"(?<![\w-])--[a-z]|\bgrn (?:tokenize|reconstruct|generate|train|eval|models|inspect|env)\b")


def spoken(source: str) -> Iterator[str]:
    """Texts of a module, docstrings apart, that speak of options or commands."""
    tree = ast.parse(source)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield from SPOKEN.findall(node.value)


def test_what_is_spoken_is_found() -> None:
    assert list(spoken('"""Of `grn tokenize --rounds`."""\nraise E(f"{x}: give it with --name")')) == ["--n"]
    assert list(spoken('x = "run grn models pull"')) == ["grn models"]


@pytest.mark.parametrize("path", sorted((ROOT / "grn").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_speaks_no_command_line(path: Path) -> None:
    assert list(spoken(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            errors.ModelMismatchError("the codes were made with a (1) and this tokenizer is b (2)"),
            "--tokenizer, or --force",
        ),
        (errors.BadInputError("a.mp4: is cut off; get a copy, or allow partial input to use it"), "--allow-partial"),
        (errors.BadInputError("p: is a pipe (expected a file); give the bytes as a stream"), "standard input"),
        (errors.UsageError("/dev/null: is not a regular file; write to a file or to a stream"), "standard output"),
        (errors.UsageError("9 is no class of grn-b (expected 0 to 4)"), "give another --class"),
        (errors.BadInputError("x.npz: no such statistics file"), "grn eval stats"),
        (errors.ModelMismatchError("the statistics come from different networks, a and b"), "the same --features"),
        (errors.EnvironmentFaultError("a plot needs matplotlib, which is not installed"), "leave out --plot"),
        (errors.ModelNotFoundError("x: needs its tokenizer.json", lack="vocabulary"), "--vocabulary"),
        (errors.ModelNotFoundError("x: not here", name="x", lack="network"), "`grn models pull x`"),
        (errors.ModelNotFoundError("x: is a file", name="x", lack="folder"), "grn models convert"),
        (errors.ModelNotFoundError("x: gone", name="x", lack="files"), "grn models convert FILE -o FOLDER --name x"),
        (errors.UndecidedError("x: a text model", "text_attention", ("a", "b")), "--text-attention a|b"),
        (errors.UndecidedError("x: no such network", "context_start"), "--context-start CONTEXT_START"),
        (errors.BusyError("x: in use", Path("x"), ""), "-o"),
    ],
)
def test_remedies_are_added(error: errors.GrnError, remedy: str) -> None:
    text = message(error)
    assert text.startswith(f"{error}; ")
    assert remedy in text


def test_other_errors_stay_as_they_are() -> None:
    assert message(errors.UsageError("steps 0: too few")) == "steps 0: too few"
