"""`grn tokenize` and `grn reconstruct` on real files, with a tiny untrained tokenizer."""

import io
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grn.codes import Codes, PackedCodes
from grn.media import VideoWriter, open_media, read_image, read_image_text


@pytest.fixture
def tok(grn: Any, tokenizer: Path) -> Any:
    """Run a command with the tiny tokenizer."""
    return lambda command, *arguments, **options: grn(command, *arguments, "--tokenizer", tokenizer, **options)


MISSING = "no such file"


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        ("tokenize photo.png", 0, "photo.npz\n", ""),
        ("tokenize photo.png -q", 0, "photo.npz\n", ""),
        ("tokenize photo.png -o x.npz", 0, "x.npz\n", ""),
        ("tokenize photo.png -o codes/", 0, "codes/photo.npz\n", ""),
        ("tokenize photo.png second.png", 0, "photo.npz\nsecond.npz\n", ""),
        ("tokenize *.png -o codes", 3, "codes/photo.npz\ncodes/second.npz\n", "text.png: holds text"),
        ("tokenize photo.png text.png empty.png none.png", 3, "photo.npz\n", f"none.png: {MISSING}"),
        ("tokenize text.png", 3, "", "text.png: holds text"),
        ("tokenize empty.png", 3, "", "empty.png: is empty"),
        ("tokenize none.png", 3, "", f"none.png: {MISSING}"),
        ("tokenize none*.jpg", 3, "", "none*.jpg: nothing matches"),
        ("tokenize bare", 3, "", "bare: no file in this folder ends in any of"),
        ("tokenize bare photo.png", 3, "photo.npz\n", "bare: no file in this folder"),
        ("tokenize photo.png -o photo.png", 2, "", "photo.png: exists already; choose another name, or --force"),
        ("tokenize photo.png second.png -o photo.png", 2, "", "photo.png: is a file and there are many results"),
        ("tokenize photo.png second.png -o -", 2, "", "-o -: standard output takes the result of one input only"),
        ("tokenize - -", 2, "", "-: standard input can be read only once"),
        ("tokenize photo.png --device cuda:99", 5, "", "--device cuda:99: no such device"),
        ("tokenize photo.png --background blurple", 2, "", "'blurple' is not a colour"),
        ("tokenize clip.mp4 --fps 0", 2, "", "fps: 0.0 is out of range"),
        ("tokenize clip.mp4 --start 9", 3, "", "clip.mp4: has no frame from 9 s"),
        ("tokenize photo.png -o none/x.npz", 5, "", "none/x.npz: its folder does not exist"),
        ("reconstruct none.npz", 4, "", f"none.npz: {MISSING}"),
        ("reconstruct text.png", 4, "", "text.png: is empty or not a codes file"),
        ("reconstruct bare", 3, "", "bare: no file in this folder ends in any of .npz"),
        (
            "reconstruct a.npz b.npz --reference photo.png",
            2,
            "",
            "--reference: is one file and there are many codes files",
        ),
    ],
)
def test_table(tok: Any, here: Path, arguments: str, code: int, out: str, err: str) -> None:
    (here / "bare").mkdir()
    before = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    outcome = tok(*arguments.split())
    assert outcome.text == out
    assert err in outcome.err
    assert outcome.code == code
    assert all(line.startswith("grn: error: ") for line in outcome.err.splitlines())
    assert (outcome.err == "") == (code == 0)
    assert all(path.read_bytes() == data for path, data in before.items())
    written = {path for path in here.rglob("*") if path.is_file()} - {*before}
    assert sorted(str(path.relative_to(here)) for path in written) == sorted(out.split())


def test_unknown_tokenizer(grn: Any, here: Path) -> None:
    outcome = grn("tokenize", "photo.png", "--tokenizer", "no-such-model")
    assert outcome.code == 4
    assert "no-such-model" in outcome.err
    assert outcome.err.count("\n") == 1


# What ends up in the files


def test_picture_there_and_back_has_its_size(tok: Any, here: Path) -> None:
    tok("tokenize", "photo.png", "--rounds", 6)
    codes = Codes.load(here / "photo.npz")
    assert (codes.rounds, codes.width, codes.height, codes.indices.shape) == (6, 61, 45, (1, 3, 4, 4))
    outcome = tok("reconstruct", "photo.npz", "-o", "back.png")
    assert outcome.text == "back.png\n"
    assert read_image(here / "back.png").shape == (45, 61, 3)


