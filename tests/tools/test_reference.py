"""The documents keep up with the app: the README's help, and every `grn` command line that a document shows."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import completions, reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "benchmarks/README.md", "recipes/README.md")),
    *sorted((ROOT / "grn" / "models" / "embedded").rglob("README.md")),
]
KNOWN = {command.path: command for command in completions.walk()}


def test_help_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check", str(ROOT / "README.md")]) == 0, capsys.readouterr().err


def test_check_finds_stale_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{reference.BEGIN}\nstale text\n{reference.END}\nafter\n")
    assert reference.main(["--check", str(path)]) == 1
    assert "differs from the app's" in capsys.readouterr().err
    assert reference.main([str(path)]) == 0
    assert reference.main(["--check", str(path)]) == 0
    text = path.read_text()
    assert text.startswith(f"before\n{reference.BEGIN}\n")
    assert text.endswith(f"{reference.END}\nafter\n")
    assert "stale text" not in text
    assert "grn tokenize --help" in text


def test_marks_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing\n")
    assert reference.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("readme: error: ")
    assert path.read_text() == "nothing\n"


def shown(text: str) -> Iterator[str]:
    """Each `grn ...` call in a block of shell lines or between backquotes, options and all."""
    text = text.partition(reference.BEGIN)[0] + text.partition(reference.END)[2]
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in [*"".join(blocks).replace("\\\n", " ").splitlines(), *spans]:
        for call in re.split(r"&&|\||;", line.removeprefix("$ ")):
            if found := re.match(r"\s*(?:\S*/)?grn ((?![.\[])\S.*)", call.split(" #")[0]):
                yield found[1]


def unknown(call: str) -> list[str]:
    """Words of a call that are no command and no option of it."""
    words = [word for word in shlex.split(call, posix=True) if word != "..."]
    path: tuple[str, ...] = ()
    while len(words) > len(path) and (*path, words[len(path)]) in KNOWN:
        path = (*path, words[len(path)])
    command = KNOWN[path]
    rest = words[len(path) :]
    if command.commands and rest and not rest[0].startswith("-"):
        return [rest[0]]
    options = {name for option in command.options for name in option.names}
    return [word for word in rest if re.match(r"-[-a-zA-Z]", word) and word.split("=")[0] not in options]


def test_unknown_words_are_found() -> None:
    text = (
        "`grn tokenise x`, `grn tokenize x --roundz 3`\n```sh\ngrn tokenize x --rounds 3 | grn reconstruct - -z\n```\n"
    )
    found = [unknown(call) for call in shown(text)]
    assert sorted(map(tuple, found)) == [(), ("--roundz",), ("-z",), ("tokenise",)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_shown_exist(path: Path) -> None:
    wrong = {call: unknown(call) for call in shown(path.read_text(encoding="utf-8"))}
    assert not {call: words for call, words in wrong.items() if words}


def test_commands_shown_overwrite_nothing_that_comes_with_the_checkout() -> None:
    """Else the first who tries one is told that the file exists."""
    for call in shown((ROOT / "README.md").read_text(encoding="utf-8")):
        words = shlex.split(call)
        outs = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--history")]
        assert not [out for out in outs if (ROOT / out).is_file() and "/" in out], call


def test_two_lines_set_everything_up() -> None:
    """On the first screen; `.ci/run` runs them as they are written."""
    top = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20]
    for name, end in (("picture", '"a cat" --adaptive --tmin 10 -o cat.png'), ("tests", "/pytest -n 2")):
        line = top[top.index(f"<!-- line: {name} -->") + 2]
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e ")
        assert line.endswith(end)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_number_is_left_to_be_filled_in(path: Path) -> None:
    assert re.findall(r"\[fill: [^]]*\]", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_files_exist(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]
