"""The recipes of the published sizes: they load, and hold the published networks and numbers."""

from pathlib import Path

import pytest

from grn.hub import registry
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.presets import PRESETS
from grn.refine.config import SamplerConfig
from grn.training.config import GeneratorRecipe, TokenizerRecipe, load_recipe
from grn.training.run import parameters

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
TOKENIZERS = {"hbq-16": TokenizerConfig(), "hbq-64": TokenizerConfig(channels=64)}
MILLIONS = {"grn-b": 130, "grn-l": 458, "grn-h": 952, "grn-g": 2000, "grn-t2i": 2200, "grn-t2v": 2200}
IMAGENET = 1_281_167


def generator(name: str) -> GeneratorRecipe:
    recipe = load_recipe(FOLDER / f"{name}.toml")
    assert isinstance(recipe, GeneratorRecipe)
    return recipe


def test_there_is_one_for_every_published_name() -> None:
    published = {name for kind in ("tokenizer", "generator") for name in registry.names(kind)}
    published -= {name for name, entry in registry.ENTRIES.items() if entry.embedded}
    assert {path.stem for path in FOLDER.glob("*.toml")} == published
    assert {load_recipe(path).name for path in FOLDER.glob("*.toml")} == published


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizers_are_the_published_networks(name: str) -> None:
    recipe = load_recipe(FOLDER / f"{name}.toml")
    assert isinstance(recipe, TokenizerRecipe)
    assert recipe.network == TOKENIZERS[name]
    assert set(recipe.network.model_fields_set) == set(
        TokenizerConfig.model_fields
    )  # a default may change, a recipe not
    assert parameters(recipe) == pytest.approx(registry.ENTRIES[name].parameters, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_generators_are_the_published_networks_sampled_as_published(name: str) -> None:
    recipe, entry = generator(name), registry.ENTRIES[name]
    assert recipe.network == PRESETS[name]
    assert recipe.tokenizer == entry.tokenizer
    assert parameters(recipe) / 1e6 == pytest.approx(MILLIONS[name], rel=0.01)
    assert parameters(recipe) == pytest.approx(entry.parameters, rel=0.01)
    assert recipe.sampling == SamplerConfig(**entry.sampling)
    tokenizer = load_recipe(FOLDER / f"{recipe.tokenizer}.toml").network
    assert isinstance(tokenizer, TokenizerConfig)
    assert (recipe.network.channels, recipe.network.rounds) == (tokenizer.channels, tokenizer.rounds)
    if recipe.network.kind == "class-to-image":
        assert recipe.data.size == recipe.network.size * tokenizer.stride


@pytest.mark.parametrize("name", ["grn-b", "grn-l", "grn-h", "grn-g"])
def test_class_recipes_train_as_published(name: str) -> None:
    recipe = generator(name)
    assert (recipe.ratio.mean, recipe.ratio.deviation) == (-0.8, 0.8)
    assert recipe.optimizer.lr == pytest.approx(5e-5 * recipe.run.batch_size / 256)
    assert (recipe.optimizer.name, recipe.optimizer.betas, recipe.optimizer.weight_decay) == ("adamw", (0.9, 0.95), 0)
    assert recipe.optimizer.decay_steps == 0
    assert recipe.optimizer.clip == 0.1
    assert recipe.optimizer.warmup_steps == round(5 * IMAGENET / recipe.run.batch_size)
    assert recipe.run.steps == pytest.approx(600 * IMAGENET / recipe.run.batch_size, abs=1)
    assert (recipe.run.batch_size, recipe.run.ema, recipe.drop_condition) == (1024, 0.9999, 0.1)
    assert recipe.data.flip
