"""`grn generate` of clips, and from pictures and clips that are there."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.generators import SIDE
from PIL import Image

from grn import editing
from grn.media import VideoWriter, open_media, read_image, read_image_text, write_image
from grn.models.config import MOST_FRAMES
from grn.pipeline import Pipeline
from grn_cli.record import read_record


@pytest.fixture
def film(grn: Any, clips_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Generate with the tiny video model (9 frames, 4 a second), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: grn("generate", *arguments, "-m", clips_model, **options)


@pytest.fixture
def both(clips_model: Path, tmp_path: Path) -> Path:
    """The tiny video model, which draws pictures where no clip is asked for."""
    folder = tmp_path / "both"
    shutil.copytree(clips_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"stills": True}))
    return folder


@pytest.fixture
def draw(grn: Any, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Generate with the tiny text model, in a folder with photo.png, mask.png (its left half white) and clip.mp4."""
    monkeypatch.chdir(tmp_path)
    _files(tmp_path)
    return lambda *arguments, **options: grn("generate", *arguments, "-m", words, **options)


def _files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (SIDE, 2 * SIDE, 3), dtype=np.uint8)
    write_image(folder / "photo.png", photo)
    mask = np.zeros_like(photo)
    mask[:, :SIDE] = 255
    write_image(folder / "mask.png", mask)
    write_image(folder / "small.png", mask[:9, :9])
    with VideoWriter(folder / "clip.mp4", SIDE, SIDE, 8.0) as video:
        for i in range(30):
            video.write(np.roll(photo[:, :SIDE] // 8 * 8, 2 * i, axis=1))


def _frames(path: Path) -> list[np.ndarray]:
    with open_media(path) as media:
        return list(media)


# Clips


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ("", 1),
        ("-o x.webp", 1),
        ("--init photo.png", 1),
        ("--init photo.png -o x.gif", 1),
        ("--seconds 1", 4),
        ("--seconds 1 -o x.webp", 4),
        ("-o x.gif", 9),
        ("-o x.mp4", 9),
        ("--image photo.png", 9),
        ("--continue clip.mp4 --seconds 2", 8),
    ],
)
def test_a_model_of_both_draws_a_picture_unless_a_clip_is_asked_for(
    grn: Any, words: Path, both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, frames: int
) -> None:
    _files(tmp_path)
    monkeypatch.setenv("GRN_MODEL", str(both))
    monkeypatch.chdir(tmp_path)
    outcome = grn("generate", "a red cat", *options.split())
    assert outcome.code == 0
    made = tmp_path / outcome.text.strip()
    assert len(_frames(made)) == frames
    monkeypatch.setenv("GRN_MODEL", str(words))
    asks = frames > 1 and ("--seconds" in options or "--image" in options)
    assert grn("generate", "a red cat", *options.split(), "--force").code == (2 if asks or "x.mp4" in options else 0)


