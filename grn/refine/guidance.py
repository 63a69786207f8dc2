"""Classifier-free guidance within an interval of selection ratios."""

from torch import Tensor


def is_guided(ratio: float, scale: float, interval: tuple[float, float]) -> bool:
    """Whether a step at `ratio` is guided: inside the open interval, where a low end of 0 includes 0; a scale of 1 never is."""
    low, high = interval
    return scale != 1 and ratio < high and (ratio > low or low == 0)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Logits moved away from the unconditional ones: uncond + s * (cond - uncond)."""
    return unconditional + scale * (conditional - unconditional)
