"""What a generator network is to those who sample and train it.

Axes
    token_map  int64 [B, t, h, w, E] in [0, K), -1 for a masked element: the state F
    ratio      float [B] in [0, 1], the selection ratio that the network is told
    logits     float32 [B, t, h, w, E, K]

E and K are the `elements` and `classes` of the network's config. Nothing here knows of tokenizers, pixels or files.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn
from typing_extensions import Self

from grn.networks.condition import Condition
from grn.networks.generator_config import TokenMapConfig

Shape = tuple[int, int, int]
"""(t, h, w) of a token map."""


class Prepared(ABC):
    """What a network computes of its conditions once, before the first step: one entry a sample."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples it is of."""

    @abstractmethod
    def rows(self, index: Tensor) -> Self:
        """Select the samples that `index`, int64, names, in its order."""

    @classmethod
    @abstractmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Join the samples of all parts, one part after the other."""


class GeneratorNetwork(Protocol):
    """Equation 5's Phi: (token map, selection ratio, prepared condition) -> logits, for any number of samples."""

    @property
    def config(self) -> TokenMapConfig:
        """The network's dimensions."""

    def prepare(self, condition: Condition) -> Prepared:
        """Compute what `forward` needs of the conditions. Raises UsageError for conditions of another kind than the network takes."""

    def null_condition(self, count: int) -> Condition | None:
        """Return no condition, `count` times, for guidance; None where that is a text encoder's empty prompt."""

    def forward(self, token_map: Tensor, ratio: Tensor, prepared: Prepared) -> Tensor:
        """Compute logits of a batch of maps of one shape. Raises UsageError for a shape that it cannot predict."""

    def __call__(self, token_map: Tensor, ratio: Tensor, prepared: Prepared) -> Tensor:
        """The same, as modules are called."""

    def packed(self, token_maps: Sequence[Tensor], ratio: Tensor, prepared: Prepared) -> list[Tensor]:
        """Compute logits [t, h, w, E, K] of each map [t, h, w, E], of any shapes, in one pass.

        ratio [B] and prepared are in the order of the maps. Raises UsageError for shapes that it cannot draw.
        """

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the weights; the first one's device is where the network computes."""
