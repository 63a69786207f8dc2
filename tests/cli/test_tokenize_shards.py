"""`grn tokenize` of tars and lists: what it writes is what training reads, made once by any number of processes."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.tars import pack, png
from helpers.training import (
    VIDEO_NETWORK,
    caption,
    changed,
    class_recipe,
    figures,
    make_clips,
    make_pictures,
    make_tokenizer,
    make_words,
    run,
)

from grn.codes import Codes
from grn.data.sources import open_source

ONE = {"run.steps": 2, "run.save_every": 2}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pictures in class folders, as a tar and in a list, and a tokenizer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    files = sorted(make_pictures(Path("pictures")).rglob("*.png"))
    pack(Path("train-00.tar"), [(str(path.relative_to("pictures")), path.read_bytes()) for path in files])
    Path("list.jsonl").write_text("".join(f'{{"file_name": "{path}", "text": "left"}}\n' for path in files))
    make_tokenizer(Path("tokenizer"))
    make_words(Path("words"))
    return tmp_path


def test_training_reads_what_it_writes(here: Path, grn: Any) -> None:
    line = ("tokenize", "train-{00..00}.tar", "--tokenizer", "tokenizer", "--size", "16", "--flip", "-o", "codes")
    outcome = grn(*line, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.text) == {"output": "codes/train-000000.tar", "samples": 8, "made": True}
    assert json.loads(grn(*line, "--json").text)["made"] is False
    recipe = changed(class_recipe("train-00.tar", "tokenizer"), ONE)
    from_codes = changed(recipe, {"data.sources": [{"path": "codes/train-{000000..000000}.tar", "codes": True}]})
    assert figures(run(recipe, Path("a"))) == figures(run(from_codes, Path("b")))
    assert Path("b/final/config.json").read_bytes() == Path("a/final/config.json").read_bytes()  # names of classes too


def test_lists_with_captions_and_a_text_encoder(here: Path, grn: Any) -> None:
    options = ("--sizes", "16x16,24x16", "--text-encoder", "words", "--tag", "right ", "--tokenizer", "tokenizer")
    assert grn("tokenize", "list.jsonl", "-o", "codes", *options).text == "codes/list-000000.tar\n"
    sample = open_source("codes", codes=True)[0]
    assert sample.captions == ("left",)
    assert set(sample.more) == {".text.safetensors"}
    outcome = grn("tokenize", "list.jsonl", "-o", "codes", *options, "--rounds", "1")
    assert (outcome.code, outcome.out) == (2, b"")
    assert "codes/list-000000.tar: is there, made of something else" in outcome.err
    assert grn("tokenize", "list.jsonl", "-o", "codes", *options, "--rounds", "1", "--force").code == 0


def test_the_processes_of_torchrun_begin_at_different_tars(
    here: Path, grn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        pack(Path(f"more-{n}.tar"), [("a.png", png(n, 16, 16))])
    monkeypatch.setattr(os, "environ", {**os.environ, "RANK": "1", "WORLD_SIZE": "2"})
    outcome = grn("tokenize", "more-*.tar", "--tokenizer", "tokenizer", "--size", "16", "-o", "codes")
    assert outcome.text.splitlines() == [f"codes/more-00000{n}.tar" for n in (2, 3, 0, 1)]
    again = grn("tokenize", "more-*.tar", "--tokenizer", "tokenizer", "--size", "16", "-o", "codes")
    assert (again.code, again.text) == (0, "")


def test_bad_samples_are_skipped_up_to_a_share(here: Path, grn: Any) -> None:
    pack(Path("bad.tar"), [("a.png", png(1, 16, 16)), ("b.png", b"no picture"), ("c.png", png(2, 16, 16))])
    line = ("tokenize", "bad.tar", "--tokenizer", "tokenizer", "--size", "16", "-o", "codes")
    outcome = grn(*line)
    assert outcome.code == 3
    assert "bad.tar: b: holds text" in outcome.err
    outcome = grn(*line, "--most-bad", "0.5", "--workers", "1")
    assert outcome.code == 0
    assert "skipped: bad.tar: b: holds text" in outcome.err
    assert len(open_source("codes", codes=True)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train-00.tar --size 16", "-o: tars of codes need a folder"),
        ("train-00.tar -o codes", "--size: training needs samples of known sizes"),
        ("train-00.tar -o codes --size 16 --frames 5", "--fps: clips are trained on at one rate"),
        ("train-00.tar -o codes --size 16 --fps 5", "--fps: is of clips, which --frames asks for"),
        ("train-00.tar -o codes --size 16 --start 5", "--start: is of files"),
        ("train-00.tar -o codes --size 16 --allow-partial", "--allow-partial: is of files"),
        ("pictures --flip", "--flip: is of tars and lists"),
        ("train-00.tar -o codes --sizes 16,x", "'x' is no size"),
    ],
)
def test_what_does_not_go_together_is_refused(here: Path, grn: Any, arguments: str, message: str) -> None:
    outcome = grn("tokenize", *arguments.split(), "--tokenizer", "tokenizer")
    assert outcome.code == 2
    assert message in outcome.err


def test_clips_keep_their_length_and_rate(here: Path, grn: Any) -> None:
    make_clips(Path("clips"))
    caption(Path("clips"))
    make_tokenizer(Path("joint"), VIDEO_NETWORK)
    files = sorted(path for path in Path("clips").iterdir() if path.suffix != ".txt")
    Path("clips.jsonl").write_text("".join(f'{{"video_path": "{path}", "text": "left"}}\n' for path in files))
    line = (
        "tokenize",
        "clips.jsonl",
        "--tokenizer",
        "joint",
        "--size",
        "16",
        "--frames",
        "9",
        "--fps",
        "10",
        "-o",
        "codes",
    )
    assert grn(*line).code == 0
    found = [Codes.load(io.BytesIO(sample.data())) for sample in open_source("codes", codes=True)]
    assert [(codes.frames, codes.fps, codes.kind) for codes in found] == [(7, 10.0, "video")] * 4
