"""How many steps a run takes and which share of the elements each selects: complexity-aware sampling (equations 8 and 9).

A run of T steps numbers them 0 to T-1. Progress rises from 0 at step 0 to 1 at T. A family's curve turns progress into
the selection ratio l_t: step t sees a state selected at l_t, and its prediction is selected at l_{t+1}.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PACE = 50
"""alpha: steps that the warm-up counts in. An adaptive run sets out as if it had this many."""


def progress(step: int, total: int, warmup: int | None) -> float:
    """Equation 9: t / T in a fixed run (warmup None); in an adaptive one t / 50 up to t0 = `warmup`, then linear to 1 at T."""
    if warmup is None:
        return step / total
    if step <= warmup:
        return step / PACE
    # One division of whole numbers: at T = 50 it is exactly step / 50, and every comparison with a ratio falls alike.
    return (warmup * (total - warmup) + (PACE - warmup) * (step - warmup)) / (PACE * (total - warmup))


def cosine_ratio(done: float, total: int, factor: float) -> float:
    """The published text models' curve: factor * (1 - cos(pi/2 * min(1, l * T / (T - 1)))), for progress l of T steps.

    factor: the selection ratio that it ends at, 0.95 or 0.999.
    """
    if total == 1:
        return factor * done
    return factor * (1 - math.cos(math.pi / 2 * min(1.0, done * total / (total - 1))))


def normalised_entropy(logits: Tensor, counted: Tensor | None = None) -> Tensor:
    """Equation 8: H, the mean over a sample's elements of its prediction's entropy over log K. logits [B, ..., K] -> [B] in [0, 1].

    counted: bool [B, ...], the elements that the mean is over, at least one a sample; by default all.
    """
    logits = logits.float()
    if logits.shape[-1] == 2:  # a softmax over so few takes several times as long
        margin = (logits[..., 0] - logits[..., 1]).abs()
        odds = torch.exp(-margin)
        entropy = (torch.log1p(odds) + margin * odds / (1 + odds)) / math.log(2)
    else:
        log_p = logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1) / math.log(logits.shape[-1])
    if counted is None:
        return entropy.flatten(1).mean(1)
    return (entropy * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)


def adaptive_steps(entropy: float, k: float, b: float, bounds: tuple[int, int]) -> int:
    """T = round(clip(k * H + b, Tmin, Tmax)), the steps of a whole run.

    As printed, equation 9 counts k * H + b from the end of the warm-up of t0 steps: a b that does is larger by t0 here.
    """
    return round(min(max(k * entropy + b, bounds[0]), bounds[1]))


def cooled_temperature(temperature: float, total: int, cooling: float, cooling_from: int) -> float:
    """tau of an adaptive run of `total` steps, after its warm-up: less by the share `cooling` for each step that it has
    fewer than `cooling_from`, and at least half.
    """
    return temperature * min(max(1 - cooling * (cooling_from - total), 0.5), 1.0)


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
