"""What is known stays: against the plain loop, at every step, and what starting from it changes."""

import math
from typing import Any

import pytest
import torch
from helpers.plain_refinement import plain_sample
from helpers.refinement import ADAPTIVE, case

from grn.hbq import bits_to_indices
from grn.hub.registry import ENTRIES
from grn.refine.config import SamplerConfig
from grn.refine.known import Known
from grn.refine.sampler import Sample, Sampler
from grn.refine.step import StepView


def known_of(which: Any, share: float, start: float = 0.0) -> Known:
    """Random tokens, of which `share` is fixed."""
    network, _, _, shape = which
    random = torch.Generator().manual_seed(4)
    full = (*shape, network.config.elements)
    tokens = torch.randint(network.config.classes, full, generator=random)
    return Known(tokens, torch.rand(full, generator=random) < share, start)


def sample(which: Any, known: Known | None, callback: Any = None, **settings: Any) -> list[Sample]:
    """All six rows with their own keys."""
    network, condition, null, shape = which
    sampler = Sampler(network, SamplerConfig(**settings))
    found = sampler.run(condition, null, shape, seed=9, batch_size=4, callback=callback, known=known)
    return sorted(found, key=lambda s: s.number)


def same(one: list[Sample], other: list[Sample]) -> bool:
    return all(torch.equal(a.indices, b.indices) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 7},
        {"steps": 6, "guidance": 3.0, "guidance_start": 0.4, "temperature": 1.3},
        {"steps": 8, "curve": "cosine", "ratio_shown": "kept"},
        {"steps": 7, "selection": "confidence"},
        {"steps": 6, "fill": "mask"},
        {"steps": 6, "fill": "mask", "selection": "confidence"},
        {"steps": 6, "ratio_of": "drawn"},
        {"steps": 6, "ratio_of": "drawn", "ratio_shown": "kept"},
        {**ADAPTIVE, "guidance": 2.0},
    ],
    ids=lambda settings: ",".join(k for k in settings if k not in ("tmin", "tmax", "k", "b")),
)
@pytest.mark.parametrize(("share", "start"), [(0.4, 0.0), (0.0, 0.6), (0.4, 0.5), (0.4, 0.06)])
@pytest.mark.parametrize(("family", "target"), [("class", "flip"), ("text", "bit"), ("text", "ind")])
def test_the_plain_loop_draws_the_same(
    family: str, target: str, share: float, start: float, settings: dict[str, Any]
) -> None:
    if target == "flip":
        settings = {**settings, "fill": "refine"}
    which = network, condition, null, shape = case(family, target)
    known = known_of(which, share, start)
    plain_known = known.tokens.flatten().tolist(), known.fixed.flatten().tolist(), start
    full = SamplerConfig(**settings).model_dump()
    found = sample(which, known, **settings)
    for row in (1, 4):
        rows = condition.rows(torch.tensor([row]))
        indices, steps = plain_sample(network, rows, null, shape, full, 9 + row, plain_known)
        assert found[row].steps == steps
        assert found[row].indices.flatten().tolist() == indices


def test_a_clip_is_drawn_behind_a_given_frame_as_published() -> None:
    """Clean tokens in both branches, and the network is told the share kept of the drawn frames alone."""
    which = network, condition, null, shape = case("joint text", "bit")
    settings = {**ENTRIES["grn-8b"].sampling, "steps": 6}
    known = known_of(which, 0.0)
    known.fixed[0] = True
    assert known.begins
    given, told, views = [], [], []
    hook = network.register_forward_pre_hook(lambda _, sent: given.append(sent[0][:, 0]) or told.append(sent[1]))
    found = sample(which, known, views.append, **settings)[0]
    hook.remove()
    rows = condition.rows(torch.tensor([0]))
    plain_known = known.tokens.flatten().tolist(), known.fixed.flatten().tolist(), 0.0
    full = SamplerConfig(**settings).model_dump()
    assert found.indices.flatten().tolist() == plain_sample(network, rows, null, shape, full, 9, plain_known)[0]
    assert [len(one) for one in given] == [8] * 6 + [
        4
    ] * 6  # both branches in one pass, of four samples and then of two
    assert all(torch.equal(one, known.tokens[:1].expand_as(one)) for one in given)
    mine = [view for view in views if view.number == 0]
    shares = [0.0, *(float((view.filled | view.kept)[1:].float().mean()) for view in mine[:-1])]
    assert [float(one[0]) for one in told[:6]] == pytest.approx(shares, abs=1e-7)
    assert [view.ratio for view in mine] == pytest.approx(
        [0.95 * (1 - math.cos(math.pi / 2 * min(1, (i + 1) / 5))) for i in range(6)]
    )


