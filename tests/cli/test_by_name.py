"""The command with published names, from a hub cache laid out by hand and without a network."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_files import hub_cache, published_files, reference_state, tokenizer_state

from grn.errors import ModelNotFoundError
from grn.hub import convert, registry
from grn.hub.resolve import resolve
from grn.media import open_media, read_image, write_image
from grn.networks import shapes
from grn.pipeline import Pipeline
from grn.text.umt5 import Umt5Encoder

PUBLISHED = [name for name, entry in registry.ENTRIES.items() if entry.repo]


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in PUBLISHED:  # converted now, so that the commands say nothing of it
        resolve(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_generate_by_name(grn: Any, here: Path) -> None:
    small = ("--aspect", "3:2", "--area", "0.06M", "--steps", 1)
    outcome = grn("generate", "a cat", "--model", "grn-t2i", *small, "-v", "--offline")
    assert (outcome.code, outcome.text) == (0, "a-cat.png\n")
    assert read_image(here / "a-cat.png").shape == (208, 320, 3)
    for name, folder in (("grn-t2i", "grn-t2i"), ("umt5-xxl", "umt5-xxl"), ("hbq-64", "hbq-64")):
        (line,) = [line for line in outcome.err.splitlines() if f"info: {name}: converted" in line]
        assert line.startswith(f"grn: info: {name}: converted, ")
        assert line.endswith(f"/models/{folder}")


def test_generate_a_class_by_name(grn: Any, here: Path) -> None:
    assert grn("generate", "--class", 3, "-m", "grn-b", "--steps", 2).text == "3.png\n"
    refused = grn("generate", "--class", 3, "-m", "grn-b", "--area", "1M", "-o", "x.png")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "size 1024x1024: grn-b has fixed positions for 64x64" in refused.err


@pytest.mark.parametrize(
    ("arguments", "name", "count"),
    [
        ("--seconds 0.5", "a-cat.mp4", 8),
        ("--seconds 0.01 -o x.webm", "x.webm", 1),
        ("--seconds 0.3 -o x.gif", "x.gif", 5),
        ("", "a-cat.mp4", 81),
    ],
)
def test_generate_a_clip_by_name(grn: Any, here: Path, arguments: str, name: str, count: int) -> None:
    outcome = grn("generate", "a cat", "-m", "grn-t2v", "--size", "48x32", "--steps", 2, *arguments.split(), "--json")
    record = json.loads(outcome.text)
    assert (record["output"], record["frames"], record["fps"]) == (name, count, 16)
    with open_media(here / name) as media:
        assert (media.width, media.height) == (48, 32)
        found = list(media)
    assert len(found) == count
    if name.endswith("mp4"):
        with open_media(here / name) as media:
            assert media.fps == pytest.approx(16)


def test_a_clip_begins_with_a_picture_as_published(grn: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts have the tag that says so, and the empty one none; whatever is drawn, the first frame is the picture's."""
    photo = np.random.default_rng(0).integers(0, 255, (61, 71, 3), dtype=np.uint8)
    write_image(here / "first.png", photo)
    asked: list[str] = []
    encode = Umt5Encoder.encode
    monkeypatch.setattr(Umt5Encoder, "encode", lambda self, texts: asked.extend(texts) or encode(self, texts))
    small = ("-m", "grn-8b", "--size", "48x32", "--seconds", 0.5, "--steps", 3)
    outcome = grn("generate", "a cat", "--image", "first.png", *small, "-o", "x.webp", "--json")
    assert (outcome.code, json.loads(outcome.text)["frames"], asked) == (0, 8, ["", "<I2V>a cat"])
    assert grn("generate", "a red cat", "--image", "first.png", *small, "--seed", 7, "-o", "y.webp").code == 0
    assert grn("generate", "a cat", *small, "-o", "z.webp").code == 0
    assert asked[2:] == ["", "<I2V>a red cat", "", "<T2V>a cat"]
    one, other, free = (read_image(here / f"{name}.webp") for name in "xyz")  # first frames
    assert np.array_equal(one, other)
    assert not np.array_equal(one, free)
    refused = grn("generate", "a cat", "--image", "first.png", "-m", "grn-t2i", "--size", "48x32")
    assert (refused.code, "--image and --continue: grn-t2i draws still pictures" in refused.err) == (2, True)


