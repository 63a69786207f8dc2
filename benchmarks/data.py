"""How fast a recipe's pictures and clips become training crops: python benchmarks/data.py RECIPE

One process reads `--count` samples of each kind three times: decoding each (as with data.cache = 0), decoding and
keeping each, and from what was kept. It prints samples a second (of one core's time), one kind a line, and whether all
three gave the same crops. The cache is a folder of its own, deleted in the end.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from grn.data.transforms import random_crop, random_flip
from grn.errors import GrnError
from grn.media import resize_short_side, square
from grn.training.mixture import MixedSource
from grn.training.recipe import TokenizerRecipe, load_recipe


def crop(source: MixedSource, number: int, step: int) -> np.ndarray:
    """As a tokenizer's training reads it."""
    rng = np.random.default_rng([0, step, 0])
    frames, resize = source.read(number, rng), source.resize(number)
    if resize is None:
        frames = square(frames, source.config.size)
    else:
        frames = resize_short_side(frames, int(rng.integers(resize[0], resize[1] + 1)))
        frames = random_crop(frames, source.config.size, rng)
    return np.ascontiguousarray(random_flip(frames, rng) if source.config.flip else frames)


def run(source: MixedSource, numbers: list[int]) -> tuple[float, str]:
    """Samples a second of one core, whatever else the machine does, and a digest of the crops."""
    digest, seconds = hashlib.sha256(), 0.0
    for step, number in enumerate(numbers):
        start = cpu_seconds()
        found = crop(source, number, step)
        seconds += cpu_seconds() - start
        digest.update(found.data)
    return len(numbers) / seconds, digest.hexdigest()


def cpu_seconds() -> float:
    """Of this process; decoders that are programs of their own are counted when they end."""
    return time.process_time() + sum(os.times()[2:4])


def main() -> int:
    """The command line; errors as one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `grn train`")
    parser.add_argument("--count", type=int, default=200, help="samples of each kind")
    arguments = parser.parse_args()
    try:
        recipe = load_recipe(arguments.recipe, arguments.set)
        assert isinstance(recipe, TokenizerRecipe), "a tokenizer's recipe has crops"
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GRN_CACHE"] = folder
            plain = MixedSource(recipe.data.model_copy(update={"cache": 0.0}), 0)
            cached = MixedSource(recipe.data, 0)
            order, failed = np.random.default_rng(0), False
            for kind in plain.kinds:
                what = "pictures" if plain.frames(kind[0]) == 1 else f"clips of {plain.frames(kind[0])} frames"
                numbers = order.permutation(kind)[: arguments.count].tolist()
                rates, digests = zip(*(run(source, numbers) for source in (plain, cached, cached)), strict=True)
                same = "the same crops" if len(set(digests)) == 1 else "DIFFERENT CROPS"
                failed |= len(set(digests)) > 1 or rates[2] < rates[0]
                print(
                    f"{what}: decoded {rates[0]:.0f}/s, decoded and kept {rates[1]:.0f}/s, kept {rates[2]:.0f}/s: "
                    f"{rates[2] / rates[0]:.1f} times as fast, {same}"
                )
    except GrnError as error:
        print(f"data: error: {error}", file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
