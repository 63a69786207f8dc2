"""Generators trained on scenes that are composed where they learn."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from banks import Dice
from compose import Renderer
from generator_sources import (
    ClipSource,
    MixedSource,
    SceneSource,
    choose,
    encode,
    encoded,
    make_scenes,
    read_captioned,
    share_of_name,
)
from helpers.drawings import SIDE, THINGS, emoji_tar, sprites
from helpers.training import log_rows, recipe_text
from resident_generator import main as train_generator
from resident_generator import start
from scene_codes import cached_maps, key_of
from scenes import Composer
from words_on_device import DeviceWords, words_of

from grn.errors import BadInputError, ConfigError
from grn.media.pixels import to_unit
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig
from grn.text.learnt import read_words
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import Tokenizer, save_tokenizer
from grn.training.config import DataConfig, RunConfig, SourceConfig
from grn.training.recipe import GeneratorRecipe, WordsConfig, load_recipe

CPU = torch.device("cpu")


def dice(step: int = 0) -> Dice:
    return Dice.of(0, step, CPU)


@pytest.fixture
def words(place: Path) -> Path:
    others = "red green blue two three four five six left right above below flat style"
    vocabulary = [*THINGS, *(f"{name}s" for name in THINGS), *others.split()]
    vocabulary += ["##x", *"abcdefghijklmnopqrstuvwxyz"]
    config = StaticWordVectorsConfig(dim=6, rows=len(vocabulary))
    table = torch.randn(len(vocabulary), 6, generator=torch.Generator().manual_seed(0))
    StaticWordVectors(config, vocabulary, table).save(place / "words")
    return place / "words"


def test_captions_are_what_the_text_encoder_makes_of_them(words: Path) -> None:
    text = StaticWordVectors.load(words)
    captions = ["a cat", "two cats and a dog", "the", "a cat to the left of a red van"]
    device = DeviceWords(text, [words_of(caption) for caption in captions], CPU)
    found = device(torch.arange(4), dice().device, WordsConfig(turned=0.0), dropped=0.0)
    expected = text.encode(captions)
    assert torch.equal(found.mask, expected.mask)
    assert torch.allclose(found.tokens[found.mask], expected.tokens[expected.mask], atol=1e-6)


def test_captions_are_dropped_and_turned(words: Path) -> None:
    text = StaticWordVectors.load(words)
    device, many = DeviceWords(text, [["cat", "dog"], ["van"]], CPU), torch.zeros(400, dtype=torch.long)
    dropped = device(many, dice().device, WordsConfig(), dropped=0.25)
    empty = text.encode([""])
    gone = dropped.mask.sum(1) == 1
    assert 0.15 < gone.float().mean() < 0.35
    assert torch.equal(dropped.tokens[gone][:, :1], empty.tokens.expand(int(gone.sum()), -1, -1))
    turned = device(many, dice().device, WordsConfig(turned=0.5, degrees=60), dropped=0.0).tokens[:, 1]
    angle = torch.rad2deg(torch.arccos(F.cosine_similarity(turned, text.word_vectors("cat"), dim=-1).clamp(-1, 1)))
    assert angle.max() < 60.1
    assert 0.35 < (angle < 0.1).float().mean() < 0.65
    # Turned towards itself, which in a table as small as this one happens, a word has no way to go.
    kept = turned.norm(dim=-1).isclose(text.word_vectors("cat").norm(), rtol=1e-4)
    assert kept.float().mean() > 0.97


def test_a_caption_that_cannot_be_spelt_is_refused(words: Path) -> None:
    with pytest.raises(BadInputError, match="7"):
        DeviceWords(StaticWordVectors.load(words), [["cat"], ["7"]], CPU)


def test_scenes_are_the_same_by_any_number_of_processes() -> None:
    (words, one), (others, two) = (
        make_scenes(partial(Composer, sprites()[0]), 90, 3, processes) for processes in (1, 2)
    )
    assert words == others
    assert len(words) == len(one) == 90
    assert torch.equal(one.objects.nan_to_num(9), two.objects.nan_to_num(9))
    assert torch.equal(one.grounds, two.grounds)


def test_codes_of_scenes_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scene_codes.SHARD", 4)
    made: list[list[int]] = []

    def encode(rows: torch.Tensor, dice: Dice) -> torch.Tensor:
        made.append(rows.tolist())
        return (rows.view(-1, 1, 1, 1, 1) + int(10 * dice.chance())).expand(-1, 1, 2, 2, 3)

    first = cached_maps(tmp_path, "key", 10, 0, CPU, encode)
    assert made == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (first.shape, first.dtype) == ((10, 1, 2, 2, 3), torch.uint8)
    next(tmp_path.glob("*-00001-*")).unlink()
    assert torch.equal(cached_maps(tmp_path, "key", 10, 0, CPU, encode), first)
    assert made[3:] == [[4, 5, 6, 7]]
    cached_maps(tmp_path, "other", 4, 0, CPU, encode)
    assert made[4:] == [[0, 1, 2, 3]]
    next(tmp_path.glob("*-00002-*")).write_bytes(b"x")
    with pytest.raises(BadInputError, match="damaged"):
        cached_maps(tmp_path, "key", 10, 0, CPU, encode)


def test_codes_are_named_by_all_that_they_depend_on() -> None:
    parts = (torch.arange(3), "tokenizer", 4)
    assert key_of(*parts) == key_of(*parts)
    others = [(torch.arange(4), "tokenizer", 4), (torch.arange(3), "other", 4), (torch.arange(3), "tokenizer", 2)]
    assert len({key_of(*other) for other in (parts, *others)}) == 4


def test_codes_of_scenes_are_those_of_how_they_are_drawn(tmp_path: Path, words: Path) -> None:
    captions, scenes = make_scenes(partial(Composer, sprites()[0]), 4, 3, 1)
    shown, tokenizer = torch.from_numpy(sprites()[1]), Tokenizer.from_pretrained("emoji-tokenizer")
    said = DeviceWords(StaticWordVectors.load(words), [["cat"] for _ in captions], CPU)
    grounds = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    others = [Renderer(shown), Renderer(shown, shaken=False), Renderer(shown, grounds), Renderer(shown, grounds + 9)]
    for count, renderer in enumerate(others, 1):
        for _ in range(2):
            kept = SceneSource(scenes, said, renderer, tokenizer, 1).kept(tmp_path / "codes", 0)
            assert kept.maps is not None
            assert len(list((tmp_path / "codes").iterdir())) == count


def test_common_names_are_drawn_more_often() -> None:
    ranks = {"cat": 1000, "owl": 9000, "hot": 100}
    shares = [share_of_name(ranks, 1.0, name) for name in ("cat", "hot cat", "owl", "unheard")]
    assert shares == [1 / 2, 1 / 2, 1 / 10, 1 / (1 + 3 / 1000)]
    assert share_of_name(ranks, 0.5, "owl") == pytest.approx(10**-0.5)


def test_clips_are_encoded_once_as_they_are_and_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    save_tokenizer(tmp_path / "tokenizer", CausalAutoencoder(TokenizerConfig.tiny()), "tiny")
    tokenizer = Tokenizer.from_pretrained(tmp_path / "tokenizer")
    clips = torch.randint(256, (3, 5, SIDE, SIDE, 3), dtype=torch.uint8)
    maps = encoded(clips.numpy(), tokenizer, 2, mirrored=True, folder=tmp_path / "codes")
    one = to_unit(clips[1:2].permute(0, 4, 1, 2, 3))
    assert torch.equal(maps[2:3], encode(tokenizer, one, 2).to(torch.uint8))
    assert torch.equal(maps[3:4], encode(tokenizer, one.flip(-1), 2).to(torch.uint8))
    assert not torch.equal(maps[2], maps[3])
    assert torch.equal(encoded(clips.numpy(), tokenizer, 2, mirrored=False, folder=None), maps[::2])
    monkeypatch.delattr("generator_sources.encode")
    assert torch.equal(encoded(clips.numpy(), tokenizer, 2, mirrored=True, folder=tmp_path / "codes"), maps)


def test_a_twin_is_not_trained_on_held_out_names() -> None:
    made, _ = sprites()
    names = {names: {made[n].name for n in choose(made, ["3d"], names)} for names in ("all", "train")}
    assert names["all"] - names["train"] == {"hat"}
    assert {made[n].style for n in choose(made, ["flat"], "all")} == {"flat"}
    assert 3 <= len(choose(made, ["3d", "flat"], "all", limit=4)) <= 5


@pytest.fixture
def recipe(place: Path, words: Path) -> GeneratorRecipe:
    """Of a tiny network and tokenizer."""
    torch.manual_seed(0)
    save_tokenizer(place / "tokenizer", CausalAutoencoder(TokenizerConfig.tiny()), "tiny")
    return GeneratorRecipe(
        kind="generator",
        name="tiny",
        network=TextToVisualConfig.tiny("ind"),
        tokenizer="tokenizer",
        text_encoder=Path("words"),
        cut=0.5,
        sheet_prompts=("a cat", "a red dog"),
        stills=True,
        data=DataConfig(
            sources=(SourceConfig(path="emoji.tar"), SourceConfig(path="clips.tar", clips=True)),
            size=SIDE,
            frames=5,
            fps=6.0,
        ),
        run=RunConfig(steps=6, batch_size=3, log_every=1),
        sampling=SamplerConfig(steps=2),
    )


COMMON = ["generator.toml", "-o", "run", "--sprites", "sprites.tar", "--scenes", "40", "--device", "cpu"]


def test_a_generator_of_pictures_and_clips_is_trained(place: Path, recipe: GeneratorRecipe) -> None:
    (place / "generator.toml").write_text(recipe_text(recipe))
    common = [*COMMON, "--names", "train", "--clips", "clips.tar", "--clip-share", "0.5", "--clip-batch", "2"]
    assert train_generator([*common, "--processes", "2", "--codes", "codes"]) == 0
    assert {"loss_pictures", "loss_clips"} <= {key for row in log_rows(place / "run") for key in row}
    assert (place / "run" / "samples" / "00000006.png").is_file()
    assert (place / "run" / "final" / "tokenizer" / "config.json").is_file()
    card = (place / "run" / "final" / "README.md").read_text()
    assert "6 steps of 3 samples" in card
    assert "sprites.tar, clips.tar" in card
    assert load_recipe(place / "run" / "run.toml") == recipe
    known = (place / "run" / "final" / "words.txt").read_text().split()
    assert {"cat", "animated"} <= set(known)  # the clips' captions alone have the second
    pipeline = Pipeline.from_pretrained(place / "run" / "final")
    drawn = pipeline("two red cats")
    assert drawn.frames.shape == (1, SIDE, SIDE, 3)
    clip = pipeline("two red cats", size=(5, SIDE, SIDE))
    assert clip.frames.shape == (5, SIDE, SIDE, 3)


def test_pictures_stand_beside_scenes_with_their_own_captions(words: Path) -> None:
    device = DeviceWords(StaticWordVectors.load(words), [["cat"], ["dog"], ["van"], ["two", "owl"]], CPU)

    def scenes(count: int, dice: Dice) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros((count, 1, 2, 2, 3), dtype=torch.long), torch.zeros(count, dtype=torch.long)

    maps = torch.ones((2, 1, 2, 2, 3), dtype=torch.uint8)
    pictures = ClipSource(maps, torch.tensor([1, 3]), torch.tensor([2, 1]), device)
    found, rows = MixedSource(scenes, pictures, 0.75)(8, dice())  # type: ignore[arg-type]
    assert found[:, 0, 0, 0, 0].tolist() == [1] * 6 + [0] * 2
    assert set(rows[:6].tolist()) <= {1, 2, 3}
    assert rows[6:].tolist() == [0, 0]


def test_pictures_of_the_styles_and_names_that_are_trained_on(place: Path) -> None:
    emoji_tar(place / "emoji.tar")
    pixels, captions = read_captioned(place / "emoji.tar", SIDE, 1, 1, wanted=lambda about: about["style"] == "flat")
    assert pixels.shape == (len(THINGS), 1, SIDE, SIDE, 3)
    assert captions[0] == ["a cat", "a cat", "cat"]
    with pytest.raises(BadInputError, match="none that is wanted"):
        read_captioned(place / "emoji.tar", SIDE, 1, 1, wanted=lambda about: False)


def test_a_generator_of_other_codes_goes_on_with_its_blocks(
    place: Path, recipe: GeneratorRecipe, capsys: pytest.CaptureFixture[str]
) -> None:
    emoji_tar(place / "emoji.tar")
    (place / "generator.toml").write_text(recipe_text(recipe))
    assert train_generator([*COMMON, "--pictures", "emoji.tar", "--clips", "clips.tar", "--processes", "1"]) == 0
    config, trained = TextToVisualConfig.tiny("ind"), place / "run" / "final"
    networks = [TextToVisual(config.model_copy(update=change)) for change in ({}, {"patch": 2, "head_width": 48})]
    for network in networks:
        start(network, trained)
    assert "new: embed.weight, head.bias, head.weight, widen.bias, widen.weight\n" in capsys.readouterr().out
    same, finer = (network.blocks.state_dict() for network in networks)
    assert all(torch.equal(same[name], finer[name]) for name in same)
    deeper = TextToVisual(config.model_copy(update={"depth": config.depth + 1}))
    start(deeper, trained)
    assert f"new: blocks.{config.depth}.attention" in capsys.readouterr().out
    begun = deeper.blocks.state_dict()
    assert all(torch.equal(same[name], begun[name]) for name in same)
    assert train_generator([*COMMON, "-o", "other", "--set", "run.init=emoji"]) == 1
    assert "another shape" in capsys.readouterr().err
    for change in ({"width": 64}, {"depth": config.depth - 1}):
        with pytest.raises(ConfigError, match="another shape"):
            start(TextToVisual(config.model_copy(update=change)), trained)
    (trained / "words.txt").write_text("zeppelin\n")
    assert train_generator([*COMMON, "-o", "more", "--set", "run.init=run/final"]) == 0
    assert "zeppelin" in read_words(place / "more" / "final")