def test_the_name_of_a_folder_asks_for_no_clip(
    grn: Any, both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_MODEL", str(both))
    outcome = grn("generate", "a red cat", "-o", f"{tmp_path}/cats.mp4/")
    assert (outcome.code, outcome.err) == (0, "")
    assert {Path(line).suffix for line in outcome.text.split()} == {".png"}
    refused = grn("generate", "a red cat", "-n", 2, "-o", tmp_path / "cats.gif")
    assert refused.code == 2
    assert "cats.gif: is the name of a file and there are many results; name a folder" in refused.err


def test_what_a_model_of_both_drew_is_repeated(grn: Any, both: Path, tmp_path: Path) -> None:
    for name, asked in (("a.webp", ("--seconds", 1)), ("a.png", ())):
        made, again = tmp_path / name, tmp_path / f"again-{name}"
        assert grn("generate", "a red cat", "-m", both, *asked, "-o", made).code == 0
        assert grn("generate", "--like", made, "-m", both, "-o", again).code == 0
        assert np.array_equal(_frames(made), _frames(again))


def test_a_model_of_both_draws_pictures_in_python_and_clips_by_size(both: Path) -> None:
    pipeline = Pipeline.from_pretrained(both)
    assert pipeline.frames == 1
    assert pipeline.clips == (9, 4.0, MOST_FRAMES)
    assert pipeline("a red cat", steps=2).frames.shape == (1, SIDE, SIDE, 3)
    drawn = pipeline("a red cat", size=(9, SIDE, SIDE), steps=2)
    assert (drawn.frames.shape, drawn.fps) == ((9, SIDE, SIDE, 3), 4.0)


@pytest.fixture
def otherwise(both: Path) -> Path:
    """The same, whose clips take three steps and its pictures two."""
    config = json.loads((both / "config.json").read_text())
    sampling = {**config["sampling"], "steps": 2}
    changed = {"sampling": sampling, "clip_sampling": {"steps": 3, "temperature": 0.9}}
    (both / "config.json").write_text(json.dumps(config | changed))
    return both


def test_clips_of_a_model_of_both_may_have_settings_of_their_own(otherwise: Path) -> None:
    pipeline = Pipeline.from_pretrained(otherwise)
    sizes = [(9, SIDE, SIDE), (1, SIDE, SIDE), (5, SIDE, SIDE)]
    seen: dict[int, list[int]] = {}
    drawn = pipeline(
        ["a red cat"] * 3, size=sizes, callback=lambda view: seen.setdefault(view.number, []).append(view.step)
    )
    assert [(one.steps, one.made.sampling.temperature) for one in drawn] == [(3, 0.9), (2, 1.0), (3, 0.9)]
    assert seen == {0: [1, 2, 3], 1: [1, 2], 2: [1, 2, 3]}
    for number, one in enumerate(drawn):
        alone = pipeline("a red cat", size=sizes[number], seed=number, callback=None)
        assert np.array_equal(one.frames, alone.frames)
    over = pipeline(["a red cat"] * 2, size=sizes[:2], steps=4)
    assert [(one.steps, one.made.sampling.temperature) for one in over] == [(4, 0.9), (4, 1.0)]


def test_what_is_written_beside_a_clip_says_its_own_settings(grn: Any, otherwise: Path, tmp_path: Path) -> None:
    for name, asked, steps in (("a.webp", ("--seconds", 1), 3), ("a.png", (), 2)):
        made, again = tmp_path / name, tmp_path / f"again-{name}"
        assert grn("generate", "a red cat", "-m", otherwise, *asked, "-o", made).code == 0
        assert read_record(made)["sampling"]["steps"] == steps
        assert grn("generate", "--like", made, "-m", otherwise, "-o", again).code == 0
        assert np.array_equal(_frames(made), _frames(again))
    assert grn("generate", "a red cat", "-m", otherwise, "--seconds", 0.1, "-o", tmp_path / "one.webp").code == 0
    assert read_record(tmp_path / "one.webp")["sampling"]["steps"] == 2, "a clip of one frame is drawn as a picture"
    assert "clips     steps = 3" in grn("models", "show", otherwise).text


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ".webm", ".mov"])
def test_a_clip_in_every_format(film: Any, tmp_path: Path, suffix: str) -> None:
    outcome = film("a red cat", "--seconds", 1.5, "-o", f"cat{suffix}")
    assert (outcome.code, outcome.text, outcome.err) == (0, f"cat{suffix}\n", "")
    with open_media(tmp_path / f"cat{suffix}") as media:
        assert (media.kind, media.width, media.height, media.fps) == ("video", SIDE, SIDE, 4)
        assert len(list(media)) == 6


def test_clips_have_the_models_length_and_are_called_mp4(film: Any, tmp_path: Path) -> None:
    record = json.loads(film("cat", "--json").text)
    assert (record["output"], record["frames"], record["fps"]) == ("cat.mp4", 9, 4.0)
    assert len(_frames(tmp_path / "cat.mp4")) == 9
    assert film("cat", "dog", "-n", 2, "-o", "made").text.split() == [
        f"made/{name}.mp4" for name in ("cat-0", "cat-1", "dog-0", "dog-1")
    ]


def test_longer_than_the_model_was_trained_for_is_said(film: Any, tmp_path: Path) -> None:
    outcome = film("cat", "--seconds", 3)
    assert outcome.err == "grn: warning: tiny-clips was trained on clips of 9 frames; drawing 12\n"
    assert len(_frames(tmp_path / "cat.mp4")) == 12


def test_a_clip_on_stdout(film: Any, tmp_path: Path) -> None:
    film("cat", "-o", "cat.mp4")
    assert film("cat", "-o", "-").out == (tmp_path / "cat.mp4").read_bytes()


def test_a_video_model_draws_a_picture_that_is_named_like_one(film: Any, tmp_path: Path) -> None:
    assert film("cat", "-o", "cat.png").code == 0
    assert read_image(tmp_path / "cat.png").shape == (SIDE, SIDE, 3)
    assert json.loads(read_image_text(tmp_path / "cat.png")["grn"])["prompt"] == "cat"


def test_a_sheet_and_a_history_of_clips(film: Any, tmp_path: Path) -> None:
    assert film("cat", "dog", "--grid").text == "grid.mp4\n"
    sheet = _frames(tmp_path / "grid.mp4")
    assert (len(sheet), sheet[0].shape) == (9, (SIDE, 2 * SIDE + 4, 3))
    assert film("cat", "--history", "h.webp").text == "cat.mp4\nh.webp\n"
    steps = _frames(tmp_path / "h.webp")
    assert (len(steps), steps[0].shape) == (3 + 8, (3 * SIDE, 3 * SIDE, 3))  # a row for each of three tokens


# From what is there


