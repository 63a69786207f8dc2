"""The recipes of the published sizes, number by number: table 8, sections 4.1 to 4.4, and what the authors' code says beyond them."""

from pathlib import Path
from typing import Any

import pytest
from helpers.training import VIDEO_NETWORK, caption, changed, make_clips, make_pictures, make_tokenizer, make_words, run

from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.presets import PRESETS
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, load_recipe
from grn.training.run import parameters

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
CLASSES = ("grn-b", "grn-l", "grn-h", "grn-g", "grn-bit-b", "grn-bit-l")
TEXTS = ("grn-t2i-256", "grn-t2i-1024", "grn-t2v-192p", "grn-t2v-480p")
TOKENIZERS = ("hbq-16", "hbq-64")
NAMES = (*CLASSES, *TEXTS, *TOKENIZERS)
IMAGENET = 1_281_167

# Table 8: depth, hidden dim, heads, millions of parameters.
ARCHITECTURE = {
    "grn-b": (12, 768, 12, 130),
    "grn-l": (24, 1024, 16, 458),
    "grn-h": (32, 1280, 16, 952),
    "grn-g": (40, 1664, 16, 2000),
    "grn-bit-b": (12, 768, 12, 130),
    "grn-bit-l": (24, 1024, 16, 458),
    **dict.fromkeys(TEXTS, (28, 2304, 18, 2000)),
}
# Table 8, sections 4.2 to 4.4: iterations, batch size, learning rate.
TRAINING = {
    **dict.fromkeys(CLASSES, (750_000, 1024, 2e-4)),
    "grn-t2i-256": (150_000, 15_400, 2e-4),
    "grn-t2i-1024": (60_000, 2048, 2e-5),
    "grn-t2v-192p": (150_000, 4096, 2e-4),
    "grn-t2v-480p": (9_000, 1350, 2e-5),
}
# Table 6 and appendix F.1, or the authors' code: guidance, where it starts, temperature.
SAMPLING = {
    "grn-b": (2.4, 0.4, 1.33),
    "grn-l": (2.0, 0.4, 1.3),
    "grn-h": (2.0, 0.4, 1.3),
    "grn-g": (1.7, 0.3, 1.3),
    "grn-bit-b": (2.4, 0.44, 1.23),
    "grn-bit-l": (1.9, 0.45, 1.2),
    "grn-t2i-256": (3.0, 0.0, 1.1),
    "grn-t2i-1024": (3.0, 0.0, 1.1),
    "grn-t2v-192p": (4.0, 0.0, 1.0),
    "grn-t2v-480p": (4.0, 0.0, 1.0),
}


def load(name: str) -> TokenizerRecipe | GeneratorRecipe:
    return load_recipe(FOLDER / f"{name}.toml")


def generator(name: str) -> GeneratorRecipe:
    recipe = load(name)
    assert isinstance(recipe, GeneratorRecipe)
    return recipe


def tokenizer(name: str) -> TokenizerRecipe:
    recipe = load(name)
    assert isinstance(recipe, TokenizerRecipe)
    return recipe


def test_every_recipe_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(NAMES)
    assert {load(name).name for name in NAMES} == set(NAMES)


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_architectures_are_table_8(name: str) -> None:
    recipe = generator(name)
    depth, width, heads, millions = ARCHITECTURE[name]
    assert (recipe.network.depth, recipe.network.width, recipe.network.heads) == (depth, width, heads)
    assert parameters(recipe) / 1e6 == pytest.approx(millions, rel=0.13 if millions == 2000 else 0.02)
    assert recipe.network.target == ("ind" if name in ("grn-b", "grn-l", "grn-h", "grn-g") else "bit")


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_published_weights_can_be_trained_on(name: str) -> None:
    """By run.init: a recipe's network is that of the model of this name."""
    preset = PRESETS[name.replace("-bit", "") if name in CLASSES else name[:7]]
    assert generator(name).network == preset.model_copy(update={"target": generator(name).network.target})


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_tokenizers_are_table_8(name: str) -> None:
    recipe = generator(name)
    made = tokenizer(recipe.tokenizer).network
    channels, time = (16, 1) if name in CLASSES else (64, 4)
    assert (made.channels, made.rounds, made.stride) == (channels, 4, 16)
    assert (recipe.network.channels, recipe.network.rounds) == (channels, 4)
    assert time in (1, made.time_stride)  # the image tokenizer has the joint one's layers, and sees single frames


