"""The model card of what was trained."""

import pytest
import torch

from grn.training.card import card_of
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe
from tests.helpers.training import changed, class_recipe, tokenizer_recipe, video_recipe

STATE = {"a": torch.zeros(1000, 2), "b": torch.zeros(3)}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (tokenizer_recipe("my/photos"), ["A tokenizer of pictures,", "grn.Tokenizer", "| data | photos |"]),
        (video_recipe("photos", "my/clips"), ["A tokenizer of pictures and clips", "| data | photos, clips |"]),
        (
            class_recipe("photos", "my/tokenizer"),
            ["A generator (class-to-image)", "grn.Pipeline", "| codes of | tokenizer"],
        ),
    ],
)
def test_a_card_says_what_was_trained_on_what_and_for_how_long(
    recipe: TokenizerRecipe | GeneratorRecipe, said: list[str]
) -> None:
    card = card_of(changed(recipe, {"name": "mine", "run.steps": 12_345, "run.seed": 7}), STATE)
    assert card.startswith("# mine\n")
    for words in [
        *said,
        "| parameters | 2,003 |",
        "12,345 steps of",
        "seed 7",
        f"{recipe.data.size}x{recipe.data.size}",
    ]:
        assert words in card
    assert "my/" not in card  # whose folders these were is nobody's business
