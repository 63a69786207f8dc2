"""Names of what commands write."""

from pathlib import Path
from typing import Any

import pytest


def test_the_longest_names(grn: Any, tokenizer: Path, here: Path) -> None:
    """A name that has no room for the longer suffix, or a number, is cut."""
    name = "a" * 252
    (here / f"{name}.ts").write_bytes((here / "photo.png").read_bytes())
    assert grn("tokenize", f"{name}.ts", "photo.png", "--tokenizer", tokenizer).text == f"{name[1:]}.npz\nphoto.npz\n"
    assert grn("tokenize", f"{name}.ts", "--tokenizer", tokenizer).text == f"{name[3:]}-2.npz\n"
    assert (here / f"{name[3:]}-2.npz").read_bytes() == (here / f"{name[1:]}.npz").read_bytes()


def test_an_input_is_never_overwritten_by_its_own_result(grn: Any, tokenizer: Path, here: Path) -> None:
    picture = (here / "photo.png").read_bytes()
    (here / "odd.npz").write_bytes(picture)  # a picture of such a name
    refused = grn("tokenize", "odd.npz", "-o", "odd.npz", "--force", "--tokenizer", tokenizer)
    assert (refused.code, refused.err) == (2, "grn: error: odd.npz: is the input itself; choose another name\n")
    assert grn("tokenize", "odd.npz", "--force", "--tokenizer", tokenizer).text == "odd-2.npz\n"
    assert (here / "odd.npz").read_bytes() == picture


def test_wildcards_take_nothing_hidden_unless_asked_for(grn: Any, tokenizer: Path, here: Path) -> None:
    (here / ".near").mkdir()
    for name in (".photo.png", ".near/far.png"):
        (here / name).write_bytes((here / "photo.png").read_bytes())
    line = ["-o", "out", "--tokenizer", tokenizer]
    assert grn("tokenize", "[ps]*.png", *line).text == "out/photo.npz\nout/second.npz\n"
    assert grn("tokenize", "**/*ar.png", *line).code == 3
    assert grn("tokenize", ".*/*.png", *line).text == "out/far.npz\n"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is the folder in which nobody may make files")
@pytest.mark.parametrize("out", ["-o /proc/x.png", "-o /proc/", "-o /proc/x/y/", "--history /proc/h.gif"])
def test_what_cannot_be_written_is_said_before_anything_is_loaded(
    grn: Any, monkeypatch: pytest.MonkeyPatch, here: Path, out: str
) -> None:
    monkeypatch.setattr("grn_cli.generate.draw.load_pipeline", lambda *_: pytest.fail("it is loaded"))
    outcome = grn("generate", "cat", *out.split())
    assert outcome.code == 5
    assert outcome.err.startswith("grn: error: /proc")
    assert "cannot be written" in outcome.err or "does not exist" in outcome.err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="as above")
def test_the_current_folder_is_tried_first_too(grn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    monkeypatch.setattr("grn_cli.generate.draw.load_pipeline", lambda *_: pytest.fail("it is loaded"))
    assert grn("generate", "cat").code == 5
