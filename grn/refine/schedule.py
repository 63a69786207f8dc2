"""Selection ratios over the steps, fixed or complexity-aware (equations 8 and 9).

A run of T steps numbers them 0 to T-1. Progress l_t, for t = 0 to T, rises from 0 to 1; step t sees a state selected at l_t and the next one
is selected at l_{t+1}. A family's curve turns progress into the selection ratio.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PACE = 50
"""Steps that the warm-up counts in: an adaptive run sets out as if it had this many."""


def progress(step: int, total: int, warmup: int | None) -> float:
    """l_t: t / T in a fixed run (warmup None); in an adaptive one t / 50 up to t0 = `warmup`, then linear to 1 at T."""
    if warmup is None:
        return step / total
    if step <= warmup:
        return step / PACE
    # One division of whole numbers: at T = 50 it is exactly step / 50, and every comparison with a ratio falls alike.
    return (warmup * (total - warmup) + (PACE - warmup) * (step - warmup)) / (PACE * (total - warmup))


def cosine_ratio(done: float, total: int) -> float:
    """The published text models' curve: 0.999 * (1 - cos(pi/2 * min(1, l * T / (T - 1)))), for progress l of T steps."""
    if total == 1:
        return 0.999 * done
    return 0.999 * (1 - math.cos(math.pi / 2 * min(1.0, done * total / (total - 1))))


def normalised_entropy(logits: Tensor, counted: Tensor | None = None) -> Tensor:
    """H: mean over a sample's elements of its prediction's entropy over log K. logits [B, ..., K] -> [B] in [0, 1].

    counted: bool [B, ...], the elements that the mean is over, at least one a sample; by default all.
    """
    log_p = logits.float().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])
    if counted is None or bool(counted.all()):
        return entropy.flatten(1).mean(1)
    return (entropy * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)


def adaptive_steps(entropy: float, k: float, b: float, bounds: tuple[int, int]) -> int:
    """T = round(clip(k * H + b, Tmin, Tmax)) (equation 8)."""
    return round(min(max(k * entropy + b, bounds[0]), bounds[1]))


def calibrate(entropies: Sequence[float], k: float, bounds: tuple[int, int], mean: float) -> float:
    """The b with which the mean of T over measured entropies comes nearest to `mean`, which must lie within the bounds."""
    assert entropies, "nothing measured"
    assert bounds[0] <= mean <= bounds[1], f"a mean of {mean} lies outside {bounds}"
    values = torch.tensor(entropies, dtype=torch.float64) * k
    low, high = bounds[0] - float(values.max()), bounds[1] - float(values.min())

    def reached(b: float) -> float:
        return float((values + b).clamp(*bounds).round().mean())

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < mean else (low, middle)
    # The mean rises in jumps, and the wanted one may lie within a jump.
    return min(high, low, key=lambda b: abs(reached(b) - mean))
