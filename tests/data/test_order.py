"""The order of training: every sample equally often, weights respected, the same from any place."""

import time
from collections import Counter

import numpy as np
import pytest

from grn.data.order import BatchOrder, EpochOrder, shuffled


@pytest.mark.parametrize("sizes", [[1], [7], [5, 3], [2, 90, 11]])
def test_each_epoch_holds_every_sample_once(sizes: list[int]) -> None:
    order, total = EpochOrder(sizes, [1.0] * len(sizes), seed=0), sum(sizes)
    epochs = [order.numbers(e * total, total) for e in range(4)]
    assert all(sorted(epoch) == list(range(total)) for epoch in epochs)
    assert total < 5 or len({tuple(epoch) for epoch in epochs}) == 4  # each in an order of its own


@pytest.mark.parametrize(
    ("sizes", "weights"), [([6, 4], [3.0, 1.0]), ([10, 3, 5], [0.1, 7.3, 1.0]), ([50, 1], [1.0, 0.3])]
)
def test_weights_say_how_often_and_no_sample_is_ahead_of_its_set(sizes: list[int], weights: list[float]) -> None:
    order = EpochOrder(sizes, weights, seed=1)
    count = 200 * sum(sizes)
    times = Counter(order.numbers(0, count))
    whole = sum(size * weight for size, weight in zip(sizes, weights, strict=True))
    for k, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        own = [times[order.starts[k] + i] for i in range(size)]
        assert max(own) - min(own) <= 1
        assert sum(own) == pytest.approx(count * size * weight / whole, abs=2)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.7, 2.2]])
def test_any_place_can_be_entered_and_pieces_join(weights: list[float]) -> None:
    sizes, count = [13, 8], 150
    straight = EpochOrder(sizes, weights, seed=3).numbers(0, count)
    for step in (1, 4, 16, 50):
        order = EpochOrder(sizes, weights, seed=3)
        assert [n for first in range(0, 144, step) for n in order.numbers(first, step)][:144] == straight[:144]
    for first in range(0, 120, 7):
        assert EpochOrder(sizes, weights, seed=3).numbers(first, 20) == straight[first : first + 20]


def test_the_seed_decides_and_sources_are_mixed() -> None:
    order, other = (EpochOrder([40, 40], [1.0, 1.0], seed=seed) for seed in (0, 1))
    first = order.numbers(0, 80)
    assert first != other.numbers(0, 80)
    assert 10 < sum(n < 40 for n in first[:40]) < 30


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 0.25], [0.3, 7.0]])
def test_which_set_a_place_is_of_and_what_came_before_it(weights: list[float]) -> None:
    order = EpochOrder([5, 3], weights, seed=2)
    sets = [int(number >= 5) for number in order.numbers(0, 60)]
    for place in range(60):
        assert EpochOrder([5, 3], weights, seed=2).set_at(place) == (sets[place], sets[:place].count(sets[place]))


def test_batches_are_of_one_kind_by_the_kinds_shares() -> None:
    kinds: list[tuple[list[int], list[float]]] = [([6, 4], [1.0, 1.0]), ([5], [4.0])]
    order = BatchOrder(kinds, seed=0)
    batches = [order.numbers(batch, 4) for batch in range(300)]
    assert all(max(numbers) < (10, 5)[kind] for kind, numbers in batches)
    clips = [numbers for kind, numbers in batches if kind == 1]
    assert len(clips) == pytest.approx(200, abs=2)  # 5 * 4 against 10
    times = Counter(number for batch in clips for number in batch)
    assert max(times.values()) - min(times.values()) <= 1
    assert BatchOrder(kinds, seed=0).numbers(123, 4) == batches[123]
    assert [BatchOrder(kinds, seed=1).numbers(batch, 4) for batch in range(9)] != batches[:9]


def test_batches_of_a_single_kind_are_its_epochs() -> None:
    order, batches = EpochOrder([5, 3], [1.0, 2.0], 0), BatchOrder([([5, 3], [1.0, 2.0])], 0)
    assert [n for b in range(9) for n in batches.numbers(b, 4)[1]] == order.numbers(0, 36)


@pytest.mark.parametrize("size", [4097, 5000, 8191, 10_007])
def test_large_sets_are_permuted_without_a_list(size: int) -> None:
    found = shuffled(np.arange(size), size, [0, 1])
    assert sorted(found.tolist()) == list(range(size))
    places = np.array([size - 1, 0, 77])
    assert shuffled(places, size, [0, 1]).tolist() == found[places].tolist()
    other = shuffled(np.arange(size), size, [0, 2])
    # As of random permutations: about one place is the same, neighbours are as far apart as any two, half rise.
    for moved in (found == np.arange(size), found == other):
        assert moved.sum() < 8
    assert np.abs(np.diff(found)).mean() == pytest.approx(size / 3, rel=0.05)
    assert (np.diff(found) > 0).mean() == pytest.approx(0.5, abs=0.03)
    early = found[: size // 10]  # an epoch's first tenth is from all of the set
    assert np.histogram(early, 10, (0, size))[0] == pytest.approx(size / 100, abs=5 * (size / 100) ** 0.5)


def test_large_sets_too_are_gone_through_in_epochs_from_any_place() -> None:
    sizes = [6000, 300]
    order = EpochOrder(sizes, [1.0, 1.0], seed=5)
    numbers = order.numbers(0, 3 * 6300 + 50)
    times = np.bincount(numbers, minlength=6300)
    assert times.min() >= 2
    assert times.max() <= 4
    large = [n for n in numbers if n < 6000]
    assert sorted(large[6000:12000]) == list(range(6000))
    assert EpochOrder(sizes, [1.0, 1.0], seed=5).numbers(9001, 40) == numbers[9001:9041]


def test_a_set_of_any_size_starts_at_once_anywhere() -> None:
    order, start = EpochOrder([10**12], [1.0], seed=0), time.process_time()
    assert len(set(order.numbers(5 * 10**14 + 3, 1000))) == 1000
    assert time.process_time() - start < 1