def test_clip_there_and_back_has_its_frames_and_rate(tok: Any, here: Path) -> None:
    assert tok("tokenize", "clip.mp4").text == "clip.npz\n"
    assert Codes.load(here / "clip.npz").frames == 7
    outcome = tok("reconstruct", "clip.npz")
    assert outcome.text == "clip-2.mp4\n"
    with open_media(here / "clip-2.mp4") as media:
        assert (media.width, media.height, media.fps) == (34, 18, 12.0)
        assert len(list(media)) == 7


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_clip_in_another_format(tok: Any, here: Path, suffix: str) -> None:
    tok("tokenize", "clip.mp4")
    tok("reconstruct", "clip.npz", "-o", f"back{suffix}")
    with open_media(here / f"back{suffix}") as media:
        assert len(list(media)) == 7


def test_pipe(tok: Any, here: Path) -> None:
    tokenized = tok("tokenize", "photo.png", "-o", "-")
    assert tokenized.err == ""
    tok("tokenize", "photo.png", "-o", "photo.npz")
    assert tokenized.out == (here / "photo.npz").read_bytes()
    outcome = tok("reconstruct", "-", "-o", "out.png", stdin=tokenized.out)
    assert (outcome.code, outcome.text) == (0, "out.png\n")
    through = tok("reconstruct", "-", "-o", "-", stdin=tokenized.out)
    assert Image.open(io.BytesIO(through.out)).tobytes() == read_image(here / "out.png").tobytes()
    # A stream has no file to be told by; all else is the same.
    piped = tok("tokenize", "-", "-o", "-", stdin=(here / "photo.png").read_bytes()).out
    same = replace(Codes.load(io.BytesIO(tokenized.out)), source="")
    assert piped == same.to_bytes()
    assert tok("tokenize", "-", stdin=(here / "photo.png").read_bytes()).text == "stdin.npz\n"


def test_clip_to_stdout(tok: Any, here: Path) -> None:
    tok("tokenize", "clip.mp4")
    (here / "back.mp4").write_bytes(tok("reconstruct", "clip.npz", "-o", "-").out)
    with open_media(here / "back.mp4") as media:
        assert len(list(media)) == 7


def test_same_input_same_bytes(tok: Any, here: Path) -> None:
    assert tok("tokenize", "photo.png", "second.png", "-o", "a").code == 0
    assert tok("tokenize", "photo.png", "-o", "b.npz").code == 0
    assert (here / "a" / "photo.npz").read_bytes() == (here / "b.npz").read_bytes()


# Each option changes something


@pytest.mark.parametrize(
    ("source", "option", "value", "field", "expected"),
    [
        ("photo.png", "--rounds", 2, "rounds", 2),
        ("photo.png", "--size", "32", "width", 32),
        ("photo.png", "--size", "48x16", "width", 48),
        ("clip.mp4", "--fps", 6, "fps", 6.0),
        ("clip.mp4", "--start", 0.25, "frames", 4),
        ("clip.mp4", "--duration", 0.25, "frames", 3),
    ],
)
def test_options(tok: Any, here: Path, source: str, option: str, value: object, field: str, expected: object) -> None:
    record = json.loads(tok("tokenize", source, option, value, "--json").text)
    assert record[field] == expected
    assert getattr(Codes.load(here / record["output"]), field) == expected


def test_options_on_clips_say_where_they_changed_nothing(tok: Any, here: Path) -> None:
    said = "grn: warning: --fps and --duration: changed nothing, for no input is a clip\n"
    asked = ("--fps", 6, "--duration", 1)
    for inputs, err in (
        (("photo.png",), said),
        (("photo.png", "second.png"), said),
        (("photo.png", "clip.mp4"), ""),
        (("photo.png", "empty.png"), ""),  # nobody knows what that was to be
    ):
        assert (
            err in (outcome := tok("tokenize", *inputs, *asked, "-o", f"to-{Path(inputs[-1]).stem}{len(inputs)}/")).err
        )
        assert ("changed nothing" in outcome.err) == bool(err)


