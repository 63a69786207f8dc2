"""Do scenes of more things take more steps, and do seeds differ? As figure 8 of the paper, on composed captions:

    python recipes/emoji/complexity.py --model emoji --num 500 --plot steps.svg

Prompts are scenes' captions of one thing alone, of two, three and four different ones, as many of each, which training may have seen. Each is drawn
twice, at two seeds, with complexity-aware sampling. Prints for each number of things the mean entropy (equation 8), the mean steps, with the
standard error of that mean, and by how many levels of 255 the two pictures of a prompt differ in the mean.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scenes import Composer
from sprites import Sprite
from sprites import read as read_sprites

from grn.errors import GrnError, UsageError
from grn.evaluation.report import line_plot, table
from grn.files import atomic_path
from grn.pipeline import Pipeline

KINDS = {1: "single", 2: "two", 3: "three", 4: "four"}


@dataclasses.dataclass(frozen=True)
class Found:
    """What prompts of so many things got: means over them, and the standard error of the steps' mean."""

    things: int
    prompts: int
    entropy: float
    steps: float
    steps_error: float
    seeds_differ: float


def ask(sprites: Sequence[Sprite], count: int, seed: int) -> dict[int, list[str]]:
    """About `count` captions, as many of each number of things."""
    composer = Composer(sprites, styled=0.0)
    each = -(-count // len(KINDS))
    dice = {things: np.random.default_rng([seed, things]) for things in KINDS}
    return {n: [composer.scene(dice[n], kind).caption for _ in range(each)] for n, kind in KINDS.items()}


def measure(pipeline: Pipeline, asked: dict[int, list[str]], seed: int, batch_size: int) -> list[Found]:
    """Draw every prompt at two seeds. UsageError where the run is shorter than the warm-up, so that no entropy is known."""
    found = []
    for things, prompts in asked.items():
        first, second = (
            pipeline(prompts, seed=seed + 10_000 * n, adaptive=True, batch_size=batch_size) for n in range(2)
        )
        entropies = [result.entropy for result in (*first, *second)]
        if None in entropies:
            raise UsageError("no entropy is measured: tmax is not above the warm-up")
        steps = np.array([result.steps for result in (*first, *second)], float)
        differ = [
            np.abs(a.frames.astype(float) - b.frames.astype(float)).mean() for a, b in zip(first, second, strict=True)
        ]
        found.append(
            Found(
                things,
                len(prompts),
                float(np.mean([entropy for entropy in entropies if entropy is not None])),
                float(steps.mean()),
                float(steps.std(ddof=1) / np.sqrt(len(steps))),
                float(np.mean(differ)),
            )
        )
    return found


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji", help="name or folder")
    parser.add_argument("--sprites", type=Path, default=Path("data/emoji/sprites.tar"))
    parser.add_argument("--num", type=int, default=500, help="prompts in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--plot", type=Path, help="steps by number of things, as .svg")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    options = parse(argv)
    try:
        asked = ask(read_sprites(options.sprites)[0], options.num, options.seed)
        pipeline = Pipeline.from_pretrained(options.model, options.device)
        found = measure(pipeline, asked, options.seed, options.batch_size)
    except GrnError as error:
        print(f"complexity: error: {error}", file=sys.stderr)
        return 1
    if options.plot:
        points = [(str(one.things), one.steps) for one in found]  # no half things on the axis
        with atomic_path(options.plot) as aside:
            aside.write_bytes(line_plot({options.model: points}, "things in the prompt", "mean steps"))
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in found]))
        return 0
    heads = ["things", "prompts", "entropy", "steps", "+-", "levels between seeds"]
    rows = [list(dataclasses.astuple(one)) for one in found]
    print("\n".join(table(heads, rows, markdown=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
