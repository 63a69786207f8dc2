"""The published names, from a hub cache laid out by hand and without a network: fetched, converted once, used."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_files import CLASSES, TEXTS, class_state, filled, text_shapes, tokenizer_state

import grn
from grn import editing
from grn.errors import ModelMismatchError, ModelNotFoundError, UsageError
from grn.hub import convert, registry
from grn.hub.renames import rename
from grn.hub.resolve import resolve
from grn.media import cover, to_pixels
from grn.models.folder import NETWORKS, ModelFolder
from grn.networks.condition import ClassCondition, TextCondition
from grn.pipeline import Part, Pipeline
from grn.text.umt5 import Umt5Encoder

PUBLISHED = [name for name, entry in registry.ENTRIES.items() if entry.repo]


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


@pytest.mark.parametrize("name", [name for name in registry.names("generator") if registry.ENTRIES[name].repo])
def test_every_published_layout_comes_to_a_picture_or_clip(name: str, home: Path) -> None:
    """From the file of today, converted, with its own tokenizer, text encoder and settings."""
    entry = registry.ENTRIES[name]
    pipeline = Pipeline.from_pretrained(name)
    card = (home / "grn" / "models" / name / "README.md").read_text()
    assert f"Converted from `{entry.file}`" in card
    if entry.kind == "class-to-image":
        one, other = pipeline([3, 4], steps=4)
        assert one.frames.shape == (1, pipeline.size, pipeline.size, 3)
    else:
        assert pipeline.generator.config.text_attention == "joint"
        size = (5, 32, 48) if entry.fps else (32, 48)
        one, other = pipeline(["a cat", "red dog"], size=size, steps=4)
        assert one.frames.shape == (5 if entry.fps else 1, 32, 48, 3)
        assert one.fps == entry.fps
    assert one.frames.std() > 5
    assert (one.frames != other.frames).any()


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
    wanted = [0.95 * (1 - np.cos(np.pi / 2 * min(1, (i + 1) / 5))) for i in range(6)]
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


def test_a_first_frame_covers_the_clip_as_published(home: Path) -> None:
    """Scaled to whole pixels, then cropped; it is in front when the clip is decoded."""
    pipeline, size = Pipeline.from_pretrained("grn-8b"), (32, 48)
    photo = np.random.default_rng(0).integers(0, 255, (61, 71, 3), dtype=np.uint8)
    known = editing.animated_picture(pipeline, photo, 9, size)
    indices = pipeline.tokenizer.encode(to_pixels(cover(photo, size[::-1])[None]))[0]
    assert torch.equal(known.tokens[:1], pipeline.elements(indices))
    assert known.fixed.flatten(1).all(1).tolist() == [True, False, False]
    (result,) = pipeline(["a cat"], size=(9, *size), steps=2, known=known)
    assert np.array_equal(result.frames[:1], pipeline.pictures(indices[None])[0])


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


@pytest.mark.parametrize("at_once", ["part", "block"])
def test_parts_are_loaded_one_after_the_other(at_once: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's weights are read when the text encoder has left; offloaded or not, all draw the same."""
    small: dict[str, Any] = {"size": (16, 16), "steps": 2}
    stays = Pipeline.from_pretrained("grn-8b-t2i")
    drawn = frames(stays, ["a cat"], **small)
    pipeline = Pipeline.from_pretrained("grn-8b-t2i", at_once=at_once)
    encoder, load, read = pipeline.text, ModelFolder.load_weights, []
    assert isinstance(encoder, Umt5Encoder)

    def noted(folder: ModelFolder, *given: Any) -> str:
        read.append((folder.config.name, encoder.loaded))
        return load(folder, *given)

    monkeypatch.setattr(ModelFolder, "load_weights", noted)
    assert frames(pipeline, ["a cat"], **small) == drawn
    assert read == [("umt5-xxl", False), ("grn-8b-t2i", False)]
    assert (stays.text.loaded, encoder.loaded) == (True, False)


def test_what_the_authors_scripts_add_is_a_preset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off unless asked for; what is said beside it counts."""
    pipeline = Pipeline.from_pretrained("grn-8b")
    small: dict[str, Any] = {"size": (5, 16, 16), "steps": 2}
    asked: list[str] = []
    encode = Umt5Encoder.encode
    monkeypatch.setattr(Umt5Encoder, "encode", lambda self, texts: asked.extend(texts) or encode(self, texts))
    own = registry.ENTRIES["grn-8b"].presets["authors"]
    (plain,), (result,) = pipeline(["a cat"], **small), pipeline(["a cat"], preset="authors", **small)
    assert asked == ["", "<T2V>a cat", f"<T2V>{own['negative_prompt']}", "<T2V>a cat. The quality is very high!"]
    assert (plain.record.get("preset"), plain.record["negative_prompt"], plain.made.sampling.guidance) == (
        None,
        "",
        4.0,
    )
    assert result.record["preset"] == "authors"
    assert (result.record["negative_prompt"], result.made.sampling.guidance) == (own["negative_prompt"], 3.0)
    photo = np.zeros((16, 16, 3), np.uint8)
    known = editing.animated_picture(pipeline, photo, 5)
    asked.clear()
    (told,) = pipeline(["a cat"], preset="authors", negative_prompt="red", guidance=2.0, known=known, **small)
    assert asked == ["<I2V>red", "<I2V>a cat high aesthetic and high quality video."]
    assert (told.record["negative_prompt"], told.made.sampling.guidance) == ("red", 2.0)
    asked.clear()
    assert pipeline(["a cat"], preset="authors", guidance=1.0, **small)[0].record["negative_prompt"] == ""
    assert asked[0] == ""
    for name, says in (("grn-8b", "preset mine: grn-8b has authors; "), ("grn-t2i", "preset mine: grn-t2i has none; ")):
        with pytest.raises(UsageError, match=says):
            Pipeline.from_pretrained(name)(["a cat"], preset="mine")
