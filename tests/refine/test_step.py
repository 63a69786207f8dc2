"""Drawing, selecting and mixing, against plain loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grn.refine.step import MASK, confidence_of, draw, mix, select_confident, select_random

SHAPE = (2, 3, 2, 4)


def uniforms(seed: int = 0) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 4, 16])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_drawing_is_walking_up_the_shares(classes: int, temperature: float) -> None:
    logits = torch.randn(*SHAPE, classes, generator=torch.Generator().manual_seed(1)) * 2
    drawn = draw(logits, temperature, uniforms())
    confidence = confidence_of(drawn, logits, temperature)
    for place in itertools.product(*map(range, SHAPE)):
        weights = [math.exp(x / temperature) for x in logits[place].tolist()]
        left, chosen = float(uniforms()[place]) * sum(weights), 0
        while left >= weights[chosen]:
            left -= weights[chosen]
            chosen += 1
        assert drawn[place] == chosen
        assert float(confidence[place]) == pytest.approx(weights[chosen] / sum(weights), abs=1e-5)
    assert drawn.dtype == torch.int64


def test_what_is_impossible_is_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0])
    ends = torch.tensor([0.0, 0.25, 0.49999997, 0.5, 1 - 2**-24])
    drawn = draw(logits.expand(5, 4), 1.0, ends)
    assert drawn.tolist() == [1, 1, 1, 3, 3]
    assert confidence_of(drawn, logits.expand(5, 4), 1.0).tolist() == [0.5] * 5


def test_drawn_as_often_as_predicted() -> None:
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    spread = (torch.arange(1000) + 0.5) / 1000
    drawn = draw(shares.log().expand(1000, 4), 1.0, spread)
    assert drawn.bincount().tolist() == [100, 200, 300, 400]


def test_random_selection_is_each_elements_own() -> None:
    chosen = select_random(0.3, uniforms())
    for place in itertools.product(*map(range, SHAPE)):
        assert bool(chosen[place]) == (float(uniforms()[place]) < 0.3)
    assert not select_random(0.0, torch.zeros(SHAPE)).any()
    assert select_random(1.0, torch.full(SHAPE, 1 - 2**-24)).all()


@given(st.floats(0, 1), st.integers(0, 5))
def test_the_surest_are_selected(ratio: float, seed: int) -> None:
    confidence = uniforms(seed)
    count = round(ratio * confidence.numel())
    chosen = select_confident(count, confidence, torch.ones(SHAPE, dtype=torch.bool))
    best = sorted(range(confidence.numel()), key=lambda i: -float(confidence.flatten()[i]))[:count]
    assert chosen.shape == confidence.shape
    assert sorted(best) == chosen.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.25, 12), (0.5, 24), (1.0, 48)])
def test_equals_in_confidence_are_still_counted(ratio: float, count: int) -> None:
    everything = torch.ones(SHAPE, dtype=torch.bool)
    assert int(select_confident(round(ratio * 48), torch.ones(SHAPE), everything).sum()) == count


@pytest.mark.parametrize("masked", [False, True])
def test_mixing_shows_the_drawing_only_where_selected(masked: bool) -> None:
    random = torch.Generator().manual_seed(3)
    drawing = torch.randint(4, SHAPE, generator=random)
    others = torch.full(SHAPE, MASK) if masked else torch.randint(4, SHAPE, generator=random)
    selection = uniforms() < 0.5
    state = mix(drawing, selection, others)
    for place in itertools.product(*map(range, SHAPE)):
        assert state[place] == (drawing[place] if selection[place] else others[place])
    if masked:
        assert torch.equal(state == MASK, ~selection)


def test_one_comparison_draws_two_classes_as_the_sum_does() -> None:
    logits = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(5)) * 3
    chances = torch.rand(200_000, generator=torch.Generator().manual_seed(6))
    shares = (logits / 1.3).softmax(-1)
    assert torch.equal(draw(logits, 1.3, chances), (shares.cumsum(-1)[..., :1] <= chances[:, None]).sum(-1))
