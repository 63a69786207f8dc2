"""The published names, from a hub cache laid out by hand and without a network: fetched, converted once, used."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_files import (
    CLASSES,
    TEXTS,
    class_state,
    filled,
    hub_cache,
    published_files,
    reference_state,
    text_shapes,
    tokenizer_state,
)

import grn
from grn.errors import ModelMismatchError, ModelNotFoundError, UsageError
from grn.hub import convert, registry
from grn.hub.renames import rename
from grn.hub.resolve import resolve
from grn.media import open_media, read_image
from grn.models.folder import NETWORKS
from grn.networks import shapes
from grn.networks.condition import ClassCondition, TextCondition
from grn.pipeline import Part, Pipeline
from grn.text.umt5 import Umt5Encoder

PUBLISHED = [name for name, entry in registry.ENTRIES.items() if entry.repo]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A machine whose hub cache has all the published files; what is converted stays for the other tests."""
    place = tmp_path_factory.mktemp("machine")
    hub_cache(place / "hub")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("GRN_CACHE", str(place / "grn"))
        changed.setenv("HF_HUB_OFFLINE", "1")
        changed.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
        yield place


def frames(pipeline: Pipeline, prompts: Any, **options: Any) -> list[bytes]:
    return [result.frames.tobytes() for result in pipeline(prompts, **options)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_name_is_converted_once(name: str, home: Path) -> None:
    kind = registry.ENTRIES[name].kind
    first, second = resolve(name), resolve(name)
    assert second.source == "converted"
    assert first.source in ("hub cache", "converted")
    assert first.folder == second.folder == home / "grn" / "models" / name
    assert first.open().config.kind == kind
    assert first.open().config.name == name


def test_averages_are_taken(home: Path) -> None:
    """The weights beside them are zeros here."""
    network = grn.Generator.from_pretrained("grn-b").network
    for key, value in rename("class-to-image", class_state(CLASSES)).items():
        assert torch.equal(network.state_dict()[key], value)
    for name, channels, seed in (("hbq-16", 16, 1), ("hbq-64", 64, 2)):
        tokenizer = grn.Tokenizer.from_pretrained(name)
        for key, value in rename("tokenizer", tokenizer_state(channels, seed)).items():
            assert torch.equal(tokenizer.network.state_dict()[key], value)


# What a name draws, and how


def test_classes_are_drawn_as_published(home: Path) -> None:
    pipeline = grn.Pipeline.from_pretrained("grn-b")
    settings = pipeline.sampling
    assert (settings.steps, settings.temperature, settings.guidance) == (50, 1.31, 2.35)
    assert (settings.guidance_start, settings.guidance_end, settings.curve) == (0.44, 1.0, "identity")
    assert (pipeline.name, pipeline.tokenizer.name, pipeline.size) == ("grn-b", "hbq-16", 64)
    same = frames(pipeline, [3, 7], steps=5)
    assert len({*same}) == 2
    generator, shape = grn.Generator.from_pretrained("grn-b"), (1, 4, 4)
    samples = generator.sampler(steps=5).run(
        ClassCondition(torch.tensor([3, 7])), generator.network.null_condition(1), shape, seed=[0, 0]
    )
    assert [pipeline.pictures(sample.indices[None]).tobytes() for sample in samples] == same


@pytest.mark.parametrize(
    ("name", "guidance", "temperature", "size", "clip"),
    [("grn-t2i", 3.0, 1.1, 1024, (1, None)), ("grn-t2v", 4.0, 1.0, 640, (81, 16.0))],
)
def test_texts_are_drawn_as_published(
    name: str, guidance: float, temperature: float, size: int, clip: tuple, home: Path
) -> None:
    pipeline = grn.Pipeline.from_pretrained(name)
    settings = pipeline.sampling
    assert (settings.guidance, settings.temperature, settings.steps) == (guidance, temperature, 50)
    assert (settings.curve, settings.ratio_shown) == ("cosine", "kept")
    assert (pipeline.size, (pipeline.frames, pipeline.fps)) == (size, clip)
    assert (pipeline.tokenizer.name, pipeline.text.name) == ("hbq-64", "umt5-xxl")
    short = {"size": (min(6, clip[0]), 32, 48), "steps": 4}
    (cat,) = pipeline(["a cat"], **short)
    assert cat.frames.shape == (*short["size"], 3)
    same = cat.frames.tobytes()
    assert frames(pipeline, ["A  cat".lower()], **short) == [same]
    assert frames(pipeline, ["red dog"], **short) != [same]
    assert frames(pipeline, ["a cat"], negative_prompt="red dog", **short) != [same]


@pytest.mark.parametrize("encoder", [None, "folder"])
def test_a_saved_text_model_finds_its_encoder(home: Path, tmp_path: Path, encoder: str | None) -> None:
    """A table of words is saved with the model; of a network, where it is."""
    found = resolve("umt5-xxl", kind="text-encoder").folder
    pipeline = grn.Pipeline.from_pretrained("grn-t2i", text=Part(found if encoder else None))
    pipeline.save_pretrained(tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["text_encoder"] == (str(found.resolve()) if encoder else "umt5-xxl")
    short: dict[str, Any] = {"size": (32, 48), "steps": 3}
    again = grn.Pipeline.from_pretrained(tmp_path / "mine")
    assert frames(again, ["a cat"], **short) == frames(pipeline, ["a cat"], **short)


def test_text_models_see_the_share_that_was_really_kept(home: Path) -> None:
    """And the padding of the prompts beside it changes nothing but roundings."""
    pipeline = grn.Pipeline.from_pretrained("grn-t2i")
    network, told, kept = pipeline.generator.network, [], [0.0]
    hook = network.register_forward_pre_hook(lambda _, arguments: told.append(float(arguments[1][0])))
    views: list[Any] = []
    list(pipeline(["a cat"], size=(32, 32), steps=6, guidance=1.0, callback=views.append))
    hook.remove()
    kept += [float((view.filled | view.kept).float().mean()) for view in views[:-1]]
    assert told == pytest.approx(kept, abs=1e-7)
    wanted = [0.999 * (1 - np.cos(np.pi / 2 * min(1, (i + 1) / 5))) for i in range(6)]
    assert [view.ratio for view in views] == pytest.approx(wanted)
    assert [view.ratio for view in views] != kept[1:]


@pytest.mark.parametrize("name", ["grn-b", "grn-t2i", "grn-t2v"])
def test_every_family_can_be_adaptive(name: str, home: Path) -> None:
    pipeline = grn.Pipeline.from_pretrained(name)
    is_class = pipeline.text is None
    options: dict[str, Any] = {} if is_class else {"size": (min(5, pipeline.frames), 32, 32)}
    prompts: list[Any] = [1, 2, 3] if is_class else ["a cat", "red dog", "house"]
    entropies = [r.entropy for r in pipeline(prompts, adaptive=True, tmin=6, tmax=6, **options)]
    assert all(0 < entropy < 1 for entropy in entropies)
    k = 10 / (max(entropies) - min(entropies))
    found = list(pipeline(prompts, adaptive=True, tmin=6, tmax=30, k=k, b=8 - k * min(entropies), **options))
    steps = {round(8 + k * (entropy - min(entropies))) for entropy in entropies}
    assert {result.steps for result in found} == steps
    assert min(steps) == 8 < max(steps)


# Any size and length


@pytest.mark.parametrize("size", [(16, 16), (48, 16), (32, 80), (80, 48)])
def test_text_models_draw_any_size(size: tuple[int, int], home: Path) -> None:
    (result,) = grn.Pipeline.from_pretrained("grn-t2i")(["a cat"], size=size, steps=2)
    assert result.frames.shape == (1, *size, 3)


@pytest.mark.parametrize("length", [1, 2, 4, 5, 9, 81])
def test_video_models_draw_any_length(length: int, home: Path) -> None:
    (result,) = grn.Pipeline.from_pretrained("grn-t2v")(["a cat"], size=(length, 16, 16), steps=2)
    assert result.frames.shape == (length, 16, 16, 3)


def test_as_long_as_it_can_unless_told(home: Path) -> None:
    (result,) = grn.Pipeline.from_pretrained("grn-t2v")(["a cat"], size=(16, 16), steps=2)
    assert len(result.frames) == 81


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("grn-b", {"size": (32, 32)}, "grn-b has fixed positions for 64x64"),
        ("grn-b", {"size": (5, 64, 64)}, "5 frames: grn-b draws still pictures"),
        ("grn-t2i", {"size": (5, 32, 32)}, "grn-t2i draws still pictures"),
        ("grn-t2i", {"size": (40, 32)}, "grn-t2i draws in steps of 16 pixels"),
        (
            "grn-t2v",
            {"size": (82, 32, 32)},
            "82 frames: grn-t2v draws at most 81, 5.06 s at 16 a second; draw a shorter",
        ),
    ],
)
def test_what_cannot_be_drawn(name: str, options: dict[str, Any], says: str, home: Path) -> None:
    pipeline = grn.Pipeline.from_pretrained(name)
    with pytest.raises(UsageError, match=says):
        pipeline([1] if name == "grn-b" else ["a cat"], **options)


