"""Sprites of the emoji recipe, and the recipes that train on them."""

from pathlib import Path

import numpy as np
import pytest
import sprites
from helpers.drawings import encoded
from helpers.drawings import sprites as made_up

from grn.errors import BadInputError
from grn.hub.resolve import resolve
from grn.models.config import TextToVisualModelConfig
from grn.networks.inflate import can_inflate
from grn.tokenizer import Tokenizer
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "emoji"


def test_sprites_are_read_as_they_were_written(tmp_path: Path) -> None:
    made, pixels = made_up()
    files = {one.key: encoded(pixels[n], "PNG") for n, one in enumerate(made)}
    sprites.write(tmp_path / "one.tar", made, files)
    sprites.write(tmp_path / "two.tar", made, files)
    found, array = sprites.read(tmp_path / "one.tar")
    assert found == made
    assert np.array_equal(array, pixels)
    assert len(sprites.read(tmp_path / "one.tar", limit=3)[0]) == 3
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_another_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(BadInputError, match="not a tar of sprites"):
        sprites.read(tmp_path / "bad.tar")


def test_a_thing_alone_is_called_by_its_name_and_synonyms() -> None:
    assert sprites.captions("owl", ["bird of wisdom", "hooter", "third"]) == (
        *("an owl", "an owl", "owl"),
        *("bird of wisdom", "hooter"),
    )


def test_the_joint_tokenizer_starts_from_the_one_of_pictures() -> None:
    recipe, stills = load_recipe(RECIPE / "tokenizer.toml"), load_recipe(RECIPE / "still-tokenizer.toml")
    assert isinstance(recipe, TokenizerRecipe)
    assert isinstance(stills, TokenizerRecipe)
    assert str(recipe.run.init) == f"runs/{stills.name}/final"
    assert can_inflate(stills.network, recipe.network)
    assert Tokenizer.from_pretrained("emoji-tokenizer").config == recipe.network
    packed = load_recipe(RECIPE / "joint-pack.toml")
    assert isinstance(packed, TokenizerRecipe)
    assert packed.run.init is None
    for one in (recipe, packed):
        assert (one.network.stride, one.network.time_stride, one.network.rounds) == (8, 4, 4)


def test_the_generator_of_scenes_draws_pictures_and_clips_of_that_tokenizer() -> None:
    recipe, tokenizer = load_recipe(RECIPE / "generator.toml"), load_recipe(RECIPE / "tokenizer.toml")
    assert isinstance(recipe, GeneratorRecipe)
    assert isinstance(tokenizer, TokenizerRecipe)
    assert recipe.network.channels == tokenizer.network.channels
    assert recipe.network.rounds <= tokenizer.network.rounds
    assert (recipe.data.frames, recipe.data.fps) == (tokenizer.data.frames, tokenizer.data.fps)
    assert (recipe.data.size // tokenizer.network.stride // recipe.network.patch) ** 2 == 16
    assert recipe.stills
    assert tokenizer.network.whole_frames(recipe.data.frames) == recipe.data.frames
    config = resolve(recipe.name).open().config
    assert isinstance(config, TextToVisualModelConfig)
    assert config.network == recipe.network
    kept = config.size, config.frames, config.fps, config.stills, config.clip_sampling
    assert kept == (recipe.data.size, recipe.data.frames, recipe.data.fps, recipe.stills, recipe.clip_sampling)
    fitted = {"k", "b"}  # to the trained model's entropies
    assert config.sampling.model_dump(exclude=fitted) == recipe.sampling.model_dump(exclude=fitted)


def test_a_newcomer_asks_for_forty_different_things() -> None:
    prompts = (RECIPE / "newcomer.txt").read_text().splitlines()
    assert len(set(prompts)) == len(prompts) == 40
