"""The same prompts and seeds in float32 and in another number format: `python benchmarks/formats.py [-o sheet.png]`.

Prints of each prompt how many of the tokens' values are alike, how many levels (of 255) the two pictures are apart in the
mean, and how many where both formats show the same tokens. The sheet has float32 above, the other format below. Exits 1
where the same tokens are more than 2 levels apart, or a second drawing in float32 differs from the first.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grn.devices import fast_type
from grn.media import contact_sheet, write_image
from grn.pipeline import Pipeline
from grn.refine.step import StepView

PROMPTS = ["a cat", "a red apple", "a house", "a rocket", "a pizza", "a guitar", "a blue bird", "a birthday cake"]
LEVELS = 2.0


def drawn(pipeline: Pipeline, seed: int) -> tuple[list[np.ndarray], list[Tensor]]:
    """The frames and the token map of each prompt."""
    tokens: dict[int, Tensor] = {}

    def keep(view: StepView) -> None:
        tokens[view.number] = view.prediction.cpu()

    results = pipeline(PROMPTS, seed=seed, callback=keep, progress=False)
    return [one.frames for one in results], [pipeline.indices(tokens[n])[None] for n in range(len(PROMPTS))]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two pictures in levels."""
    return float(np.abs(one.astype(int) - other).mean())


def main() -> int:
    """Draw, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("-o", "--out", type=Path, help="where to write both rows as a picture")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, options.dtype)
    exact, fast = (Pipeline.from_pretrained(options.model, device, one) for one in (torch.float32, dtype))
    (pictures, tokens), (others, other_tokens) = drawn(exact, options.seed), drawn(fast, options.seed)
    print(
        f"{options.model} on {device}, where drawing takes {str(fast_type(device)).removeprefix('torch.')} by default"
    )
    print(f"prompt            values alike   levels apart   of the same tokens in {options.dtype}")
    worst = 0.0
    for n, prompt in enumerate(PROMPTS):
        alike = float((tokens[n] == other_tokens[n]).float().mean())
        same = apart(fast.pictures(tokens[n])[0], pictures[n])
        worst = max(worst, same)
        print(f"{prompt:16} {alike:12.1%} {apart(pictures[n], others[n]):14.2f} {same:14.2f}")
    if options.out is not None:
        write_image(options.out, contact_sheet([*pictures, *others], len(PROMPTS))[0])
    repeats = all(np.array_equal(*both) for both in zip(drawn(exact, options.seed)[0], pictures, strict=True))
    print(f"drawn in float32 once more: {'the same pictures' if repeats else 'OTHER PICTURES'}")
    return int(worst > LEVELS or not repeats)


if __name__ == "__main__":
    sys.exit(main())
