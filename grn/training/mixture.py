"""The sources of a recipe as one numbered set, and the order in which training goes through it."""

from typing import Any

import numpy as np

from grn.data.order import EpochOrder
from grn.data.sources import Source, open_source
from grn.errors import BadInputError
from grn.training.config import DataConfig, SourceConfig


class MixedSource:
    """Several sources in one, each drawn from in proportion to its size times its weight."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        """Raises BadInputError for what cannot be opened, and where a source's `keep` leaves nothing."""
        self.config = config
        self.sources = [_open(source) for source in config.sources]
        self._order = EpochOrder([len(s) for s in self.sources], [s.weight for s in config.sources], seed)
        self.starts = np.array(self._order.starts)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, number: int) -> Any:
        which = self.which(number)
        return self.sources[which][number - int(self.starts[which])]

    def order(self, first: int, count: int) -> list[int]:
        """The numbers of the samples at `count` places of the run's endless order, from place `first`."""
        return self._order.numbers(first, count)

    def resize(self, number: int) -> tuple[int, int] | None:
        """The range of the short side before a random crop, as configured for the place that a sample is from."""
        return self.config.sources[self.which(number)].resize

    def which(self, number: int) -> int:
        """The place, by its number in the recipe, that a sample is from."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1


def _open(config: SourceConfig) -> Source:
    source = open_source(config.path).keep(**config.keep)
    if not len(source):
        wanted = ", ".join(f"{name} {list(values)}" for name, values in config.keep.items())
        raise BadInputError(f"{config.path}: no picture has {wanted} in its JSON; change data.sources.keep")
    return source