# A file and its folder


def test_a_file_converted_by_hand_draws_what_its_name_draws(home: Path, tmp_path: Path) -> None:
    torch.save(class_state(CLASSES), tmp_path / "plain.pth")  # without decoys
    convert.convert(tmp_path / "plain.pth", tmp_path / "mine", "mine")
    by_name, by_folder = (Pipeline.from_pretrained(name) for name in ("grn-b", tmp_path / "mine"))
    assert by_folder.sampling == by_name.sampling
    assert frames(by_folder, [3], steps=5) == frames(by_name, [3], steps=5)
    shutil.copytree(resolve("hbq-16").folder, tmp_path / "mine" / "tokenizer")
    assert frames(Pipeline.from_pretrained(tmp_path / "mine"), [3], steps=5) == frames(by_name, [3], steps=5)


def test_a_file_and_its_folder_compute_the_same(tmp_path: Path) -> None:
    state = filled(text_shapes(TEXTS))
    torch.save(state, tmp_path / "w.pth")
    hints = convert.Hints(text_attention="one-way", like="grn-t2v")
    convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", hints)
    direct = NETWORKS["text-to-visual"](TEXTS)
    direct.load_state_dict(dict(rename("text-to-visual", state)))
    loaded = grn.Generator.from_pretrained(tmp_path / "out").network
    assert loaded.config == direct.config
    words = torch.randn(1, 3, TEXTS.text_width, generator=torch.Generator().manual_seed(0))
    text = TextCondition(words, torch.ones(1, 3, dtype=torch.bool))
    maps = torch.randint(16, (1, 2, 3, 4, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = [network(maps, torch.tensor([0.4]), network.prepare(text)) for network in (direct, loaded)]
    assert torch.equal(*outputs)


# Parts


def test_parts_can_be_others_in_other_types(home: Path, tmp_path: Path) -> None:
    base = Pipeline.from_pretrained("grn-t2i")
    small = {"size": (32, 32), "steps": 3}
    same = frames(base, ["a cat"], **small)
    torch.save({"ema": tokenizer_state(64, 9)}, tmp_path / "t.ckpt")
    convert.convert(tmp_path / "t.ckpt", tmp_path / "t", "other")
    other = Pipeline.from_pretrained("grn-t2i", tokenizer=Part(tmp_path / "t"))
    assert other.tokenizer.name == "other"
    assert frames(other, ["a cat"], **small) != same
    half = Pipeline.from_pretrained("grn-t2i", tokenizer=Part(dtype=torch.bfloat16))
    assert (half.tokenizer.dtype, next(half.generator.network.parameters()).dtype) == (torch.bfloat16, torch.float32)
    assert frames(half, ["a cat"], **small) != same
    half = Pipeline.from_pretrained("grn-t2i", dtype=torch.bfloat16, text=Part(dtype=torch.float32))
    assert half.tokenizer.dtype == next(half.generator.network.parameters()).dtype == torch.bfloat16
    assert half.text.encode(["a cat"]).tokens[0].dtype == torch.float32
    assert frames(half, ["a cat"], **small) != same


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("grn-b", {"text": Part("umt5-xxl")}, "grn-b reads classes: there is no text encoder to place"),
        ("grn-b", {"text": Part(device="cpu")}, "there is no text encoder to place"),
        ("emoji", {"text": Part(device="cpu")}, "emoji reads words from a table: there is no text encoder to place"),
        ("emoji", {"text": Part(dtype=torch.bfloat16)}, "there is no text encoder to place"),
    ],
)
def test_parts_that_are_not_there_cannot_be_placed(name: str, part: dict[str, Part], says: str, home: Path) -> None:
    with pytest.raises(UsageError, match=says):
        Pipeline.from_pretrained(name, **part)


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("grn-b", {"tokenizer": Part("hbq-64")}, "grn-b draws codes of 16 channels and tokenizer hbq-64 has 64"),
        ("grn-t2i", {"tokenizer": Part("hbq-16")}, "grn-t2i draws codes of 64 channels and tokenizer hbq-16 has 16"),
        ("emoji", {"text": Part("umt5-xxl")}, "emoji reads tokens of width 128 and text encoder umt5-xxl makes 32"),
        ("grn-t2i", {"tokenizer": Part("umt5-xxl")}, "umt5-xxl: is a text encoder; name a tokenizer"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(name: str, part: dict[str, Part], says: str, home: Path) -> None:
    width = resolve("emoji").open().config.network.text_width
    with pytest.raises(ModelMismatchError, match=says.replace("128", str(width))):
        Pipeline.from_pretrained(name, **part)


def test_a_model_that_names_no_tokenizer_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(resolve("grn-b").folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    del config["tokenizer"]
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "name": "mine"}))
    with pytest.raises(ModelNotFoundError, match=r"mine has no tokenizer .*; name one"):
        Pipeline.from_pretrained(tmp_path / "m")
    assert Pipeline.from_pretrained(tmp_path / "m", tokenizer=Part("hbq-16")).tokenizer.name == "hbq-16"


