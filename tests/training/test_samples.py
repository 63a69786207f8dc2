"""Samples that cannot be trained on are named before or when they are met; parts that do not fit are refused at once."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grn.errors import BadInputError, ConfigError, GrnError, ModelMismatchError
from grn.media import write_image
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig
from grn.tokenizer import save_tokenizer
from grn.training.config import TokenizerRecipe, load_recipe
from grn.training.mixture import MixedSource
from grn.training.run import train
from grn.training.tokenizer import TokenizerTask

TOKENIZER = TokenizerConfig(
    channels=4, rounds=2, encoder_width=4, decoder_width=4, multipliers=(1, 1), encoder_blocks=1, decoder_blocks=1,
    halves_time=(False,), time_kernel=1,
)  # fmt: skip
DATA = '[data]\nsize = 16\n[[data.sources]]\npath = "pictures"\n[run]\nsteps = 1\nbatch_size = 2\n'
RECIPES = {
    "tokenizer": 'kind = "tokenizer"\nname = "t"\n[losses]\nperceptual = 0.0\ngan = 0.0\n'
    f"[rounds]\n2 = 1.0\n[network]\nchannels = 4\nencoder_width = 4\ndecoder_width = 4\nmultipliers = [1, 1]\n"
    f"encoder_blocks = 1\ndecoder_blocks = 1\nhalves_time = [false]\ntime_kernel = 1\n{DATA}",
    "text": 'kind = "generator"\nname = "x"\ntokenizer = "tokenizer"\ntext_encoder = "words"\n'
    '[network]\nkind = "text-to-visual"\nchannels = 4\nrounds = 2\nwidth = 8\ndepth = 1\nheads = 1\nmlp_ratio = 1.0\n'
    f"text_width = 6\n{DATA}[sampling]\nsteps = 1\n",
    "class": 'kind = "generator"\nname = "c"\ntokenizer = "tokenizer"\n'
    '[network]\nkind = "class-to-image"\nchannels = 4\nrounds = 2\nwidth = 8\ndepth = 1\nheads = 1\nnum_classes = 2\n'
    f"size = 4\nbottleneck = 4\ncontext_tokens = 0\n{DATA}[sampling]\nsteps = 1\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with four pictures with captions and classes, a tokenizer, words and recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        write_image(tmp_path / "pictures" / f"{i}.png", rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        (tmp_path / "pictures" / f"{i}.txt").write_text("left")
        (tmp_path / "pictures" / f"{i}.cls").write_text("1")
    torch.manual_seed(0)
    save_tokenizer(tmp_path / "tokenizer", CausalAutoencoder(TOKENIZER), "t")
    StaticWordVectors(StaticWordVectorsConfig(dim=6, rows=1), ["left"], torch.randn(1, 6)).save(tmp_path / "words")
    for name, text in RECIPES.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def run(name: str, *overrides: str) -> None:
    train(load_recipe(Path(f"{name}.toml"), overrides), Path("run"), lambda step, row: None)


@pytest.mark.parametrize("name", RECIPES)
def test_the_place_as_it_is_trains(place: Path, name: str) -> None:
    run(name)
    assert (place / "run" / "final" / "model.safetensors").exists()


def _write(name: str, data: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(data)


def _remove(*names: str) -> Any:
    return lambda folder: [(folder / name).unlink() for name in names]


SAMPLES = [
    ("text", _write("2.txt", "\u732b".encode()), "pictures/2.png: unreadable caption: prompt"),
    ("text", _write("2.json", b'{"captions": ["left", "!!"]}'), "pictures/2.png: unreadable caption: prompt '!!'"),
    ("text", _write("2.txt", b"\xff"), "pictures/2.png: unreadable caption, class or facts"),
    ("text", _remove(*(f"{i}.txt" for i in range(4))), "pictures: no picture has a caption"),
    ("class", _remove("2.cls"), "pictures/2.png: has no class"),
    ("class", _write("2.cls", b"2"), "pictures/2.png: class 2 is not one of network.num_classes 2"),
    ("text", _write("2.png", b"no picture"), "pictures/2.png: "),
    ("tokenizer", _write("2.png", b"no picture"), "pictures/2.png: "),
]


@pytest.mark.parametrize(("name", "spoil", "message"), SAMPLES, ids=[message for _, _, message in SAMPLES])
def test_a_sample_that_cannot_be_read_is_named(place: Path, name: str, spoil: Any, message: str) -> None:
    spoil(place / "pictures")
    with pytest.raises(BadInputError) as caught:
        run(name, "run.batch_size=4")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_worker_process_names_it_in_one_line_too(place: Path) -> None:
    (place / "pictures" / "2.png").write_bytes(b"no picture")
    with pytest.raises(BadInputError) as caught:
        run("tokenizer", "run.batch_size=4", "data.workers=1")
    assert str(caught.value).startswith("pictures/2.png: ")
    assert "\n" not in str(caught.value)


MISFITS: list[tuple[str, str, type[GrnError], str]] = [
    ("text", "network.channels=5", ModelMismatchError, "for 5 channels and tokenizer t makes 4"),
    ("text", "network.text_width=7", ModelMismatchError, "gives tokens of width 6 and network.text_width is 7"),
    ("text", "data.size=18", ModelMismatchError, "not a multiple of 4"),
    ("text", "network.patch=3", ModelMismatchError, "not a multiple of 12"),
    ("class", "data.size=20", ModelMismatchError, "data.size 20 is not the 16"),
    ("class", 'text_encoder="words"', ConfigError, "of no use"),
    ("class", "words.turned=0.5", ConfigError, "words.turned: there are no words without text_encoder"),
    ("class", "sampling.stepz=1", ConfigError, "did you mean 'steps'?"),
    ("class", "sampling.guidance_start=2", ConfigError, "guidance_start"),
    ("class", 'data.sources=[{path="pictures", resize=[16, 20]}]', ConfigError, "resize is for tokenizers"),
    (
        "class",
        'data.sources=[{path="pictures", keep={style=["flat"]}}]',
        BadInputError,
        "no picture has style ['flat']",
    ),
]


@pytest.mark.parametrize(
    ("name", "override", "kind", "message"), MISFITS, ids=[override for _, override, _, _ in MISFITS]
)
def test_parts_that_do_not_fit_are_refused_before_training(
    place: Path, name: str, override: str, kind: type[GrnError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        run(name, override)
    assert message in str(caught.value)


def test_a_text_model_without_its_encoder_is_refused(place: Path) -> None:
    recipe = place / "text.toml"
    recipe.write_text(recipe.read_text().replace('text_encoder = "words"\n', ""))
    with pytest.raises(ConfigError, match="text_encoder is missing"):
        run("text")


def test_a_run_goes_through_its_sources_as_weighted(place: Path) -> None:
    sources = '[{path="pictures"}, {path="pictures/0.tar", weight=3.0}]'
    with tarfile.open(place / "pictures" / "0.tar", "w") as tar:
        for i in range(2):
            tar.add(place / "pictures" / f"{i}.png", f"{i}.png")
    recipe = load_recipe(place / "tokenizer.toml", [f"data.sources={sources}"])
    mixed = MixedSource(recipe.data, recipe.run.seed)
    numbers = mixed.order(0, 60)
    assert np.bincount([mixed.which(n) for n in numbers]).tolist() == [24, 36]
    assert np.bincount(numbers).tolist() == [6] * 4 + [18] * 2
    assert {mixed[n].key for n in numbers if mixed.which(n) == 1} == {"0", "1"}
    assert MixedSource(recipe.data, 1).order(0, 60) != numbers


def test_rounds_are_picked_for_each_picture_in_their_shares(place: Path) -> None:
    recipe = load_recipe(place / "tokenizer.toml", ["rounds={2=0.25, none=0.75}"])
    assert isinstance(recipe, TokenizerRecipe)
    task = TokenizerTask(recipe, CausalAutoencoder(recipe.network))
    picks = [task.rounds[task.read((step, number, number))["pick"]] for step in range(100) for number in range(4)]
    assert picks.count(2) == pytest.approx(100, abs=30)
    assert set(picks) == {2, None}
    assert any(len(set(picks[i : i + 4])) == 2 for i in range(0, 400, 4))  # not one number for a whole batch
