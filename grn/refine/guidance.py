"""Classifier-free guidance within an interval of selection ratios."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grn.devices import send


def is_guided(ratio: float, scale: float, interval: tuple[float, float]) -> bool:
    """Whether a step at `ratio` is guided: inside the open interval, where a low end of 0 includes 0; a scale of 1 never is."""
    low, high = interval
    return scale != 1 and ratio < high and (ratio > low or low == 0)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Move logits away from the unconditional ones: uncond + s * (cond - uncond)."""
    return unconditional + scale * (conditional - unconditional)


def guide_rows(conditional: Tensor, unconditional: Tensor, rows: Sequence[int], scale: float) -> Tensor:
    """Guide some rows of a batch's conditional logits by their unconditional ones."""
    if len(rows) == len(conditional):
        return guide(conditional, unconditional, scale)
    index = send(torch.tensor(rows), conditional.device)
    return conditional.index_copy(0, index, guide(conditional[index], unconditional, scale))


def shares_a_pass(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether both branches may go through the network together, for a network of `dtype` on `device`.

    A processor gains nothing by it, and in float32 its sums round by the size of a batch: there a picture must not
    depend on how many of its neighbours are guided.
    """
    return device.type != "cpu" or dtype != torch.float32
