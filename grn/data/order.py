"""In which order a run sees its samples: an endless, shuffled sequence that can be entered at any place.

Nothing is kept between calls: the sample at a place follows from the seed and the place alone. No list grows with the
number of samples: large sets are shuffled by a permutation that is computed place by place. (webdataset shuffles in a
buffer, which may repeat or lose samples where it is resumed; torchdata's loader keeps a place only by going through what
was seen or with a list of the whole epoch.)
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np

_LIST = 4096  # places that are shuffled as a list
_ROUNDS = 8


class EpochOrder:
    """Several sets of samples in one sequence of rounds, each about as long as all sets together, or 4096 places.

    A round takes from each set in proportion to its size times its weight, and mixes what it took. Each set is gone
    through in permutations: none of its samples comes again before all others have come as often. Samples are numbered
    through all sets: those of set k start at `starts[k]`.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float | Fraction], seed: int) -> None:
        assert all(sizes), "an empty set has nothing to give"
        self.sizes, self.seed = list(sizes), seed
        self.starts = [0, *accumulate(sizes)]
        # Exact fractions: rounding would move whole numbers of samples to the next round or the one before.
        shares = [size * Fraction(str(weight)) for size, weight in zip(sizes, weights, strict=True)]
        self.length = min(self.starts[-1], _LIST)
        self.quotas = [share * self.length / sum(shares) for share in shares]
        self._made: dict[int, np.ndarray] = {}

    def numbers(self, first: int, count: int) -> list[int]:
        """The samples at `count` places from place `first` (counted from 0)."""
        number = first // self.length  # this round, or one shortly before: parts of a sample wait for the next
        found: list[int] = []
        while len(found) < count:
            skipped = max(0, first + len(found) - sum(self._taken(number)))
            found += self._round(number)[skipped:][: count - len(found)].tolist()
            number += 1
        return found

    def set_at(self, place: int) -> tuple[int, int]:
        """Which set the sample at a place is from, and how many of that set came before it."""
        number = place // self.length
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
            places = np.arange(max(0, start - epoch * size), min(size, end - epoch * size))
            pieces.append(shuffled(places, size, [self.seed, k, epoch]) + self.starts[k])
        return np.concatenate(pieces)


def shuffled(places: np.ndarray, size: int, key: Sequence[int]) -> np.ndarray:
    """What stands at `places` of a permutation of range(size) that follows from the key.

    Up to 4096 it is any of all permutations. Beyond, a Feistel network mixes the digits of a place, row and column of a
    nearly square table, by turns; a place behind the end is mixed again until it is inside, which keeps it one to one.
    """
    rng = np.random.default_rng(key)
    if size <= _LIST:
        return rng.permutation(size)[places]
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    keys = rng.integers(1 << 63, size=_ROUNDS, dtype=np.uint64)
    found = _mixed(places.astype(np.uint64), rows, columns, keys)
    while (outside := found >= size).any():
        found[outside] = _mixed(found[outside], rows, columns, keys)
    return found.astype(np.int64)


def _mixed(places: np.ndarray, rows: int, columns: int, keys: np.ndarray) -> np.ndarray:
    row, column = places // np.uint64(columns), places % np.uint64(columns)
    for turn, key in enumerate(keys):
        if turn % 2:
            row = (row + _hashed(column, key)) % np.uint64(rows)
        else:
            column = (column + _hashed(row, key)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def _hashed(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """31 bits each that look random: multiplications by odd numbers and shifts, as in SplitMix64."""
    mixed = (values ^ key) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed >> np.uint64(33)


class BatchOrder:
    """Batches whose samples are all of one kind: which kind is drawn by the kinds' shares, and each kind goes through
    its own `EpochOrder`.

    kinds: for each, the sizes and the weights of its sets.
    """

    def __init__(self, kinds: Sequence[tuple[Sequence[int], Sequence[float]]], seed: int) -> None:
        self._orders = [EpochOrder(sizes, weights, seed) for sizes, weights in kinds]
        shares = [sum(size * Fraction(str(w)) for size, w in zip(*kind, strict=True)) for kind in kinds]
        self._kinds = EpochOrder([1] * len(kinds), shares, seed)

    def numbers(self, batch: int, size: int) -> tuple[int, list[int]]:
        """The kind of batch number `batch`, and its samples by their numbers in that kind, when all batches have `size`."""
        kind, earlier = self._kinds.set_at(batch)
        return kind, self._orders[kind].numbers(earlier * size, size)