def test_a_clip_begins_with_an_image(film: Any, tmp_path: Path) -> None:
    _files(tmp_path)
    assert film("cat", "--image", "photo.png", "-o", "a.webp").code == 0
    film("cat", "-o", "b.webp")
    assert not np.array_equal(_frames(tmp_path / "a.webp")[0], _frames(tmp_path / "b.webp")[0])
    film("dog", "--image", "photo.png", "-o", "c.webp", "--seed", 5)
    one, other = _frames(tmp_path / "a.webp"), _frames(tmp_path / "c.webp")
    assert np.array_equal(one[0], other[0])  # the same first token, whatever is drawn after it
    assert not np.array_equal(one[-1], other[-1])


def test_a_clip_goes_on(film: Any, tmp_path: Path) -> None:
    _files(tmp_path)
    for seed in (0, 1):
        assert film("cat", "--continue", "clip.mp4", "-o", f"{seed}.webp", "--seed", seed, "--seconds", 4).code == 0
    one, other = _frames(tmp_path / "0.webp"), _frames(tmp_path / "1.webp")
    assert len(one) == 16
    # Five tokens long, so two are given: the first frame and the four after it.
    assert all(np.array_equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))
    assert not np.array_equal(one[5], other[5])


def test_a_picture_is_refined(draw: Any, tmp_path: Path) -> None:
    draw("cat", "-o", "plain.png")
    pictures = {"plain": read_image(tmp_path / "plain.png").tobytes()}
    options = {
        "init": "--init photo.png",
        "weak": "--init photo.png --strength 0.2",
        "masked": "--init photo.png --mask mask.png",
        "both": "--init photo.png --mask mask.png --strength 0.5",
    }
    for name, option in options.items():
        assert draw("cat", *option.split(), "--steps", 9, "-o", f"{name}.png").code == 0
        pictures[name] = read_image(tmp_path / f"{name}.png").tobytes()
    assert len(set(pictures.values())) == 5
    draw("cat", "--init", "photo.png", "--strength", 0.6, "--steps", 9, "-o", "default.png")
    assert read_image(tmp_path / "default.png").tobytes() == pictures["init"]
    assert json.loads(draw("cat", *options["weak"].split(), "--steps", 10, "--json").text)["steps"] == 2


@pytest.mark.parametrize(("size", "middle"), [("128x64", SIDE), ("64x64", SIDE // 2), ("64x128", SIDE // 2)])
def test_a_mask_is_cut_and_scaled_as_the_photo_is(
    draw: Any, monkeypatch: pytest.MonkeyPatch, size: str, middle: int
) -> None:
    whole, masks = editing.refined_picture, []

    def noted(pipeline: Any, picture: Any, strength: float, mask: Any) -> Any:
        masks.append(mask)
        assert mask.shape == picture.shape[:2]
        return whole(pipeline, picture, strength, mask)

    monkeypatch.setattr(editing, "refined_picture", noted)
    assert draw("cat", "--init", "photo.png", "--mask", "mask.png", "-o", "x.png", "--size", size).code == 0
    (mask,) = masks
    assert mask[:, : middle - 1].all()
    assert not mask[:, middle + 1 :].any()


@pytest.mark.parametrize("mask", [[], ["--mask", "mask.png"]])
def test_like_repeats_a_picture_from_the_same_start(draw: Any, grn: Any, tmp_path: Path, mask: list[str]) -> None:
    start = ["--init", "photo.png", *mask]
    draw("red cat", *start, "--strength", 0.7, "-o", "x.png")
    assert grn("generate", "--like", "x.png", *start, "-o", "again.png").code == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "x.png").read_bytes()
    needed = "--init and --mask" if mask else "--init"
    for wrong in ([], ["--init", "mask.png", *mask], [*start, "--strength", "0.7"]):
        outcome = grn("generate", "--like", "x.png", *wrong)
        assert outcome.code == 2
        assert outcome.err == (
            f"grn: error: --like: x.png was made from a picture; give the same one again with {needed}, without "
            "--strength\n"
        )
    draw("cat", "-o", "y.png")
    assert "--like: y.png was made from nothing; leave out --init" in draw("--like", "y.png", "--init", "photo.png").err


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ("--init photo.png", f"{SIDE}x{SIDE}: only its middle, {SIDE}x{SIDE}, is used"),
        ("--init photo.png --size 64x128", "64x128: only its middle, 32x64, is used"),
        ("--init photo.png --size 128x64", ""),
        ("--init photo.png --aspect 2:1", ""),
        ("--init small.png", ""),
    ],
)
def test_what_is_cut_off_a_picture_is_said(draw: Any, options: str, used: str) -> None:
    outcome = draw("cat", *options.split(), "-o", "x.png")
    said = f"grn: warning: photo.png: is 128x64 and the result {used}; give the result another shape with --size or --aspect\n"
    drawn = [line for line in outcome.err.splitlines(keepends=True) if "was trained on" not in line]
    assert (outcome.code, "".join(drawn)) == (0, said if used else "")


