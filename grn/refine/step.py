"""One step of refinement: draw every element anew, choose which are shown, mix (equations 4 to 6).

Axes: token maps and selection maps of one sample are [t, h, w, E]; logits [t, h, w, E, K].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MASK = -1
"""An element that shows nothing: an all-zero one-hot to the network."""


@dataclass(frozen=True)
class StepView:
    """What a callback sees after step `step` of `total` of sample `number`.

    drawing: the prediction just drawn; state: what the next step sees. filled, kept, erased: bool maps of the elements selected now and not
    before, now and before, before and not now.
    """

    number: int
    step: int
    total: int
    ratio: float
    drawing: Tensor
    state: Tensor
    filled: Tensor
    kept: Tensor
    erased: Tensor


def draw(logits: Tensor, temperature: float, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw every element by the inverse of its cumulative distribution: (classes int64, their probabilities), shaped as `uniforms`.

    logits [..., K] float32; uniforms [...] in [0, 1). temperature divides the logits.
    """
    p = (logits / temperature).softmax(-1)
    last = p.shape[-1] - 1
    classes = (p.cumsum(-1)[..., :last] <= uniforms.unsqueeze(-1)).sum(-1)
    return classes, p.gather(-1, classes.unsqueeze(-1)).squeeze(-1)


def select_random(ratio: float, uniforms: Tensor) -> Tensor:
    """Each element by itself, with probability `ratio`."""
    return uniforms < ratio


def select_confident(ratio: float, confidence: Tensor, free: Tensor | None = None) -> Tensor:
    """The share `ratio` of elements that the network was surest of; `free`, bool: the ones to choose among, by default all."""
    count = round(ratio * confidence.numel())
    if free is not None and not bool(free.all()):
        count = round(ratio * int(free.sum()))
        confidence = torch.where(free, confidence, -1.0)
    chosen = torch.zeros(confidence.numel(), dtype=torch.bool, device=confidence.device)
    chosen[confidence.flatten().topk(count).indices] = True
    return chosen.view(confidence.shape)


def mix(drawing: Tensor, selection: Tensor, random_map: Tensor) -> Tensor:
    """The next state: the drawing where selected, the run's fixed random map (or the mask) elsewhere."""
    return torch.where(selection, drawing, random_map)
