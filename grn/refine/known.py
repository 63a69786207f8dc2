"""What a sample starts from: inpainting, image-to-image, and clips that go on from given frames.

A refinement starts from a state in which nothing is selected. Here some elements are given: they are selected in every
step and never drawn. The others may start as if the refinement had come to some progress with a given picture. This
works with any trained network.

Axes: token maps are [t, h, w, E].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Known:
    """tokens: int64 [t, h, w, E]. fixed: bool of that shape, the elements that keep their value of `tokens` throughout.

    start: progress in [0, 1) to start from: as many of the other elements as are selected there, chosen at random, start
    with their value of `tokens` too. At 0, `tokens` counts only where it is fixed.
    """

    tokens: Tensor
    fixed: Tensor
    start: float = 0.0

    def __post_init__(self) -> None:
        assert self.tokens.dim() == 4, f"tokens are [t, h, w, E], not {tuple(self.tokens.shape)}"
        assert self.tokens.shape == self.fixed.shape, f"{tuple(self.tokens.shape)} and {tuple(self.fixed.shape)}"
        assert self.fixed.dtype == torch.bool, f"fixed is bool, not {self.fixed.dtype}"
        assert not bool(self.fixed.all()), "everything is fixed: nothing is left to draw"
        assert 0 <= self.start < 1, f"start {self.start} is not in [0, 1)"

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> "Known":
        """Return what stands for a sample that starts from nothing."""
        return cls(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool))

    @property
    def begins(self) -> bool:
        """Whether the first frame of a clip is given, as image-to-video is."""
        return len(self.fixed) > 1 and bool(self.fixed[0].all())

    @property
    def share(self) -> float:
        """The share of elements that are fixed, in [0, 1]."""
        return float(self.fixed.double().mean())
