"""In which order a run sees its samples: an endless, shuffled sequence that can be entered at any place.

Nothing is kept between calls: the sample at a place follows from the seed and the place alone.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np


class EpochOrder:
    """Several sets of samples in one sequence of rounds, each about as long as all sets together.

    A round takes from each set in proportion to its size times its weight, and mixes what it took. Each set is gone
    through in permutations: none of its samples comes again before all others have come as often. With equal weights a
    round is an epoch. Samples are numbered through all sets: those of set k start at `starts[k]`.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float | Fraction], seed: int) -> None:
        assert all(sizes), "an empty set has nothing to give"
        self.sizes, self.seed = list(sizes), seed
        self.starts = [0, *accumulate(sizes)]
        # Exact fractions: rounding would move whole numbers of samples to the next round or the one before.
        shares = [size * Fraction(str(weight)) for size, weight in zip(sizes, weights, strict=True)]
        self.quotas = [share * self.starts[-1] / sum(shares) for share in shares]
        self._made: dict[int, np.ndarray] = {}

    def numbers(self, first: int, count: int) -> list[int]:
        """The samples at `count` places from place `first` (counted from 0)."""
        number = first // self.starts[-1]  # this round, or one shortly before: parts of a sample wait for the next
        found: list[int] = []
        while len(found) < count:
            skipped = max(0, first + len(found) - sum(self._taken(number)))
            found += self._round(number)[skipped:][: count - len(found)].tolist()
            number += 1
        return found

    def set_at(self, place: int) -> tuple[int, int]:
        """Which set the sample at a place is from, and how many of that set came before it."""
        number = place // self.starts[-1]
        while sum(self._taken(number + 1)) <= place:
            number += 1
        taken = self._taken(number)
        sets = np.searchsorted(self.starts, self._round(number)[: place - sum(taken) + 1], side="right") - 1
        return int(sets[-1]), taken[int(sets[-1])] + int((sets[:-1] == sets[-1]).sum())

    def _taken(self, rounds: int) -> list[int]:
        """How many were taken from each set in the first rounds."""
        return [int(quota * rounds) for quota in self.quotas]

    def _round(self, number: int) -> np.ndarray:
        if number not in self._made:
            taken, then = self._taken(number), self._taken(number + 1)
            counts = [end - start for start, end in zip(taken, then, strict=True)]
            sets = np.random.default_rng([self.seed, number]).permutation(np.repeat(np.arange(len(counts)), counts))
            mixed = np.zeros(len(sets), np.int64)
            for k in range(len(counts)):
                mixed[sets == k] = self._from_set(k, taken[k], then[k])
            self._made = {n: made for n, made in self._made.items() if n == number - 1} | {number: mixed}
        return self._made[number]

    def _from_set(self, k: int, start: int, end: int) -> np.ndarray:
        """Draws number start to end from set k: pieces of its permutations."""
        size = self.sizes[k]
        pieces = [np.zeros(0, np.int64)]
        for epoch in range(start // size, -(-end // size)):
            order = np.random.default_rng([self.seed, k, epoch]).permutation(size)
            pieces.append(order[max(0, start - epoch * size) : end - epoch * size] + self.starts[k])
        return np.concatenate(pieces)


class BatchOrder:
    """Batches whose samples are all of one kind: which kind is drawn by the kinds' shares, and each kind goes through
    its own `EpochOrder`.

    kinds: for each, the sizes and the weights of its sets. Samples are numbered through the sets of all kinds in their
    order.
    """

    def __init__(self, kinds: Sequence[tuple[Sequence[int], Sequence[float]]], seed: int) -> None:
        self._orders = [EpochOrder(sizes, weights, seed) for sizes, weights in kinds]
        self._starts = [0, *accumulate(order.starts[-1] for order in self._orders)]
        shares = [sum(size * Fraction(str(w)) for size, w in zip(*kind, strict=True)) for kind in kinds]
        self._kinds = EpochOrder([1] * len(kinds), shares, seed)

    def numbers(self, batch: int, size: int) -> list[int]:
        """The samples of batch number `batch`, when all batches have `size`."""
        kind, earlier = self._kinds.set_at(batch)
        return [self._starts[kind] + n for n in self._orders[kind].numbers(earlier * size, size)]
