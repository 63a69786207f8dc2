"""The options of `grn train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grn_cli.options.fields import argument, new_file, option
from grn_cli.options.shared import Compile, Fetching, Speaking


@dataclass(frozen=True, kw_only=True)
class Train(Fetching, Speaking):
    """`grn train`."""

    WORK = "train:train"
    MORE = (
        "Relative paths in a recipe are relative to the current folder. Training takes every device that it "
        "sees; hide some with CUDA_VISIBLE_DEVICES. Prints the path of the finished model folder."
    )
    EXAMPLES = (
        "grn train my-recipe.toml --dry-run",
        "grn train emoji/generator --set run.steps=500 --set data.size=64 -o runs/try",
        "torchrun --nproc-per-node 8 -m grn_cli train paper/grn-b",
    )

    recipe: str = argument(
        "A TOML file, or the name of a recipe that comes with grn, as emoji/generator.", "RECIPE|FILE"
    )
    out: Path | None = option("Run folder; runs/NAME if not given.", "FOLDER", "--out", "-o", check=new_file)
    overrides: list[str] | None = option(
        "Replace a value of the recipe, as section.key=value; repeatable.", "KEY=VALUE", "--set"
    )
    compile: Compile | None = option("Compile the network, as --set run.compile.", "auto|on|off")
    resume: str = option(
        "Continue the run folder's newest checkpoint, none, or this one.", "auto|never|FOLDER", default="auto"
    )
    dry_run: bool = option(
        "Check the recipe, its data and models, and say what would be trained, and by five measured steps how long and in "
        "how much memory.",
        default=False,
    )
    stop_after: float | None = option("Stop with a checkpoint after so long.", "SECONDS", min=0)