@pytest.mark.parametrize("name", TRAINING)
def test_training_is_table_8(name: str) -> None:
    recipe = generator(name)
    steps, batch, rate = TRAINING[name]
    assert recipe.run.steps == pytest.approx(steps, rel=1e-3)
    assert (recipe.run.batch_size, recipe.optimizer.lr) == (batch, rate)
    assert (recipe.optimizer.name, recipe.optimizer.decay_steps, recipe.optimizer.weight_decay) == ("adamw", 0, 0)
    assert recipe.drop_condition == 0.1
    if name in CLASSES:
        assert recipe.run.steps == pytest.approx(600 * IMAGENET / batch, abs=1)
        assert recipe.data.size == 256


@pytest.mark.parametrize("name", SAMPLING)
def test_sampling_is_the_papers_or_the_authors(name: str) -> None:
    sampling = generator(name).sampling
    assert (sampling.guidance, sampling.guidance_start, sampling.temperature) == SAMPLING[name]
    assert (sampling.guidance_end, sampling.steps, sampling.adaptive) == (1.0, 50, False)
    curve = ("identity", "scheduled") if name in CLASSES else ("cosine", "kept")
    assert (sampling.curve, sampling.ratio_shown) == curve
    if name in TEXTS:
        assert (sampling.curve_factor, sampling.ratio_of) == (0.95, "drawn")
    low, high = (1.0, 1.5) if name in CLASSES else (0.5, 1.5)
    assert low <= sampling.temperature <= high
    assert 1.0 <= sampling.guidance <= (3.0 if name in CLASSES else 4.0)
    assert 0 <= sampling.guidance_start <= 0.5
    # Complexity-aware: k of table 8's range; b is measured for each model, and the paper tells that of one (table 11, from the warm-up on).
    assert 300 <= sampling.k <= 1200
    assert sampling.b == (pytest.approx(-547.2 + sampling.warmup) if name == "grn-bit-b" else 50)
    assert (sampling.tmin, sampling.tmax) == (20 if name in CLASSES else 10, 50)


@pytest.mark.parametrize("name", CLASSES)
def test_class_models_train_as_the_authors_code(name: str) -> None:
    recipe = generator(name)
    assert (recipe.ratio.mean, recipe.ratio.deviation, recipe.ratio.shown) == (-0.8, 0.8, "drawn")
    assert recipe.optimizer.lr == pytest.approx(5e-5 * recipe.run.batch_size / 256)
    assert (recipe.optimizer.betas, recipe.optimizer.clip, recipe.run.ema) == ((0.9, 0.95), 0.1, 0.9999)
    assert recipe.optimizer.warmup_steps == round(5 * IMAGENET / recipe.run.batch_size)
    assert recipe.data.flip
    network: Any = recipe.network
    bottleneck, start = {12: (128, 4), 24: (128, 8), 32: (256, 10), 40: (256, 10)}[network.depth]
    assert (network.bottleneck, network.context_tokens, network.context_start) == (bottleneck, 32, start)


@pytest.mark.parametrize("name", TEXTS)
def test_text_models_train_as_the_authors_code(name: str) -> None:
    recipe = generator(name)
    assert (recipe.ratio.mean, recipe.ratio.deviation, recipe.ratio.shown) == (-1.3, 1.3, "kept")
    assert (recipe.optimizer.betas, recipe.optimizer.clip, recipe.run.ema) == ((0.9, 0.999), 0.1, 0.999)
    assert recipe.optimizer.warmup_steps == 50
    assert (recipe.run.tokens_per_batch, recipe.run.recompute, recipe.run.parallel) == (40_960, True, "hybrid")
    assert [source.tag for source in recipe.data.sources] == ["<T2V>" if "t2v" in name else "<T2I>"]
    network: Any = recipe.network
    assert (network.text_width, network.hidden) == (4096, round(3.55 * 2304 / 256) * 256)
    assert recipe.network.width // recipe.network.heads == 128  # what FlexAttention asks for (appendix D)
    side = {"256": 256, "1024": 1024, "192p": 256, "480p": 640}[name.rpartition("-")[2]]
    assert recipe.data.size == side
    for width, height in recipe.data.sizes:
        assert width * height == pytest.approx(side**2, rel=0.05)
    assert (recipe.data.frames, recipe.data.fps) == ((81, 16.0) if "t2v" in name else (1, None))
    if name.endswith("p"):
        assert int(name[-4:-1]) in {min(pair) for pair in recipe.data.sizes}