def test_a_preset_is_written_down_and_repeated(grn: Any, here: Path) -> None:
    small = ("-m", "grn-8b", "--size", "48x32", "--seconds", 0.3, "--steps", 3)
    record = json.loads(grn("generate", "a cat", "--preset", "authors", *small, "-o", "x.webp", "--json").text)
    shown = json.loads(grn("models", "show", "grn-8b", "--json").text)["config"]["presets"]["authors"]
    assert (record["preset"], record["negative_prompt"]) == ("authors", shown["negative_prompt"])
    assert (record["prompt"], record["sampling"]["guidance"]) == ("a cat", shown["guidance"])
    assert grn("generate", "--like", "x.webp", "-o", "y.webp").code == 0
    assert (here / "x.webp").read_bytes() == (here / "y.webp").read_bytes()
    assert grn("generate", "a cat", *small, "-o", "z.webp").code == 0
    assert not np.array_equal(read_image(here / "x.webp"), read_image(here / "z.webp"))
    refused = grn("generate", "a cat", "--preset", "authors", "-m", "grn-t2i")
    assert (refused.code, "preset authors: grn-t2i has none; " in refused.err) == (2, True)


def test_show_says_how_a_published_model_is_drawn(grn: Any, here: Path) -> None:
    lines = grn("models", "show", "grn-8b").text.splitlines()
    for line in (
        "network   text_attention = joint", "sampling  curve_factor = 0.95", "sampling  ratio_of = drawn",
        "sampling  guidance = 4.0", "drawing   size = 640", "drawing   most_frames = 81", "drawing   fps = 16.0",
        "drawing   prompt_tag = <T2V>", "drawing   image_prompt_tag = <I2V>", "drawing   tokenizer = hbq-64",
        "preset    authors: off unless named with --preset", "          guidance = 3.0",
    ):  # fmt: skip
        assert line in lines
    assert "note      no sampling settings are published for H; these are B's" in grn("models", "show", "grn-h").text


def test_a_clip_to_standard_output(grn: Any, here: Path) -> None:
    small = ("--size", "32", "--steps", 1, "--seconds", "0.2")
    outcome = grn("generate", "a cat", "-m", "grn-t2v", *small, "-o", "-")
    assert outcome.code == 0
    (here / "x.mp4").write_bytes(outcome.out)
    with open_media(here / "x.mp4") as media:
        assert len(list(media)) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            "a -m grn-t2v --size 32 --seconds 6",
            "96 frames: grn-t2v draws at most 81, 5.06 s at 16 a second; draw a shorter",
        ),
        ("a -m grn-t2i --size 32 -o x.mp4", "x.mp4: cannot write"),
        ("a -m grn-t2i --size 32 --seconds 1", "--seconds: grn-t2i draws still pictures; leave it out"),
        ("a -m grn-t2i --area 3M", "--area 3M: is none of 0.06M, "),
        ("a -m grn-t2i --aspect 3", "--aspect 3: expected WIDTH:HEIGHT"),
        ("a -m grn-t2i --size 32 --area 1M", "--size and --area: both say the size"),
        ("a -m emoji --text-device cpu", "emoji reads words from a table: there is no text encoder to place"),
        ("--class 1 -m grn-b --text-encoder umt5-xxl", "grn-b reads classes: there is no text encoder to place"),
    ],
)
def test_generate_refuses(grn: Any, here: Path, arguments: str, says: str) -> None:
    outcome = grn("generate", *arguments.split(), "--steps", 1)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, b"", 1)
    assert says in outcome.err
    assert list(here.iterdir()) == []


PARTS = ["--text-dtype bfloat16", "--tokenizer-dtype bfloat16", "--tokenizer other", "--text-encoder words"]


@pytest.mark.parametrize("option", PARTS)
def test_part_options_change_the_picture(grn: Any, here: Path, option: str) -> None:
    torch.save({"ema": tokenizer_state(64, 9)}, here / "t.ckpt")
    convert.convert(here / "t.ckpt", here / "other", "other")
    files = published_files()
    torch.save({k: v + 0.1 for k, v in reference_state("umt5").items()}, here / "w.pth")
    files["umt5-xxl/umt5-xxl/tokenizer.json"].save(str(here / "tokenizer.json"))
    convert.convert(here / "w.pth", here / "words", "words")
    base = ("generate", "a cat on a red house", "-m", "grn-t2i", "--size", 64, "--steps", 6)
    grn(*base, "-o", "a.png")
    assert grn(*base, *option.split(), "-o", "b.png").code == 0
    assert not np.array_equal(read_image(here / "a.png"), read_image(here / "b.png"))


@pytest.mark.parametrize("option", ["--text-device", "--tokenizer-device"])
def test_part_devices_are_checked(grn: Any, here: Path, option: str) -> None:
    base = ("generate", "a cat", "-m", "grn-t2i", "--size", 32, "--steps", 1)
    assert grn(*base, option, "cpu").code == 0
    outcome = grn(*base, option, "cuda:99")
    assert outcome.code == 5
    assert f"{option} cuda:99: no such device" in outcome.err
    assert grn(*base, option, "gpu").code == 2


