"""The order of training: every sample equally often, weights respected, the same from any place."""

from collections import Counter

import pytest

from grn.data.order import EpochOrder


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
