"""One step of algorithm 3: draw every element anew, choose which are shown, mix (equations 4 to 6).

Axes: token maps and selection maps are [B, t, h, w, E] or of one sample [t, h, w, E]; logits have K classes behind.
"""

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

MASK = -1
"""An element that shows nothing: an all-zero one-hot to the network."""
_FEW = 8  # classes


@dataclass(frozen=True)
class StepView:
    """What a callback sees after step `step` of `total` of sample `number`. The maps, [t, h, w, E], lie where the network computes.

    ratio: l, at which elements were selected. prediction: Y, as just drawn; state: F, what the next step sees. selection,
    before: S of this step and of the one before.
    """

    number: int
    step: int
    total: int
    ratio: float
    prediction: Tensor = field(repr=False)
    state: Tensor = field(repr=False)
    selection: Tensor = field(repr=False)
    before: Tensor = field(repr=False)

    @property
    def filled(self) -> Tensor:
        """Elements selected now and not before."""
        return self.selection & ~self.before

    @property
    def kept(self) -> Tensor:
        """Elements selected now and before."""
        return self.selection & self.before

    @property
    def erased(self) -> Tensor:
        """Elements selected before and not now."""
        return self.before & ~self.selection

    def cpu(self) -> "StepView":
        """The same with maps of its own in the computer's memory, to be kept."""
        maps = (one.cpu().clone() for one in (self.prediction, self.state, self.selection, self.before))
        return StepView(self.number, self.step, self.total, self.ratio, *maps)


def draw(logits: Tensor, temperature: float | Tensor, uniforms: Tensor) -> Tensor:
    """Draw every element of Y from equation 5's distribution, by the inverse of its cumulative one: classes, int64.

    logits [..., K] float32; uniforms [...] in [0, 1); temperature divides the logits.
    """
    scaled = logits / temperature
    if scaled.shape[-1] == 2:
        return (torch.sigmoid(scaled[..., 0] - scaled[..., 1]) <= uniforms).long()
    if scaled.device.type == "cpu" and scaled.shape[-1] <= _FEW:
        return _draw_of_few(scaled, uniforms)
    return (scaled.softmax(-1).cumsum(-1)[..., :-1] <= uniforms.unsqueeze(-1)).sum(-1)


def _draw_of_few(scaled: Tensor, uniforms: Tensor) -> Tensor:
    """The same class by class: a processor's softmax over four numbers takes five times as long."""
    classes = scaled.movedim(-1, 0).contiguous()
    weights = (classes - classes.amax(0)).exp_()
    ends = list(itertools.accumulate(weights))  # of each class's part of the whole, which is the last of them
    reached = uniforms * ends[-1]
    return torch.stack([end <= reached for end in ends[:-1]]).sum(0)


def confidence_of(classes: Tensor, logits: Tensor, temperature: float | Tensor) -> Tensor:
    """The probability with which each element was drawn as the class that it is."""
    scaled = logits / temperature
    if scaled.shape[-1] == 2:
        margin = scaled[..., 1] - scaled[..., 0]
        return torch.sigmoid(torch.where(classes == 1, margin, -margin))
    return scaled.softmax(-1).gather(-1, classes.unsqueeze(-1)).squeeze(-1)


def select_random(ratio: float | Tensor, uniforms: Tensor) -> Tensor:
    """Equation 6: S, each element by itself with probability `ratio`."""
    return uniforms < ratio


def select_confident(count: int, confidence: Tensor, free: Tensor) -> Tensor:
    """S of appendix E.2: of one sample's `free` elements, the `count` that the network was surest of."""
    confidence = torch.where(free, confidence, -1.0)
    chosen = torch.zeros(confidence.numel(), dtype=torch.bool, device=confidence.device)
    return chosen.scatter(0, confidence.flatten().topk(count).indices, True).view(confidence.shape)


def mix(prediction: Tensor, selection: Tensor, random_map: Tensor) -> Tensor:
    """Equation 4: F, the prediction where selected, the run's fixed random map (or the mask) elsewhere."""
    return torch.where(selection, prediction, random_map)