def test_the_text_encoder_leaves_before_anything_is_drawn(home: Path) -> None:
    pipeline = Pipeline.from_pretrained("grn-t2i", free_text=True)
    small: dict[str, Any] = {"size": (16, 16), "steps": 2}
    seen: list[bool] = []
    encoder = pipeline.text
    assert isinstance(encoder, Umt5Encoder)
    list(pipeline(["a cat"], callback=lambda _: seen.append(encoder.loaded), **small))
    assert seen == [False, False]
    stays = Pipeline.from_pretrained("grn-t2i")
    assert frames(stays, ["a cat"], **small) == frames(pipeline, ["a cat"], **small)
    assert stays.text.loaded


# The command


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_generate_by_name(grn: Any, here: Path) -> None:
    small = ("--aspect", "3:2", "--area", "0.06M", "--steps", 1)
    outcome = grn("generate", "a cat", "--model", "grn-t2i", *small, "-v", "--offline")
    assert (outcome.code, outcome.text) == (0, "a-cat.png\n")
    assert read_image(here / "a-cat.png").shape == (208, 320, 3)
    for name, folder in (("grn-t2i", "grn-t2i"), ("umt5-xxl", "umt5-xxl"), ("hbq-64", "hbq-64")):
        (line,) = [line for line in outcome.err.splitlines() if f": {name}: " in line and "loading" not in line]
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
    (snapshot / "GRN_T2V_2B.pth").unlink()
    assert grn("models", "pull", "hbq-16", "--offline").code == 0

    def states() -> dict[str, str]:
        lines = grn("models", "list", "--json").text.splitlines()
        return {record["name"]: record["state"] for record in map(json.loads, lines)}

    assert states() == {
        "emoji": "embedded", "emoji-video": "embedded", "emoji-tokenizer": "embedded", "emoji-video-tokenizer": "embedded",
        "emoji-pictures": "embedded", "hbq-16": "on disk",
        "hbq-64": "fetched", "grn-b": "fetched", "grn-l": "fetched", "grn-h": "fetched",
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