@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_can_share_a_batch(name: str) -> None:
    """As each recipe says to start it: in equal parts, or packed."""
    run = load(name).run
    assert run.tokens_per_batch or run.batch_size % 8 == 0


def test_second_stages_start_from_the_first() -> None:
    assert str(generator("grn-t2i-1024").run.init) == "runs/grn-t2i-256/final"
    assert str(generator("grn-t2v-480p").run.init) == "runs/grn-t2v-192p/final"
    assert generator("grn-t2i-1024").network == generator("grn-t2i-256").network
    assert generator("grn-t2v-480p").network == generator("grn-t2v-192p").network


@pytest.mark.parametrize(("name", "weights"), [("hbq-16", (1.0, 1.0, 0.3)), ("hbq-64", (1.0, 0.2, 0.005))])
def test_tokenizers_are_section_4_1(name: str, weights: tuple[float, float, float]) -> None:
    recipe = tokenizer(name)
    losses = recipe.losses
    assert (losses.l1, losses.perceptual, losses.gan, losses.l2, losses.motion) == (*weights, 0, 0)
    assert recipe.network == TokenizerConfig(channels=16 if name == "hbq-16" else 64)
    # A default may change; left out, space is always halved in all steps.
    assert set(recipe.network.model_fields_set) >= set(TokenizerConfig.model_fields) - {"halves_space"}
    assert recipe.rounds == {"4": 1.0}
    assert (losses.gan_network, losses.gan_lr, losses.gan_betas) == ("patchgan", 1e-5, (0.9, 0.95))
    assert (recipe.optimizer.lr, recipe.optimizer.betas, recipe.optimizer.clip) == (1e-5, (0.9, 0.95), 1.0)
    assert (recipe.optimizer.warmup_steps, recipe.optimizer.decay_steps) == (0, 0)
    assert recipe.data.frames == (1 if name == "hbq-16" else 33)
    assert recipe.data.size == 256


# Each runs: unchanged but for the data, and as large as a test can afford.

SMALL_CLASSES = {"width": 32, "depth": 2, "heads": 2, "size": 4, "bottleneck": 8, "context_start": 1}
SMALL_TEXT = {"width": 32, "depth": 1, "heads": 2, "text_width": 6}
SMALL_TOKENIZER = {"encoder_width": 4, "decoder_width": 4, "encoder_blocks": 1, "decoder_blocks": 1, "channels": 4}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_each_at_a_reduced_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    recipe: Any = load(name)
    clips = recipe.data.frames > 1
    make_pictures(tmp_path / "pictures")
    small = SMALL_CLASSES if name in CLASSES else SMALL_TEXT if name in TEXTS else SMALL_TOKENIZER
    values: dict[str, Any] = {f"network.{key}": value for key, value in small.items()}
    values |= {"run.steps": 1, "run.batch_size": 4, "run.compile": "off", "data.workers": 0}
    values |= {"run.tokens_per_batch": 3} if name in TEXTS else {"run.accumulate": 2}
    if name in TOKENIZERS:
        sources = [{"path": "pictures", "resize": (64, 64)}]
        values |= {"data.size": 64}
    else:
        channels = recipe.network.channels
        network = (
            VIDEO_NETWORK if clips else VIDEO_NETWORK.model_copy(update={"halves_time": (False,), "time_kernel": 1})
        )
        make_tokenizer(tmp_path / "tokenizer", network.model_copy(update={"channels": channels, "rounds": 4}))
        sources = [{"path": "pictures"}]
        values |= {"data.size": 16, "tokenizer": "tokenizer", "run.init": None, "sampling.steps": 2}
    if name in TEXTS:
        caption(tmp_path / "pictures")
        make_words(tmp_path / "words")
        values |= {"text_encoder": Path("words"), "data.sizes": [(16, 16), (24, 16)]}
    if clips:
        make_clips(tmp_path / "clips")
        clip_source: dict[str, Any] = {"path": "clips", "clips": True}
        if name in TOKENIZERS:
            clip_source["resize"] = (64, 64)
        sources = [*sources, clip_source] if name in TOKENIZERS else [clip_source]
        values["data.frames"] = 5
    rows = run(changed(recipe, values | {"data.sources": sources}), tmp_path / "run")
    assert [row["step"] for row in rows] == [1]
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()
