"""Training on a GPU: compiled as plain, packed as one by one, and resumed as uninterrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import caption, changed, class_recipe, run, stopping, text_recipe
from torch import Tensor, nn

from grn.networks.condition import TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.training.loop import Stopped
from grn.training.recipe import GeneratorRecipe
from grn.training.run import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
RECIPES: dict[str, Callable[[], GeneratorRecipe]] = {
    "classes": lambda: class_recipe("pictures", "tokenizer"),
    "texts": lambda: text_recipe("pictures", "tokenizer", "words"),
    "packed": lambda: changed(
        text_recipe("pictures", "tokenizer", "words"),
        {"data.sizes": [[16, 16], [20, 16]], "run.tokens_per_batch": 40, "network.heads": 1},
    ),
}


def made(which: str) -> GeneratorRecipe:
    """A recipe that is not compiled, and captions where it needs them."""
    if which != "classes":
        caption(Path("pictures"))
    return changed(RECIPES[which](), {"run.compile": "off"})


def losses(rows: list[dict[str, float]]) -> list[float]:
    return [row[name] for row in rows for name in ("loss", "gradient_norm")]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("which", RECIPES)
def test_compiled_training_is_the_plain_one(place: Path, which: str, recompute: bool) -> None:
    recipe = made(which)
    plain = losses(run(recipe, Path("plain")))
    compiled = losses(run(changed(recipe, {"run.compile": "on", "run.recompute": recompute}), Path("compiled")))
    assert compiled == pytest.approx(plain, rel=1e-2)


@pytest.mark.parametrize("which", RECIPES)
def test_a_resumed_run_is_the_uninterrupted_one(place: Path, which: str) -> None:
    recipe = made(which)
    whole = losses(run(recipe, Path("whole")))
    rows: list[dict[str, float]] = []
    with pytest.raises(Stopped):
        train(recipe, Path("parts"), stopping(rows, 2))
    assert losses(rows + run(recipe, Path("parts"))) == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("attention", ["one-way", "joint"])
def test_packed_maps_by_flex_attention_are_those_one_by_one(attention: Any) -> None:
    """With their gradients: packed on the GPU in blocks of tokens, alone by plain attention."""
    torch.manual_seed(0)
    network = TextToVisual(TextToVisualConfig.tiny(text_attention=attention).model_copy(update={"heads": 1})).to("cuda")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    maps = [torch.randint(2, (*shape, 8), device="cuda") for shape in [(1, 4, 4), (2, 6, 4), (1, 20, 16)]]
    tokens, mask = torch.randn(3, 5, 6, device="cuda"), torch.ones(3, 5, dtype=torch.bool, device="cuda")
    ratio = torch.rand(3, device="cuda")

    def gradients(logits: list[Tensor]) -> list[Tensor]:
        network.zero_grad()
        torch.stack([one.square().mean() for one in logits]).sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]

    packed = network.packed(maps, ratio, network.prepare(TextCondition(tokens, mask)))
    alone = [
        network(one[None], ratio[n : n + 1], network.prepare(TextCondition(tokens[n : n + 1], mask[n : n + 1])))[0]
        for n, one in enumerate(maps)
    ]
    for one, other in zip([*packed, *gradients(packed)], [*alone, *gradients(alone)], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
