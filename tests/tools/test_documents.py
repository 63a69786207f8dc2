"""What documents say holds: commands exist, links lead somewhere, names of the map are in the files, code runs."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from grn.codes import Codes
from tools import completions

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("benchmarks/README.md", "recipes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "grn" / "models" / "embedded").rglob("README.md")),
]
KNOWN = {command.path: command for command in completions.walk()}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(text: str) -> Iterator[str]:
    """Each `grn ...` call in a block of shell lines or between backquotes, options and all."""
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
    assert not {call: words for call, words in wrong.items() if words and path.name != "CHANGELOG.md"}


def test_examples_of_the_help_exist() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    examples = [line.strip() for line in text.splitlines() if line.startswith("  grn ")]
    assert len(examples) > 30
    assert not [line for line in examples for call in shown(f"```sh\n{line}\n```") if unknown(call)]


def test_commands_shown_overwrite_nothing_that_comes_with_the_checkout() -> None:
    """Else the first who tries one is told that the file exists."""
    for call in shown(README):
        words = shlex.split(call)
        outs = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--history")]
        assert not [out for out in outs if (ROOT / out).is_file() and "/" in out], call


def test_two_lines_set_everything_up() -> None:
    """On the first screen; `.ci/run` runs them as they are written."""
    lines = README.splitlines()
    assert len(lines) <= 300
    for name, end in (("picture", '"a cat" --adaptive --tmin 10 -o cat.png'), ("tests", "/pytest -n 2")):
        line = lines[lines.index(f"<!-- line: {name} -->", 0, 20) + 2]
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e ")
        assert line.endswith(end)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_number_is_left_to_be_filled_in(path: Path) -> None:
    assert re.findall(r"\[fill: [^]]*\]", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_files_exist(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


def anchors(text: str) -> set[str]:
    """Where a link to a heading of this document may lead, as GitHub names the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_headings_exist(path: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text(encoding="utf-8")):
        assert anchor in anchors((path.parent / file if file else path).read_text(encoding="utf-8")), f"{file}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(path: Path) -> None:
    spans = re.findall(r"`((?:grn|grn_cli|tests|tools|recipes|docs|benchmarks)/[\w./-]*)`", path.read_text("utf-8"))
    assert not [span for span in spans if not (ROOT / span).exists()]


def test_the_map_names_what_the_files_define() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"`(grn/\S+\.py)`: (`.*?`) \|", text)
    assert len(rows) >= 9
    for file, names in rows:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE), f"{file}: {name}"
    places = {f"grn/{path.relative_to(ROOT / 'grn').parts[0]}" for path in (ROOT / "grn").rglob("*.py")}
    missing = [place for place in places if f"`{place}`" not in text and f"`{place}/`" not in text]
    assert set(missing) <= {"grn/__init__.py", "grn/__main__.py"}


def test_all_folders_of_the_cache_are_told() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(\w+)/", text.split("## The cache")[1].split("\n## ")[0]))
    sources = [path.read_text(encoding="utf-8") for room in ("grn", "grn_cli") for path in (ROOT / room).rglob("*.py")]
    made = {name for source in sources for name in re.findall(r'\bcache_folder\(f?"(\w+)', source)}
    assert told == made


def test_the_plain_reader_of_codes_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With numpy alone, as docs/formats.md shows it."""
    monkeypatch.chdir(tmp_path)
    indices = np.random.default_rng(0).integers(0, 8, (2, 3, 5, 7)).astype(np.uint16)
    Codes(indices, 3, "video", 24, 40, 2, 12.0, "some", "0" * 64).save(Path("codes.npz"))
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "formats.md").read_text(encoding="utf-8"), re.DOTALL)
    assert set(re.findall(r"^import (\w+)", code, re.MULTILINE)) == {"json", "numpy"}
    Path("reader.py").write_text(code)
    found = runpy.run_path("reader.py")
    assert np.array_equal(found["indices"], indices)
    assert found["meta"]["kind"] == "video"
    assert np.abs(found["features"]).max() < 1