def test_an_uncalibrated_model_says_so(grn: Any, here: Path) -> None:
    base = ("generate", "--class", 3, "-m", "grn-l", "--adaptive", "--tmin", 6, "--tmax", 9)
    outcome = grn(*base)
    assert outcome.err == (
        "grn: warning: grn-l: is not calibrated, so every picture takes the same steps; run grn models calibrate\n"
    )
    shutil.copytree(resolve("grn-l").folder, here / "m")
    common = ("-n", 4, "--k", 300, "--mean", 8, "--tmin", 6, "--tmax", 10)
    assert grn("models", "calibrate", "m", *common).code == 0
    outcome = grn("generate", "--class", 3, "-m", "m", "--adaptive", "-o", "x.png", "--json")
    assert outcome.err == ""
    assert 6 <= json.loads(outcome.text)["steps"] <= 10


def test_b_is_adaptive_as_it_is_published(grn: Any, here: Path) -> None:
    outcome = grn("generate", "--class", 3, "-m", "grn-b", "--adaptive", "-o", "x.png", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert 20 <= json.loads(outcome.text)["steps"] <= 50


def test_tokenize_by_name(grn: Any, here: Path, clip: Path) -> None:
    outcome = grn("tokenize", clip, "--tokenizer", "hbq-64", "--size", 32, "--duration", 0.3, "-o", "c.npz", "--json")
    record = json.loads(outcome.text)
    assert (record["tokenizer"], record["shape"][-1], record["kind"]) == ("hbq-64", 64, "video")
    assert grn("reconstruct", "c.npz", "-o", "back.mp4").code == 0


def test_eval_by_name(grn: Any, here: Path) -> None:
    made = ("generate", "--class", 1, "--class", 2, "-n", 2, "-m", "grn-b", "--steps", 2, "-o", "real")
    assert grn(*made).code == 0
    base = (
        "eval",
        "fid",
        "--model",
        "grn-b",
        "--reference",
        "real",
        "-n",
        4,
        "--steps",
        2,
        "--resolution",
        32,
        "--json",
    )
    plain = json.loads(grn(*base).text)
    assert plain["model"] == "grn-b"
    half = json.loads(grn(*base, "--tokenizer-dtype", "bfloat16").text)
    assert half["frechet"] != plain["frechet"]


def test_the_readmes_python_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- needs the published weights -->\n```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.setitem(shapes.AREAS, "0.92M", 64)
    found: dict[str, Any] = {}
    # The tiny model has ten classes and no machine here has a GPU.
    exec(block.replace('"cuda"', '"cpu"').replace("207", "7"), found)
    assert found["result"].frames.shape == (1, 48, 80, 3)
    clip = found["clip"]
    assert clip.frames.shape == (33, 48, 80, 3)
    assert found["pixels"].shape == (1, 3, 1, 64, 64)


# Offline, listing, pulling


def test_list_says_what_is_fetched_and_what_is_on_disk(
    grn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub_cache(tmp_path / "hub")
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "grn"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (snapshot / "GRN_T2V_2B_FSA_sft147400_ema.pth").unlink()
    assert grn("models", "pull", "hbq-16", "--offline").code == 0

    def states() -> dict[str, str]:
        lines = grn("models", "list", "--json").text.splitlines()
        return {record["name"]: record["state"] for record in map(json.loads, lines)}

    assert states() == {
        "emoji": "embedded", "emoji-tokenizer": "embedded",
        "hbq-16": "on disk", "hbq-64": "fetched", "grn-b": "fetched", "grn-l": "fetched", "grn-h": "fetched",
        "grn-g": "not published", "grn-t2i": "fetched", "grn-t2v": "to be pulled", "grn-8b": "fetched",
        "grn-8b-t2i": "fetched", "umt5-xxl": "fetched",
    }  # fmt: skip
    outcome = grn("models", "pull", "grn-t2i", "--offline")
    assert outcome.text == f"{tmp_path / 'grn' / 'models' / 'grn-t2i'}\n"
    found = states()  # with what it works with
    assert {found[name] for name in ("grn-t2i", "hbq-64", "umt5-xxl")} == {"on disk"}
    assert grn("models", "show", "umt5-xxl").text.count("network   ") == 8


def test_a_repository_without_pieces_has_no_text_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = hub_cache(tmp_path / "hub")
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "grn"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (snapshot / "umt5-xxl" / "umt5-xxl" / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"umt5-xxl: weights are not here .*tokenizer\.json"):
        Pipeline.from_pretrained("grn-t2i", offline=True)


@pytest.mark.parametrize(
    "arguments",
    [
        "tokenize none.png --tokenizer hbq-16",
        "generate a --init none.png -m grn-t2i",
        "generate a --image none.png -m grn-8b",
        "eval fid --reference none.npz -m grn-b --features offline",
    ],
)
def test_a_file_that_is_not_there_is_told_before_a_model_is_fetched(
    grn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "grn"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    outcome = grn(*arguments.split(), "--offline")
    assert (outcome.code, outcome.err.count("\n")) == (3, 1)
    assert re.search(r"none\.(png|npz): no such", outcome.err)
