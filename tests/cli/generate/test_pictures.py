"""`grn generate` with tiny generators: what is drawn, where it goes, what it says of itself, what is refused."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.generators import SIDE
from PIL import Image

from grn.media import open_media, read_image, read_image_text, write_image


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _prompts(folder: Path, *lines: str) -> Path:
    path = folder / "prompts.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# Names of results


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["cat"], "cat.png"),
        (["Red cat, GREEN house!"], "red-cat-green-house.png"),
        ([""], "picture.png"),
        (["Réd cât"], "red-cat.png"),
        (["\U0001f408"], "cat.png"),
        (["cat", "--seed", 7], "cat.png"),
        (["cat", "dog"], "cat.png dog.png"),
        (["cat", "cat"], "cat-0.png cat-1.png"),
        (["cat", "-n", 2, "--seed", 7], "cat-7.png cat-8.png"),
        (["cat", "dog", "-n", 2], "cat-0.png cat-1.png dog-0.png dog-1.png"),
        (["cat", "-o", "x.png"], "x.png"),
        (["cat", "-o", "x.jpg"], "x.jpg"),
        (["cat", "-o", "made/"], "made/cat.png"),
        (["cat", "dog", "-o", "made"], "made/cat.png made/dog.png"),
        (["cat", "dog", "--grid"], "grid.png"),
        (["cat", "dog", "--grid", "-o", "x.png"], "x.png"),
        (["cat", "--history", "h.gif"], "cat.png h.gif"),
    ],
)
def test_names(draw: Any, tmp_path: Path, arguments: list[Any], out: str) -> None:
    outcome = draw(*arguments, "--steps", 1)
    assert (outcome.code, outcome.text, outcome.err) == (0, "".join(f"{name}\n" for name in out.split()), "")
    assert _files(tmp_path) == sorted(out.split())


def test_long_prompts_make_short_names(draw: Any) -> None:
    (name,) = draw("cat " * 200, "--steps", 1).text.split()
    assert len(name) < 80


def test_nothing_is_overwritten_without_force(draw: Any, tmp_path: Path) -> None:
    assert [draw("cat", "--steps", 1).text for _ in range(2)] == ["cat.png\n", "cat-2.png\n"]
    before = (tmp_path / "cat.png").read_bytes()
    refused = draw("cat", "--steps", 2, "-o", "cat.png")
    assert refused.code == 2
    assert refused.err == "grn: error: cat.png: exists already; choose another name, or --force to overwrite it\n"
    assert (tmp_path / "cat.png").read_bytes() == before
    assert draw("cat", "--steps", 2, "-o", "cat.png", "--force").code == 0
    assert (tmp_path / "cat.png").read_bytes() != before


def test_an_animation_is_not_overwritten_either(draw: Any, tmp_path: Path) -> None:
    (tmp_path / "h.gif").write_text("mine")
    assert draw("cat", "--history", "h.gif").code == 2
    assert _files(tmp_path) == ["h.gif"]  # refused before anything is drawn
    assert draw("cat", "--history", "h.gif", "--force").code == 0
    with open_media(tmp_path / "h.gif") as media:
        assert media.kind == "video"


# What is drawn


def test_seeds_count_up(draw: Any, tmp_path: Path) -> None:
    draw("cat", "-n", 3, "--seed", 4)
    assert draw("cat", "--seed", 5, "-o", "alone.png").code == 0
    pictures = {seed: read_image(tmp_path / f"cat-{seed}.png").tobytes() for seed in (4, 5, 6)}
    assert len({*pictures.values()}) == 3
    assert read_image(tmp_path / "alone.png").tobytes() == pictures[5]


def test_batches_do_not_change_pictures(draw: Any, tmp_path: Path) -> None:
    draw("cat", "red dog house", "green", "-o", "a")
    draw("cat", "red dog house", "green", "-o", "b", "--batch-size", 2)
    for name in ("cat.png", "red-dog-house.png", "green.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_prompts_from_files_and_stdin(draw: Any, tmp_path: Path) -> None:
    path = _prompts(tmp_path, "\ufeffcat", "", "  dog  ")
    assert draw("--prompts", path, "--steps", 1).text == "cat.png\ndog.png\n"
    assert draw("house", "--prompts", path, "--steps", 1, "-o", "a").text == "a/house.png\na/cat.png\na/dog.png\n"
    assert draw("--prompts", "-", "--steps", 1, "-o", "b", stdin=b"cat\n\ndog\n").text == "b/cat.png\nb/dog.png\n"
    assert draw("house", "-", "--steps", 1, "-o", "c", stdin=b"cat\n").text == "c/house.png\nc/cat.png\n"


def test_to_stdout(draw: Any, tmp_path: Path) -> None:
    outcome = draw("cat", "-o", "-")
    assert outcome.err == ""
    assert Image.open(io.BytesIO(outcome.out)).size == (SIDE, SIDE)
    draw("cat", "-o", "x.png")
    assert outcome.out == (tmp_path / "x.png").read_bytes()
    with_history = draw("cat", "-o", "-", "--history", "h.webp")
    assert with_history.out == outcome.out
    assert _files(tmp_path) == ["h.webp", "x.png"]
    sheet = draw("cat", "dog", "--grid", "-o", "-")
    assert Image.open(io.BytesIO(sheet.out)).size == (2 * SIDE + 4, SIDE)


def test_a_grid_holds_the_pictures_in_order(draw: Any, tmp_path: Path) -> None:
    draw("cat", "dog", "house", "-o", "single")
    draw("cat", "dog", "house", "--grid", "-o", "grid.png")
    sheet = read_image(tmp_path / "grid.png")
    assert sheet.shape == (2 * SIDE + 4, 2 * SIDE + 4, 3)
    for number, name in enumerate(("cat", "dog", "house")):
        top, left = number // 2 * (SIDE + 4), number % 2 * (SIDE + 4)
        tile = sheet[top : top + SIDE, left : left + SIDE]
        assert np.array_equal(tile, read_image(tmp_path / "single" / f"{name}.png"))
    assert (sheet[SIDE : SIDE + 4] == 255).all()
    assert (sheet[SIDE + 4 :, SIDE + 4 :] == 255).all()
    records = json.loads(read_image_text(tmp_path / "grid.png")["grn"])["pictures"]
    assert [(record["prompt"], record["seed"]) for record in records] == [("cat", 0), ("dog", 0), ("house", 0)]


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_history_shows_every_step_and_ends_with_the_picture(draw: Any, tmp_path: Path, suffix: str) -> None:
    record = json.loads(draw("cat", "--steps", 5, "--history", f"h{suffix}", "--json").text.splitlines()[1])
    assert record == {"history": f"h{suffix}", "steps": 5}
    with open_media(tmp_path / f"h{suffix}") as media:
        assert (media.width, media.height) == (3 * SIDE, SIDE)
        frames = list(media)
    assert len(frames) == 5 + 8
    final = read_image(tmp_path / "cat.png")
    shown = [np.split(frame.astype(float), 3, 1) for frame in (frames[0], frames[-1])]
    assert all(np.abs(one - final).mean() < 20 for one in shown[1][:2])  # what is seen and what is predicted
    assert np.abs(shown[0][0] - final).mean() > np.abs(shown[1][0] - final).mean() + 2  # at first, it is nearly random
    # In the last step everything is filled or kept: no token is white any more.
    assert (shown[0][2].min(2) > 200).any()
    assert not (shown[1][2].min(2) > 200).any()


# What a picture says of itself


def test_a_picture_says_how_it_was_made(draw: Any, words: Path, tmp_path: Path) -> None:
    draw("red cat", "--seed", 3, "--steps", 6, "--guidance", 3, "--negative-prompt", "dog", "-o", "x.png")
    texts = read_image_text(tmp_path / "x.png")
    made = json.loads(texts["grn"])
    assert (made["prompt"], made["negative_prompt"], made["seed"], made["steps"]) == ("red cat", "dog", 3, 6)
    assert (made["model"], made["width"], made["height"]) == (str(words), SIDE, SIDE)
    assert 0 < made["entropy"] < 1
    assert (made["sampling"]["guidance"], made["sampling"]["steps"], made["sampling"]["adaptive"]) == (3.0, 6, False)
    assert texts["parameters"] == (
        "red cat\nNegative prompt: dog\nSteps: 6, Sampler: GRN, CFG scale: 3.0, Seed: 3, "
        f"Size: {SIDE}x{SIDE}, Model: {words}"
    )


def test_json_is_one_line_each_and_says_what_the_file_says(draw: Any, tmp_path: Path) -> None:
    records = [json.loads(line) for line in draw("cat", "dog", "--json").text.splitlines()]
    assert [(record["output"], record["prompt"]) for record in records] == [("cat.png", "cat"), ("dog.png", "dog")]
    for record in records:
        made = json.loads(read_image_text(tmp_path / record.pop("output"))["grn"])
        assert made == record


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--seed 12 --steps 4 --guidance 3 --negative-prompt dog --temperature 0.7",
        "--adaptive --tmin 6 --tmax 9",
        "--size 96x32 --selection confidence --fill mask",
        "--aspect 2:1 --guidance-start 0.5",
    ],
)
def test_like_repeats_a_picture(draw: Any, grn: Any, tmp_path: Path, options: str) -> None:
    draw("red cat", *options.split(), "-o", "x.png")
    outcome = grn("generate", "--like", "x.png", "-o", "again.png")
    assert (outcome.code, outcome.text, outcome.err) == (0, "again.png\n", "")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "x.png").read_bytes()


def test_like_repeats_one_of_many(draw: Any, grn: Any, tmp_path: Path) -> None:
    draw("cat", "red dog house", "-n", 2, "-o", "made")
    for path in sorted((tmp_path / "made").iterdir()):
        grn("generate", "--like", path, "-o", "again.png", "--force")
        assert (tmp_path / "again.png").read_bytes() == path.read_bytes()


def test_like_repeats_a_class(grn: Any, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert grn("generate", "--class", 3, "-m", classes).text == "3.png\n"
    grn("generate", "--like", "3.png", "-o", "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "3.png").read_bytes()


@pytest.mark.parametrize(
    "more", ["dog", "--prompts p", "--class 1", "-n 2", "--seed 1", "--size 32", "--aspect 1:2", "--steps 9", "--fixed"]
)
def test_like_takes_nothing_that_would_change_the_picture(draw: Any, tmp_path: Path, more: str) -> None:
    draw("cat", "-o", "x.png")
    outcome = draw("--like", "x.png", *more.split(), "-o", "y.png")
    assert outcome.code == 2
    assert outcome.err.startswith("grn: error: --like: repeats a picture just as it was made; leave out ")
    assert _files(tmp_path) == ["x.png"]


LIES: list[dict[str, Any]] = [
    {"sampling": {"steps": 0}},
    {"sampling": {"keys": [], "batch_size": 1}},
    {"sampling": [1]},
    {"seed": -1},
    {"seed": "one"},
    {"seed": True},
    {"prompt": ["cat"]},
    {"prompt": None},
    {"width": 1e9},
    {"height": None},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_like_of_a_picture_that_lies(draw: Any, tmp_path: Path, lie: dict[str, Any]) -> None:
    draw("cat", "-o", "x.png")
    made = {**json.loads(read_image_text(tmp_path / "x.png")["grn"]), **lie}
    write_image(tmp_path / "y.png", read_image(tmp_path / "x.png"), {"grn": json.dumps(made)})
    outcome = draw("--like", "y.png", "-o", "z.png")
    assert outcome.code == 3
    assert outcome.err == (
        "grn: error: y.png: does not say how it was made; give a picture, contact sheet or clip that grn generate wrote\n"
    )
    assert _files(tmp_path) == ["x.png", "y.png"]


def test_like_does_not_fetch_the_model_that_a_picture_names(draw: Any, grn: Any, tmp_path: Path) -> None:
    draw("cat", "-o", "x.png")
    made = {**json.loads(read_image_text(tmp_path / "x.png")["grn"]), "model": "somebody/model"}
    write_image(tmp_path / "y.png", read_image(tmp_path / "x.png"), {"grn": json.dumps(made)})
    outcome = grn("generate", "--like", "y.png")
    assert outcome.code == 4
    assert outcome.err == (
        "grn: error: y.png: made with a model called 'somebody/model'; name its folder with --model\n"
    )
    assert draw("--like", "y.png", "-o", "z.png").code == 0
    assert read_image(tmp_path / "z.png").tobytes() == read_image(tmp_path / "x.png").tobytes()


# Each option changes something, or is refused

OPTIONS = [
    "--seed 1", "--steps 4", "--adaptive --tmin 6 --tmax 8", "--guidance 4", "--guidance-start 0.9",
    "--temperature 0.4", "--negative-prompt dog", "--selection confidence", "--fill mask", "--dtype bfloat16",
    "--size 32", "--aspect 1:2",
]  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_options(draw: Any, tmp_path: Path, option: str) -> None:
    draw("red cat", "-o", "a.png")
    assert draw("red cat", *option.split(), "-o", "b.png").code == 0
    assert read_image(tmp_path / "a.png").tobytes() != read_image(tmp_path / "b.png").tobytes()


@pytest.mark.parametrize(
    ("option", "steps"),
    [
        ("--adaptive --tmin 6 --tmax 8 --guidance 1", 6),  # k and b of the tiny model: about 20 * H - 10
        ("--adaptive --tmin 7 --tmax 7", 7),
        ("--steps 9", 9),
        ("--fixed", 3),
    ],
)
def test_number_of_steps(draw: Any, option: str, steps: int) -> None:
    assert json.loads(draw("cat", *option.split(), "--json").text)["steps"] == steps


def test_steps_of_a_model_that_is_adaptive(grn: Any, words: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(words, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["sampling"] |= {"adaptive": True, "tmin": 12, "tmax": 60}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))

    def steps(*options: Any) -> int:
        outcome = grn(
            "generate", "cat", "-m", tmp_path / "model", "-o", tmp_path / "x.png", "--force", "--json", *options
        )
        return int(json.loads(outcome.text)["steps"])

    assert steps() == 12
    assert steps("--steps", 4) == 4
    assert steps("--fixed") == 3
    assert steps("--tmin", 14) == 14
    assert steps("--tmin", 55) == 55  # above the tmax of other models


@pytest.mark.parametrize(
    ("option", "size"), [("--size 32", (32, 32)), ("--size 48x32", (48, 32)), ("--aspect 4:1", (128, 32))]
)
def test_sizes(draw: Any, tmp_path: Path, option: str, size: tuple[int, int]) -> None:
    draw("cat", *option.split(), "-o", "x.png")
    assert Image.open(tmp_path / "x.png").size == size


def test_verbose_says_what_is_used_and_where_it_was_found(draw: Any, words: Path) -> None:
    outcome = draw("cat", "-v")
    assert outcome.err.splitlines() == [
        f"grn: info: {words}: folder",
        f"grn: info: {words}/text_encoder: folder",
        f"grn: info: {words}/tokenizer: folder",
        "grn: info: model tiny-words, tokenizer tiny on cpu in float32",
    ]
    assert outcome.text == "cat.png\n"


def test_classes(grn: Any, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = grn("generate", "--class", 0, "--class", 4, "-n", 2, "-m", classes)
    assert outcome.text == "0-0.png\n0-1.png\n4-0.png\n4-1.png\n"
    pictures = {(tmp_path / name).read_bytes() for name in outcome.text.split()}
    assert len(pictures) == 4


@pytest.mark.parametrize(
    ("arguments", "err"),
    [
        ("--class 5", "5 is no class of tiny-classes (expected 0 to 4); give another --class"),
        ("cat", "'cat' is no class of tiny-classes (expected 0 to 4); give another --class"),
        ("--class 1 --size 32", "size 32x32: tiny-classes has fixed positions for 64x64; text models draw other sizes"),
        (
            "--class 1 --negative-prompt x",
            "negative prompt: has no effect here, it needs a model that draws from words",
        ),
    ],
)
def test_refused_by_class_models(grn: Any, classes: Path, tmp_path: Path, arguments: str, err: str) -> None:
    outcome = grn("generate", *arguments.split(), "-m", classes, "-o", tmp_path / "x.png")
    assert outcome.code == 2
    assert err in outcome.err
    assert outcome.err.count("\n") == 1
    assert _files(tmp_path) == []