@pytest.mark.parametrize(
    ("source", "name", "err"), [("photo.png", "x.docx", "images"), ("clip.mp4", "x.png", "videos")]
)
def test_a_name_of_no_format_is_refused_before_a_tokenizer_is_loaded(
    tok: Any, grn: Any, here: Path, source: str, name: str, err: str
) -> None:
    tok("tokenize", source, "-o", "codes.npz")
    outcome = grn("reconstruct", "codes.npz", "--tokenizer", "none", "-o", name)
    assert (outcome.code, f"{name}: cannot write {err} as '.{name[2:]}'" in outcome.err) == (2, True)


def test_background(tok: Any, here: Path) -> None:
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(here / "clear.png")
    white, black = (tok("tokenize", "clear.png", "-o", "-", "--background", c).out for c in ("white", "black"))
    assert white != black


def test_allow_partial(tok: Any, here: Path) -> None:
    frame = read_image(here / "photo.png")[:44, :60]
    with VideoWriter(here / "clip.webm", 60, 44, 12.0) as video:
        for i in range(40):
            video.write(np.roll(frame, 3 * i, axis=1))
    data = (here / "clip.webm").read_bytes()
    (here / "cut.webm").write_bytes(data[: len(data) * 3 // 4])
    assert tok("tokenize", "cut.webm").code == 3
    outcome = tok("tokenize", "cut.webm", "--allow-partial")
    assert outcome.code == 0
    assert outcome.err.startswith("grn: warning: cut.webm: ")
    assert tok("tokenize", "cut.webm", "--allow-partial", "-q").err == ""


def test_dtype(tok: Any, grn: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tok("tokenize", "photo.png", "--rounds", 16, "-o", "a.npz")
    tok("tokenize", "photo.png", "--rounds", 16, "--dtype", "bfloat16", "-o", "b.npz")
    exact, fast = Codes.load(here / "a.npz"), Codes.load(here / "b.npz")
    assert not np.array_equal(exact.indices, fast.indices)
    assert (exact.dtype, fast.dtype) == ("float32", "bfloat16")
    assert "dtype            bfloat16" in grn("inspect", "b.npz").text.splitlines()
    back = json.loads(tok("reconstruct", "b.npz", "--json").text)
    assert back["dtype"] == "float32"  # of the picture
    monkeypatch.setattr("grn.devices.multiplies_bfloat16", lambda: True)
    assert json.loads(tok("reconstruct", "b.npz", "--json").text)["dtype"] == "bfloat16"
    tok("tokenize", "photo.png", "--rounds", 16, "-o", "c.npz")
    assert Codes.load(here / "c.npz").dtype == "float32"


def test_a_batch_takes_one_line_a_picture(tok: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal too, where a picture alone is described."""
    monkeypatch.setattr("grn_cli.tokenize.Console.info", lambda console, text: print(text, file=sys.stderr))
    assert "bits per pixel" in tok("tokenize", "photo.png", "-o", "one.npz").err
    outcome = tok("tokenize", "photo.png", "photo.png", "-o", "two")
    assert outcome.text.splitlines() == ["two/photo.npz", "two/photo-2.npz"]
    assert outcome.err == ""


def test_verbose_says_what_is_used(tok: Any, here: Path) -> None:
    outcome = tok("tokenize", "photo.png", "-v")
    assert re.search("grn: info: tokenizer tiny, weights [0-9a-f]{12}, on cpu in float32\n", outcome.err)
    assert "grn: info: photo.png -> photo.npz: 61x45, 4 rounds, 0.070 bits per pixel" in outcome.err
    assert outcome.text == "photo.npz\n"


def test_json_is_one_line_each(tok: Any, here: Path) -> None:
    lines = tok("tokenize", "photo.png", "clip.mp4", "--json").text.splitlines()
    records = [json.loads(line) for line in lines]
    assert [(record["output"], record["kind"], record["frames"]) for record in records] == [
        ("photo.npz", "image", 1),
        ("clip.npz", "video", 7),
    ]
    assert records[0]["bytes"] == (here / "photo.npz").stat().st_size


# Names of results


def test_nothing_is_overwritten_without_force(tok: Any, here: Path) -> None:
    assert [tok("tokenize", "photo.png").text for _ in range(3)] == ["photo.npz\n", "photo-2.npz\n", "photo-3.npz\n"]
    tok("tokenize", "photo.png", "--rounds", 1, "-o", "photo.npz", "--force")
    assert Codes.load(here / "photo.npz").rounds == 1
    assert tok("tokenize", "photo.png", "--force").text == "photo.npz\n"
    assert Codes.load(here / "photo.npz").rounds == 4


def test_inputs_of_one_name_stay_apart(tok: Any, here: Path) -> None:
    (here / "a").mkdir()
    (here / "a" / "photo.png").write_bytes((here / "second.png").read_bytes())
    outcome = tok("tokenize", "photo.png", "a/photo.png", "-o", "out", "--force")
    assert outcome.text == "out/photo.npz\nout/photo-2.npz\n"
    assert (here / "out/photo.npz").read_bytes() != (here / "out/photo-2.npz").read_bytes()


def test_folders_keep_their_shape(tok: Any, here: Path) -> None:
    for name in ("in/b.png", "in/deep/a.png", "in/notes.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes((here / "photo.png").read_bytes())
    assert tok("tokenize", "in", "-o", "out").text == "out/b.npz\nout/deep/a.npz\n"
    assert tok("reconstruct", "out").text == "out/b.png\nout/deep/a.png\n"


def test_odd_names(tok: Any, here: Path) -> None:
    name = "a\x1b[31m\nb.png"
    (here / name).write_bytes((here / "photo.png").read_bytes())
    outcome = tok("tokenize", name)
    assert outcome.text == "a\\x1b[31m\\nb.npz\n"
    assert json.loads(tok("tokenize", name, "--json").text)["output"] == "a\x1b[31m\nb-2.npz"
    (here / "-x.png").write_bytes((here / "photo.png").read_bytes())
    assert tok("tokenize", "-o", "x.npz", "./-x.png").text == "x.npz\n"


def test_a_link_is_replaced_and_its_target_left_alone(tok: Any, here: Path) -> None:
    (here / "precious").write_text("precious")
    (here / "link.npz").symlink_to("precious")
    assert tok("tokenize", "photo.png", "-o", "link.npz", "--force").code == 0
    assert (here / "precious").read_text() == "precious"
    assert not (here / "link.npz").is_symlink()


# Reconstruction's own options


def test_fewer_rounds(tok: Any, here: Path) -> None:
    tok("tokenize", "photo.png", "--rounds", 4, "-o", "four.npz")
    tok("tokenize", "photo.png", "--rounds", 2, "-o", "two.npz")
    pictures = []
    for number, arguments in enumerate([("four.npz",), ("four.npz", "--rounds", 2), ("two.npz",)]):
        assert tok("reconstruct", *arguments, "-o", f"{number}.png").code == 0
        pictures.append(read_image(here / f"{number}.png").tobytes())
    assert pictures[0] != pictures[1] == pictures[2]
    outcome = tok("reconstruct", "two.npz", "--rounds", 3)
    assert outcome.code == 2
    assert outcome.err == "grn: error: --rounds 3: two.npz holds 2 rounds; give at most that many\n"


def test_reference(tok: Any, here: Path) -> None:
    tok("tokenize", "photo.png")
    path, measured = tok("reconstruct", "photo.npz", "-o", "a.png", "--reference", "photo.png").text.splitlines()
    assert path == "a.png"
    assert measured.startswith("PSNR ")
    assert "dB, SSIM " in measured
    same = json.loads(tok("reconstruct", "photo.npz", "--reference", "a.png", "--json").text)
    assert (same["psnr"], same["ssim"]) == (None, 1.0)
    piped = tok("reconstruct", "photo.npz", "-o", "-", "--reference", "photo.png")
    assert piped.err == f"grn: reference: {measured}\n"
    assert piped.out.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("codes", "reference", "err"),
    [
        ("photo.npz", "clip.mp4", "clip.mp4: is 34x18 (expected 61x45, as in photo.npz)"),
        ("photo.npz", "none.png", MISSING),
        ("clip.npz", "short.mp4", "short.mp4: has 4 frames and the codes have 7"),
    ],
)
def test_reference_that_does_not_fit(tok: Any, here: Path, codes: str, reference: str, err: str) -> None:
    tok("tokenize", "photo.png", "clip.mp4")
    tok("tokenize", "clip.mp4", "--duration", 0.3, "-o", "short.npz")
    tok("reconstruct", "short.npz", "-o", "short.mp4")
    outcome = tok(
        "reconstruct", codes, "-o", "out.png" if codes == "photo.npz" else "out.mp4", "--reference", reference
    )
    assert outcome.code == 3
    assert err in outcome.err
    assert not list(here.glob("out.*"))


def test_reference_of_clips_that_were_cut(tok: Any, here: Path) -> None:
    """Frame by frame from where the codes begin; what follows them is said not to be compared."""
    rates = {}
    for name, options in {"first": ("--duration", 0.3), "later": ("--start", 0.25, "--duration", 0.2)}.items():
        tok("tokenize", "clip.mp4", *options, "-o", f"{name}.npz")
        start = options[1] if name == "later" else 0
        outcome = tok(
            "reconstruct", f"{name}.npz", "--reference", "clip.mp4", "--reference-start", start, "--json", "--force"
        )
        assert outcome.code == 0
        assert "clip.mp4: has more than the" in outcome.err
        rates[name] = json.loads(outcome.text)["psnr"]
    astray = tok("reconstruct", "later.npz", "--reference", "clip.mp4", "--json", "--force")
    assert json.loads(astray.text)["psnr"] != rates["later"]


def test_reference_of_a_batch_is_the_folder_of_the_originals(tok: Any, here: Path) -> None:
    (here / "originals" / "more").mkdir(parents=True)
    for name, place in {"photo.png": "originals", "second.png": "originals/more"}.items():
        (here / name).rename(here / place / name)
    tok("tokenize", "originals", "-o", "codes")
    outcome = tok("reconstruct", "codes", "-o", "back", "--reference", "originals", "--json")
    each = {Path(record["output"]).name: record["psnr"] for record in map(json.loads, outcome.text.splitlines())}
    assert [name for name, psnr in sorted(each.items()) if psnr > 0] == ["photo.png", "second.png"]
    (here / "originals" / "photo.png").rename(here / "elsewhere.png")
    missing = tok("reconstruct", "codes", "-o", "again", "--reference", "originals")
    assert (missing.code, missing.err.count("\n")) == (3, 1)
    assert "originals: has no picture or clip named photo, which codes/photo.npz would be compared with" in missing.err


def test_codes_of_another_tokenizer(tok: Any, grn: Any, here: Path, other_tokenizer: Path) -> None:
    tok("tokenize", "photo.png")
    refused = grn("reconstruct", "photo.npz", "-o", "x.png", "--tokenizer", other_tokenizer)
    assert refused.code == 4
    assert "the codes were made with tiny (" in refused.err
    assert not (here / "x.png").exists()
    forced = grn("reconstruct", "photo.npz", "-o", "x.png", "--tokenizer", other_tokenizer, "--force")
    assert forced.code == 0
    assert forced.err.startswith("grn: warning: photo.npz: made with other weights")
    assert read_image_text(here / "x.png") == {"grn": "decoded with other weights than it was encoded with"}
    tok("reconstruct", "photo.npz", "-o", "y.png")
    assert read_image_text(here / "y.png") == {}


def test_a_name_inside_a_file_is_not_followed(grn: Any, tok: Any, here: Path) -> None:
    tok("tokenize", "photo.png")
    outcome = grn("reconstruct", "photo.npz")
    assert outcome.code == 4
    assert (
        outcome.err == "grn: error: photo.npz: made with a tokenizer called 'tiny'; name its folder with --tokenizer\n"
    )


def test_half_a_codes_file(tok: Any, here: Path) -> None:
    tok("tokenize", "photo.png", "second.png")
    half = here / "photo.npz"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    alone = tok("reconstruct", "photo.npz")
    assert alone.code == 4
    assert alone.err.startswith("grn: error: photo.npz: is cut short")
    among_others = tok("reconstruct", "photo.npz", "second.npz")
    assert (among_others.code, among_others.text) == (3, "second-2.png\n")
    assert among_others.err == alone.err


def test_disk_full(tok: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(codes: PackedCodes, target: Path) -> int:
        raise OSError(28, os.strerror(28), str(target))

    tok("tokenize", "photo.png")
    before = (here / "photo.npz").read_bytes()
    monkeypatch.setattr(PackedCodes, "save", full)
    outcome = tok("tokenize", "photo.png", "second.png", "--force")
    assert outcome.code == 5
    assert outcome.err.count("\n") == 1
    assert "No space left on device" in outcome.err
    assert (here / "photo.npz").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == [
        "clip.mp4",
        "empty.png",
        "photo.npz",
        "photo.png",
        "second.png",
        "text.png",
    ]