@pytest.mark.parametrize(
    ("options", "err"),
    [
        ("--image photo.png", "photo.png: is 128x64 and the result 64x64: only its middle, 64x64, is used"),
        ("--image small.png", ""),
        ("--continue clip.mp4", ""),
        (
            "--continue clip.mp4 --size 32x64",
            "clip.mp4: is 64x64 and the result 32x64: only its middle, 32x64, is used",
        ),
    ],
)
def test_what_is_cut_off_the_beginning_of_a_clip_is_said(film: Any, tmp_path: Path, options: str, err: str) -> None:
    _files(tmp_path)
    outcome = film("cat", *options.split(), "-o", "x.gif")
    assert outcome.code == 0
    assert err in outcome.err
    assert ("middle" in outcome.err) == bool(err)


def test_a_clip_does_not_take_the_name_of_its_history(film: Any, tmp_path: Path) -> None:
    for force in ([], ["--force"]):
        assert film("cat", "--history", "cat.mp4", *force).text == "cat-2.mp4\ncat.mp4\n"
        assert [len(_frames(tmp_path / name)) for name in ("cat-2.mp4", "cat.mp4")] == [9, 3 + 8]
        (tmp_path / "cat-2.mp4").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["cat.mp4"]


REFUSED = [
    ("--image photo.png --init photo.png", "--image and --init: a result starts from one of them; give one"),
    ("--image photo.png --continue clip.mp4", "--image and --continue: a result starts from one of them; give one"),
    ("--strength 0.5", "--strength: says how a picture is redrawn; give the picture with --init"),
    ("--mask mask.png", "--mask: says how a picture is redrawn; give the picture with --init"),
    ("--mask mask.png --image photo.png", "--mask: says how a picture is redrawn"),
    ("--init photo.png --strength 0", "--strength 0 is out of range (expected more than 0, at most 1)"),
    ("--init photo.png --strength 1.5", "--strength 1.5 is out of range"),
    ("--init photo.png --strength nan", "--strength nan is out of range"),
    ("--init photo.png --adaptive --tmin 6 --tmax 9", "which --strength 0.6 leaves out"),
    ("--image photo.png", "--image and --continue: "),
    ("--continue clip.mp4", "--image and --continue: "),
    ("--seconds 2", "draws still pictures; leave it out"),
    ("-o x.mp4", "x.mp4: cannot write images as '.mp4'"),
    ("-o x.txt", "x.txt: cannot write images as '.txt'"),
]


@pytest.mark.parametrize(("options", "err"), REFUSED)
def test_refused(draw: Any, options: str, err: str) -> None:
    outcome = draw("cat", *options.split())
    assert outcome.code == 2
    assert err in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "err"),
    [
        ("--init photo.png -o x.mp4", "x.mp4: cannot write images as '.mp4'"),
        ("--init photo.png --seconds 1", "--seconds: the result is one picture; leave it out"),
        (
            "--image photo.png -o x.png",
            "--image and --continue: the result is one picture; use a name that ends in .mp4, or --init",
        ),
        ("--image photo.png --seconds 0.2", "--image: a clip of 1 frames is 1 tokens long and 1 would be given"),
    ],
)
def test_refused_by_video_models(film: Any, tmp_path: Path, options: str, err: str) -> None:
    _files(tmp_path)
    outcome = film("cat", *options.split())
    assert outcome.code == 2
    assert err in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "err"),
    [
        ("--init none.png", "none.png: "),
        ("--init clip.mp4", "clip.mp4: is a video (expected an image)"),
        ("--init photo.png --mask none.png", "none.png: "),
        ("--init photo.png --mask small.png", "small.png: is 9x9 (expected 128x64, as photo.png)"),
    ],
)
def test_bad_files(draw: Any, options: str, err: str) -> None:
    outcome = draw("cat", *options.split())
    assert outcome.code == 3
    assert err in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_mask_without_white_is_refused(draw: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "black.png", np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    outcome = draw("cat", "--init", "photo.png", "--mask", "black.png")
    assert outcome.code == 2
    assert "--init, --mask: mask: nothing in it is white" in outcome.err


def test_a_picture_is_no_clip_to_go_on_from(film: Any, tmp_path: Path) -> None:
    _files(tmp_path)
    outcome = film("cat", "--continue", "photo.png")
    assert outcome.code == 3
    assert "photo.png: is a picture (expected a clip); give it with --image" in outcome.err


def test_a_picture_from_a_start_goes_to_stdout_too(draw: Any) -> None:
    assert Image.open(io.BytesIO(draw("cat", "--init", "photo.png", "-o", "-").out)).size == (SIDE, SIDE)
