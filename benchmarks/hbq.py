"""HBQ in closed form beside the paper's loop of M rounds: `python benchmarks/hbq.py`.

Exits 1 if the two disagree anywhere or the closed form is not the faster one at every number of rounds.
"""

import sys

import torch
from timing import ratios
from torch import Tensor

from grn import hbq


def loop(features: Tensor, rounds: int) -> Tensor:
    """Algorithm 1 as it is printed: one bit a round, what is left goes to the next."""
    rest, indices = features.clone(), torch.zeros_like(features, dtype=torch.int64)
    for j in range(1, rounds + 1):
        bit = rest > 0
        rest = rest - (2.0 * bit - 1) / 2**j
        indices = 2 * indices + bit
    return indices


def main() -> int:
    """Measure and print."""
    features = torch.tanh(torch.randn(16, 16, 1, 64, 64, generator=torch.Generator().manual_seed(0)))
    features = (features * 2**20).round() / 2**20  # the loop's differences are exact then, in float32 too
    slower = 0
    for rounds in (1, 4, 8):
        assert torch.equal(hbq.encode(features, rounds), loop(features, rounds)), f"they disagree at {rounds} rounds"
        cases = {
            f"closed form, M = {rounds}": lambda rounds=rounds: hbq.encode(features, rounds),
            f"loop, M = {rounds}": lambda rounds=rounds: loop(features, rounds),
        }
        closed, looped = ratios(cases).values()
        slower += closed > looped
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
