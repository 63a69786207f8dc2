"""The completion scripts: up to date, and offering what the shells' own machinery should offer."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import completions
from tools.completions import Value, parse_metavar

FOLDER = Path(__file__).parents[2] / "completions"


@pytest.mark.parametrize(
    ("metavar", "value"),
    [
        (None, Value()),
        ("N|WxH", Value()),
        ("FILE|FOLDER|-", Value(files=True)),
        ("auto|cpu|cuda[:N]", Value(("auto", "cpu", "cuda"))),
        ("1..3", Value(("1", "2", "3"))),
        ("CODES", Value(files=True)),
    ],
)
def test_metavars(metavar: str | None, value: Value) -> None:
    assert parse_metavar(metavar) == value


def test_names_of_models_are_offered() -> None:
    value = parse_metavar("TOKENIZER|FOLDER")
    assert "hbq-16" in value.words
    assert "emoji" not in value.words
    assert value.files


def test_every_option_of_every_command_is_in_every_script() -> None:
    scripts = completions.scripts()
    for command in completions.walk():
        for option in command.options:
            for name in option.names:
                assert name in scripts["grn.bash"]
                assert name in scripts["_grn"]
                assert (f" -l {name[2:]} " if name.startswith("--") else f" -s {name[1:]} ") in scripts["grn.fish"]


def test_scripts_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert completions.main(["--check", str(FOLDER)]) == 0, capsys.readouterr().err


def test_check_finds_a_stale_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert completions.main([str(tmp_path)]) == 0
    assert completions.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "_grn").write_text("#compdef grn\n")
    assert completions.main(["--check", str(tmp_path)]) == 1
    assert "_grn: differs from the app" in capsys.readouterr().err


LINES = [
    ("grn tok", {"tokenize"}),
    ("grn eval r", {"recon", "report"}),
    ("grn models ", {"list", "show", "pull", "convert", "calibrate"}),
    ("grn tokenize --roun", {"--rounds"}),
    ("grn tokenize --rounds 1", {"1", *map(str, range(10, 17))}),
    ("grn tokenize x.png --device c", {"cpu", "cuda"}),
    ("grn reconstruct --tokenizer hbq", {"hbq-16", "hbq-64"}),
    ("grn models show grn-t", {"grn-t2i", "grn-t2v"}),
    ("grn tokenize --fps ", set()),
]


def bash(line: str) -> set[str]:
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    # compopt works only inside a real completion, so its complaints are dropped.
    script = f"source {FOLDER / 'grn.bash'}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _grn 2>/dev/null; "
    done = subprocess.run(["bash", "-c", script + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True)
    return {*done.stdout.split()}


def fish(line: str) -> set[str]:
    script = f"source {FOLDER / 'grn.fish'}; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    return {offer.split("\t")[0] for offer in done.stdout.splitlines()}


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(("line", "offers"), LINES)
def test_bash(line: str, offers: set[str]) -> None:
    assert bash(line) == offers


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
@pytest.mark.parametrize(("line", "offers"), LINES)
def test_fish(line: str, offers: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an empty folder: no files to offer
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fish(line) == offers


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish_offers_files_where_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photo.png").touch()
    assert fish("grn tokenize ph") == {"photo.png"}
    assert fish("grn tokenize -o ph") == {"photo.png"}
    assert fish("grn models list ph") == set()


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh_parses() -> None:
    subprocess.run(["zsh", "-n", str(FOLDER / "_grn")], check=True)
