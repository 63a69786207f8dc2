"""What a sample already is before it is drawn: elements that stay, and a place on the way to start from.

A refinement starts from a state in which nothing is selected. A picture or clip that is there can be that state instead: what of it is
fixed is selected in every step (the frames that a clip goes on from, what lies outside a mask), and the rest may start as if the
refinement had come to some progress with it. Nothing of this needs a network that was trained for it.

Axes: token maps are [t, h, w, E].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Known:
    """tokens: int64 [t, h, w, E]. fixed: bool of that shape, the elements that are as they are in `tokens` at every step and in the end.

    start: progress in [0, 1) to start from, where a random choice of the other elements, as many as a refinement has at that progress, is
    taken from `tokens` too; at 0 `tokens` says nothing of them.
    """

    tokens: Tensor
    fixed: Tensor
    start: float = 0.0

    def __post_init__(self) -> None:
        assert self.tokens.dim() == 4, f"tokens are [t, h, w, E], not {tuple(self.tokens.shape)}"
        assert self.tokens.shape == self.fixed.shape, f"{tuple(self.tokens.shape)} and {tuple(self.fixed.shape)}"
        assert self.fixed.dtype == torch.bool, f"fixed is bool, not {self.fixed.dtype}"
        assert not bool(self.fixed.all()), "everything is fixed: there is nothing to draw"
        assert 0 <= self.start < 1, f"start {self.start} is not in [0, 1)"

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> "Known":
        """Of a sample that is drawn from nothing."""
        return cls(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool))

    @property
    def share(self) -> float:
        """Of the elements, how many are fixed."""
        return float(self.fixed.double().mean())
