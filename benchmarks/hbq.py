"""HBQ beside a copy of as much memory, and beside the paper's loop of M rounds: `python benchmarks/hbq.py`.

33 MB of float32 features. What writes to a place made before stands beside a copy to such a place; what returns new
memory stands beside a copy to new memory, which is the slower for every page that it touches first.
Exits 1 if the closed form and the loop disagree anywhere or anything takes more than 4 times its copy.
"""

import sys
from collections.abc import Callable

import torch
from timing import ratios
from torch import Tensor

from grn import hbq

LIMIT = 4.0


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
    torch.set_num_threads(1)  # a copy gains nothing from more where one core fills the memory's lanes
    features = torch.tanh(torch.randn(32, 16, 1, 128, 128, generator=torch.Generator().manual_seed(0)))
    features = (features * 2**20).round() / 2**20  # the loop's differences are exact then, in float32 too
    for rounds in (1, 4, 8):
        assert torch.equal(hbq.encode(features, rounds), loop(features, rounds)), f"they disagree at {rounds} rounds"
    wide, small = hbq.encode(features, 4), hbq.encode(features, 4, torch.empty_like(features, dtype=torch.uint8))
    indices, bytes_, centres = torch.empty_like(wide), torch.empty_like(small), torch.empty_like(features)
    trained = features.clone().requires_grad_()
    placed: dict[str, Callable[[], object]] = {
        "copy to a place made before": lambda: centres.copy_(features),
        "encode to int64, there": lambda: hbq.encode(features, 4, indices),
        "encode to uint8, there": lambda: hbq.encode(features, 4, bytes_),
        "decode from int64, there": lambda: hbq.decode(wide, 4, out=centres),
        "decode from uint8, there": lambda: hbq.decode(small, 4, out=centres),
    }
    new: dict[str, Callable[[], object]] = {
        "copy to new memory": features.clone,
        "encode": lambda: hbq.encode(features, 4),
        "decode": lambda: hbq.decode(wide, 4),
        "quantize": lambda: hbq.quantize(features, 4),
        "quantize with a gradient": lambda: hbq.quantize(trained, 4),
        "the loop of algorithm 1": lambda: loop(features, 4),
    }
    over = 0
    for cases in (placed, new):
        times = ratios(cases)
        copy = next(iter(times.values()))
        over += sum(seconds > LIMIT * copy for name, seconds in times.items() if name != "the loop of algorithm 1")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
