"""The model card of what was trained: a beginning, to be added to by whoever passes the model on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from grn.files import display
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe


def card_of(
    recipe: TokenizerRecipe | GeneratorRecipe,
    state: Mapping[str, Tensor],
    steps: int | None = None,
    data_from: Sequence[str | Path] | None = None,
) -> str:
    """Markdown: what it is, how large, from what and how long it was trained, and how it is used.

    state: its weights. steps, data_from: where they are not the recipe's.
    """
    data, run = recipe.data, recipe.run
    size = f"{data.size}x{data.size}" + (f", clips of up to {data.frames} frames" if data.frames > 1 else "")
    facts = {
        "parameters": f"{sum(tensor.numel() for tensor in state.values()):,}",
        "trained for": f"{run.steps if steps is None else steps:,} steps of {run.batch_size} samples, seed {run.seed}",
        "pictures": size,
        "data": ", ".join(display(Path(path).name) for path in data_from or [source.path for source in data.sources]),
    }
    if isinstance(recipe, GeneratorRecipe):
        facts["codes of"] = f"{display(Path(recipe.tokenizer).name)}, {recipe.network.rounds} rounds"
        what, use = f"A generator ({recipe.network.kind})", "Pipeline"
    else:
        what, use = "A tokenizer of pictures" + (" and clips" if data.frames > 1 else ""), "Tokenizer"
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return (
        f"# {display(recipe.name)}\n\n{what}, trained with grn. `run.toml` in the folder of its run has every setting.\n\n| | |\n|---|---|\n"
        f'{rows}\n```python\nimport grn\n\nmodel = grn.{use}.from_pretrained("path/to/this/folder")\n```\n\n'
        "Not stated yet: what it was measured to do, and the licence of it and of its data.\n"
    )
