"""The sources of a recipe as one numbered set, and the order in which training goes through it."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from grn.data.order import BatchOrder, EpochOrder
from grn.data.reader import FrameView, cached_readers
from grn.data.sources import Source, open_source
from grn.errors import BadInputError
from grn.training.config import DataConfig, SourceConfig


class Kind(Sequence[int]):
    """The numbers of all pictures, or of all clips."""

    def __init__(self, ranges: Sequence[range]) -> None:
        self._ranges = ranges
        self._ends = list(accumulate(len(one) for one in ranges))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        place = range(len(self))[index]
        which = bisect_right(self._ends, place)
        return self._ranges[which][place - (self._ends[which - 1] if which else 0)]


class MixedSource:
    """Several sources in one, each drawn from in proportion to its size times its weight."""

    def __init__(self, config: DataConfig, seed: int, sources: Sequence[Source] | None = None) -> None:
        """sources: of the configured places, by default opened here.

        Raises BadInputError for what cannot be opened, and where a source's `keep` leaves nothing.
        """
        self.config = config
        self.sources = [_open(source) for source in config.sources] if sources is None else list(sources)
        sizes, weights = [len(s) for s in self.sources], [s.weight for s in config.sources]
        self._order = EpochOrder(sizes, weights, seed)
        self.starts = np.array(self._order.starts)
        kinds = [[i for i, s in enumerate(config.sources) if s.clips is clips] for clips in (False, True)]
        self.kinds = [Kind([range(*self._order.starts[i : i + 2]) for i in kind]) for kind in kinds if kind]
        chosen = [([sizes[i] for i in kind], [weights[i] for i in kind]) for kind in kinds if kind]
        self._batches = BatchOrder(chosen, seed)
        views = [_view(source, config) for source in config.sources]
        self._readers = cached_readers(self.sources, views, int(config.cache * (1 << 30)))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, number: int) -> Any:
        which = self.which(number)
        return self.sources[which][number - int(self.starts[which])]

    def order(self, first: int, count: int) -> list[int]:
        """Return the numbers of the samples at `count` places of the run's endless order, from place `first`."""
        return self._order.numbers(first, count)

    def batch(self, batch: int, size: int) -> list[int]:
        """Return the numbers of the samples of a batch, when all batches have `size` and hold either pictures or clips."""
        kind, numbers = self._batches.numbers(batch, size)
        return [self.kinds[kind][n] for n in numbers]

    def other(self, number: int, rng: np.random.Generator) -> int:
        """Draw another sample of the place that a sample is from."""
        which = self.which(number)
        return int(rng.integers(*self.starts[which : which + 2]))

    def frames(self, number: int) -> int:
        """How many frames are taken of a sample."""
        return self.config.frames if self.config.sources[self.which(number)].clips else 1

    def read(self, number: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """Read a sample's frames uint8 [T, H, W, 3], of a clip from anywhere in it or, without `rng`, from its beginning.

        Where the source has no range to resize to, they are squares of the configured size.
        """
        which = self.which(number)
        return self._readers[which].read(number - int(self.starts[which]), rng)

    def place(self, number: int) -> SourceConfig:
        """What the recipe says of the place that a sample is from."""
        return self.config.sources[self.which(number)]

    def resize(self, number: int) -> tuple[int, int] | None:
        """The range of the short side before a random crop, as configured for the place that a sample is from."""
        return self.config.sources[self.which(number)].resize

    def which(self, number: int) -> int:
        """The place, by its number in the recipe, that a sample is from."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1


def _view(source: SourceConfig, config: DataConfig) -> FrameView:
    """What is kept of a source's samples: where nothing is cropped at random, what the network sees."""
    square = config.size if source.resize is None else None
    return FrameView(square, config.frames, config.fps) if source.clips else FrameView(square)


def _open(config: SourceConfig) -> Source:
    source = open_source(config.path, config.clips, config.codes).keep(**config.keep)
    if not len(source):
        wanted = ", ".join(f"{name} {list(values)}" for name, values in config.keep.items())
        raise BadInputError(
            f"{config.path}: no {'clip' if config.clips else 'picture'} has {wanted} in its JSON; change data.sources.keep"
        )
    return source