@pytest.mark.parametrize("settings", [{"steps": 6}, {"steps": 6, "fill": "mask", "selection": "confidence"}, ADAPTIVE])
@pytest.mark.parametrize("target", ["ind", "bit"])
def test_what_is_fixed_is_there_at_every_step_and_in_the_end(target: str, settings: dict[str, Any]) -> None:
    which = case("text", target)
    known = known_of(which, 0.3, 0.06)
    views: list[StepView] = []
    found = sample(which, known, views.append, **settings)
    for view in views:
        for tokens in (view.prediction, view.state):
            assert torch.equal(tokens[known.fixed], known.tokens[known.fixed])
        assert (view.filled | view.kept)[known.fixed].all()
    # Bits of one index may be fixed or free: compare where all of them are fixed.
    wanted = known.tokens if target == "ind" else bits_to_indices(known.tokens, 2, -1)
    whole = known.fixed if target == "ind" else bits_to_indices(known.fixed.long(), 2, -1) == 3
    assert whole.any()
    for one in found:
        assert torch.equal(one.indices[whole], wanted[whole])
    free = torch.stack([one.indices[~whole] for one in found])
    assert (free != free[0]).any()


def test_nothing_known_is_a_plain_run() -> None:
    which = network, _, _, shape = case("text", "bit")
    nothing = Known.nothing((*shape, network.config.elements))
    assert nothing.share == 0
    assert same(sample(which, nothing, steps=6), sample(which, None, steps=6))
    # Tokens of which nothing is fixed and that are not started from say nothing.
    assert same(sample(which, known_of(which, 0.0), steps=6), sample(which, None, steps=6))


def test_starting_later_takes_fewer_steps_and_stays_nearer() -> None:
    which = case("text", "ind")
    tokens = known_of(which, 0.0).tokens
    nothing = torch.zeros_like(tokens, dtype=torch.bool)
    steps, distances = [], []
    for start in (0.0, 0.3, 0.6, 0.95, 0.999):
        found = sample(which, Known(tokens, nothing, start), steps=10)
        steps.append({one.steps for one in found})
        distances.append(sum(float((one.indices != tokens).float().mean()) for one in found))
    assert steps == [{10}, {7}, {4}, {1}, {1}]
    assert len(set(distances)) == len(distances) - 1  # 0.95 and 0.999 are the same last step
    assert {one.steps for one in sample(which, Known(tokens, nothing, 1 - 0.9), steps=50)} == {45}


def test_a_start_beyond_the_warm_up_takes_the_fixed_schedule() -> None:
    which = case("text", "bit")
    settings = {**ADAPTIVE, "steps": 20}
    beyond, within = (sample(which, known_of(which, 0.0, start), **settings) for start in (0.5, 0.06))
    assert {one.steps for one in beyond} == {10}
    assert {one.entropy for one in beyond} == {None}
    assert all(one.entropy is not None and one.steps <= 14 - 3 for one in within)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, dtype=torch.bool)),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 3, dtype=torch.bool)),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)),
        (torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2, dtype=torch.bool)),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.bool), 1.0),
        (torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.bool), -0.1),
    ],
)
def test_what_cannot_be_known_is_a_mistake(arguments: Any) -> None:
    with pytest.raises(AssertionError):
        Known(*arguments)


def test_tokens_of_another_map_are_a_mistake() -> None:
    which = case("text", "bit")
    with pytest.raises(AssertionError, match="for maps of"):
        sample(which, known_of(case("class", "bit"), 0.2), steps=2)
