"""Doing something again: --resume skips what is done, --like repeats pictures, contact sheets and clips."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grn.codes import PackedCodes
from grn.media import read_image, read_note, write_image


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# --resume


def test_tokenize_goes_on(grn: Any, here: Path, tokenizer: Path) -> None:
    (here / "in").mkdir()
    for name in ("photo.png", "second.png", "clip.mp4"):
        (here / name).rename(here / "in" / name)

    def run(*options: object) -> set[str]:
        before = stamps(here / "out") if (here / "out").is_dir() else {}
        outcome = grn("tokenize", "in", "-o", "out", "--tokenizer", tokenizer, "--resume", *options)
        assert (outcome.code, len(outcome.text.split())) == (0, 3)
        return {name for name, stamp in stamps(here / "out").items() if before.get(name) != stamp}

    everything = {"photo.npz", "second.npz", "clip.npz"}
    assert run() == everything
    assert run() == set()
    (here / "out" / "second.npz").unlink()
    assert run() == {"second.npz"}
    damaged = (here / "out" / "photo.npz").read_bytes()[:-9]
    (here / "out" / "photo.npz").write_bytes(damaged)
    assert run("--force") == {"photo.npz"}
    write_image(here / "in" / "photo.png", np.zeros((32, 32, 3), np.uint8))
    assert run("--force") == {"photo.npz"}
    assert run("--rounds", 2, "--force") == everything
    assert run("--rounds", 2, "--start", 0.1, "--force") == everything
    assert run("--rounds", 2, "--start", 0.1, "--dtype", "bfloat16", "--force") == everything
    assert stamps(here / "out").keys() == everything


def test_codes_of_a_pipe_have_no_source(grn: Any, here: Path, tokenizer: Path) -> None:
    (here / "made.npz").write_bytes(
        grn("tokenize", "-", "-o", "-", "--tokenizer", tokenizer, stdin=(here / "photo.png").read_bytes()).out
    )
    grn("tokenize", "photo.png", "--tokenizer", tokenizer)
    piped, named = PackedCodes.load(here / "made.npz"), PackedCodes.load(here / "photo.npz")
    assert (piped.source, len(named.source)) == ("", 64)
    assert list(map(bytes, piped.planes)) == list(map(bytes, named.planes))


def test_generate_goes_on(draw: Any, tmp_path: Path, words: Path, tokenizer: Path, other_tokenizer: Path) -> None:
    base = ("cat", "dog", "-n", 2, "--steps", 2, "-o", "out", "--resume")
    names = "out/cat-0.png\nout/cat-1.png\nout/dog-0.png\nout/dog-1.png\n"
    assert draw(*base).text == names
    before = stamps(tmp_path / "out")
    again = draw(*base)
    assert sorted(again.text.splitlines()) == names.splitlines()
    assert stamps(tmp_path / "out") == before
    (tmp_path / "out" / "dog-0.png").unlink()
    assert draw(*base).code == 0
    assert {name for name, stamp in stamps(tmp_path / "out").items() if before[name] != stamp} == {"dog-0.png"}
    changed = draw(*base, "--temperature", 0.5)
    assert changed.text == names.replace(".png", "-2.png")
    assert draw(*base, "--grid").code == 2
    # With other parts they are other pictures, and with the same ones again the same.
    parts = [("--tokenizer", tokenizer), ("--tokenizer", other_tokenizer), ("--text-encoder", words / "text_encoder")]
    for number, part in enumerate(parts, 3):
        expected = sorted(names.replace(".png", f"-{number}.png").splitlines())
        assert draw(*base, *part).text.splitlines() == expected
        assert draw(*base).text.splitlines() == sorted(names.splitlines())


# --like


def test_like_repeats_a_contact_sheet(draw: Any, tmp_path: Path) -> None:
    draw("cat", "red dog", "-n", 2, "--seed", 3, "--steps", 2, "--guidance", 3, "--grid", "-o", "x.png")
    assert draw("--like", "x.png", "-o", "again.png").text == "again.png\n"
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "x.png").read_bytes()


@pytest.mark.parametrize("given", ["--dtype bfloat16", "--dtype bfloat16 --tokenizer-dtype float32"])
def test_like_repeats_in_the_number_format_of_the_picture(draw: Any, tmp_path: Path, given: str) -> None:
    draw("cat", "--steps", 2, *given.split(), "-o", "x.png")
    record = json.loads(draw("--like", "x.png", "-o", "again.png", "--json").text)
    assert record["dtype"] == "bfloat16"  # where float32 is the default
    assert json.loads(read_note(tmp_path / "x.png")).get("tokenizer_dtype") == ("float32" if "t32" in given else None)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "x.png").read_bytes()
    assert json.loads(draw("--like", "x.png", "--dtype", "float32", "-o", "b.png", "--json").text)["dtype"] == "float32"


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_like_takes_other_formats(draw: Any, tmp_path: Path, suffix: str) -> None:
    draw("cat", "--steps", 2, "-o", f"x.{suffix}")
    assert draw("--like", f"x.{suffix}", "-o", "again.png").code == 0
    draw("cat", "--steps", 2, "-o", "plain.png")
    assert np.array_equal(read_image(tmp_path / "again.png"), read_image(tmp_path / "plain.png"))


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "webp"])
def test_like_repeats_a_clip(
    grn: Any, clips_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = ("cat", "--seconds", 1, "--seed", 2, "--steps", 2, "-m", clips_model, "-o", f"x.{suffix}")
    assert grn("generate", *made).code == 0
    record = json.loads(read_note(tmp_path / f"x.{suffix}"))
    assert (record["prompt"], record["seed"], record["fps"]) == ("cat", 2, 4)
    assert grn("generate", "--like", f"x.{suffix}", "-o", f"again.{suffix}").code == 0
    assert (tmp_path / f"again.{suffix}").read_bytes() == (tmp_path / f"x.{suffix}").read_bytes()
