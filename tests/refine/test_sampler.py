"""The sampler: against the plain loop, alone and in company, and what every setting does."""

from typing import Any

import pytest
import torch
from helpers.plain_refinement import plain_sample
from helpers.refinement import ADAPTIVE, case, same, sample, words
from torch import Tensor, nn

from grn.errors import UsageError
from grn.hbq import bits_to_indices
from grn.networks.condition import ClassCondition
from grn.networks.generator_config import ClassToImageConfig
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sample, Sampler
from grn.refine.step import MASK, StepView

FAMILIES = ["class", "text"]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1},
        {"steps": 7},
        {"steps": 6, "guidance": 3.0, "guidance_start": 0.4, "temperature": 1.3},
        {"steps": 6, "guidance": 0.0, "guidance_end": 0.5, "temperature": 0.7},
        {"steps": 8, "curve": "cosine", "ratio_shown": "kept"},
        {"steps": 7, "selection": "confidence"},
        {"steps": 6, "fill": "mask", "ratio_shown": "kept", "guidance": 2.0},
        ADAPTIVE,
        {**ADAPTIVE, "curve": "cosine", "ratio_shown": "kept", "guidance": 2.5, "guidance_start": 0.2},
        {**ADAPTIVE, "selection": "confidence", "fill": "mask", "warmup": 0},
        {**ADAPTIVE, "temperature": 1.3, "cooling": 0.05, "cooling_from": 14, "guidance": 2.0},
        {"steps": 7, "curve": "cosine", "curve_factor": 0.95, "fill": "mask"},
    ],
    ids=lambda settings: ",".join(k for k in settings if k not in ("tmin", "tmax", "k", "b")),
)
@pytest.mark.parametrize(("family", "target"), [("class", "ind"), ("class", "flip"), ("text", "bit"), ("text", "ind")])
def test_the_plain_loop_draws_the_same(family: str, target: str, settings: dict[str, Any]) -> None:
    if target == "flip":
        settings = {**settings, "fill": "refine"}
    which = network, condition, null, shape = case(family, target)
    full = SamplerConfig(**settings).model_dump()
    for found, row in zip(sample(which, rows=[1, 4, 3], seed=9, batch_size=2, **settings), [1, 4, 3], strict=True):
        indices, steps = plain_sample(network, condition.rows(torch.tensor([row])), null, shape, full, 9 + row)
        assert found.steps == steps
        assert found.indices.flatten().tolist() == indices
        assert found.indices.shape == (*shape, network.config.channels)
        assert found.indices.dtype == torch.int64
        assert 0 <= int(found.indices.min()) <= int(found.indices.max()) < 2**network.config.rounds


@pytest.mark.parametrize("settings", [{"steps": 6}, {**ADAPTIVE, "guidance": 2.0}], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_is_the_same_alone_and_in_any_company(family: str, settings: dict[str, Any]) -> None:
    which = case(family, "bit")
    together = sample(which, **settings)
    assert len({tuple(s.indices.flatten().tolist()) for s in together}) == 6
    for batch_size in (1, 2, 4, 5):
        assert same(sample(which, batch_size=batch_size, **settings), together)
    for rows in ([5, 3, 1, 0, 4, 2], [2, 2, 0], [4]):
        assert same(sample(which, rows=rows, batch_size=2, **settings), [together[row] for row in rows])
    alone = sample(which, rows=[4], **settings)[0]
    assert alone.entropy == pytest.approx(together[4].entropy, abs=1e-6)


def test_the_seed_decides() -> None:
    network, condition, null, shape = which = case("class", "ind")
    first = sample(which, steps=4)
    assert same(sample(which, steps=4), first)
    assert same(
        sorted(Sampler(network, SamplerConfig(steps=4)).run(condition, null, shape), key=lambda s: s.number), first
    )
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**64, 2**70]
    one_class = condition.rows(torch.zeros(len(seeds), dtype=torch.int64))
    drawn = Sampler(network, SamplerConfig(steps=2)).run(one_class, None, shape, seed=seeds)
    assert len({tuple(s.indices.flatten().tolist()) for s in drawn}) == len(seeds)


@pytest.mark.parametrize("given", [{"seed": [0]}, {"seed": [0] * 7}, {"seed": -1}, {"batch_size": 0}])
def test_arguments_that_do_not_fit_are_a_mistake(given: dict[str, Any]) -> None:
    network, condition, null, shape = case("class", "ind")
    with pytest.raises(AssertionError):
        list(Sampler(network, SamplerConfig(steps=2)).run(condition, null, shape, **given))


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance": 2.35, "guidance_start": 0.44, "temperature": 1.31},  # 0.44 is step 22, and the interval is open
        {"curve": "cosine", "ratio_shown": "kept"},
        {"selection": "confidence"},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tmax", [50, 80])
def test_complexity_aware_with_k_0_and_b_50_is_fifty_steps(family: str, tmax: int, settings: dict[str, Any]) -> None:
    network, condition, null, shape = case(family, "bit")
    fixed = Sampler(network, SamplerConfig(steps=50, **settings))
    aware = Sampler(network, SamplerConfig(adaptive=True, k=0, b=50, tmin=10, tmax=tmax, **settings))
    rows = condition.rows(torch.tensor([1, 2]))
    seen: tuple[list[StepView], list[StepView]] = ([], [])
    one, other = (
        list(sampler.run(rows, null, shape, callback=views.append))
        for sampler, views in zip((fixed, aware), seen, strict=True)
    )
    assert same(one, other)
    assert fixed.passes == aware.passes
    assert [view.ratio for view in seen[0]] == [view.ratio for view in seen[1]]


@pytest.mark.parametrize(
    ("settings", "unconditional"),
    [
        ({}, 0),
        ({"guidance": 2.0}, 10),
        ({"guidance": 0.0}, 10),
        ({"guidance": 2.0, "guidance_start": 0.5}, 4),  # ratios 0.6 to 0.9
        ({"guidance": 2.0, "guidance_end": 0.5}, 5),  # 0 to 0.4
        ({"guidance": 2.0, "guidance_start": 0.1, "guidance_end": 0.4}, 2),
        ({"guidance": 2.0, "guidance_start": 0.95}, 0),
        ({"guidance": 2.0, "guidance_end": 0.0}, 0),
    ],
)
def test_unconditional_passes_are_run_only_where_there_is_guidance(
    settings: dict[str, Any], unconditional: int
) -> None:
    network, condition, null, shape = case("class", "ind")
    rows = []
    hook = network.register_forward_hook(lambda _network, inputs, _output: rows.append(len(inputs[0])))
    sampler = Sampler(network, SamplerConfig(steps=10, **settings))
    list(sampler.run(condition, null, shape, batch_size=4))
    hook.remove()
    assert sampler.passes == [60, 6 * unconditional]
    assert sum(rows) == 60 + 6 * unconditional


@pytest.mark.parametrize("family", FAMILIES)
def test_guidance_needs_a_null_and_nothing_else_does(family: str) -> None:
    network, condition, _, shape = case(family, "bit")
    assert len(list(Sampler(network, SamplerConfig(steps=2)).run(condition, None, shape))) == 6
    with pytest.raises(UsageError, match="set guidance to 1"):
        list(Sampler(network, SamplerConfig(steps=2, guidance=2)).run(condition, None, shape))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 9},
        {"steps": 9, "selection": "confidence"},
        {"steps": 9, "fill": "mask"},
        {**ADAPTIVE, "guidance": 2.0},
    ],
    ids=["random", "confidence", "mask", "adaptive"],
)
def test_what_a_callback_sees(settings: dict[str, Any]) -> None:
    views: dict[int, list[StepView]] = {number: [] for number in range(6)}

    def watch(view: StepView) -> None:
        views[view.number].append(view)

    found = sample(case("class", "ind"), batch_size=4, callback=watch, **settings)
    erased = 0
    for result, seen in zip(found, views.values(), strict=True):
        before = torch.zeros_like(seen[0].filled)
        hidden = torch.full_like(seen[0].state, -2)  # the random map, as far as it has been seen
        assert [view.step for view in seen] == list(range(1, result.steps + 1))
        for view in seen:
            assert not (view.filled & view.kept | view.filled & view.erased | view.kept & view.erased).any()
            now = view.filled | view.kept
            assert torch.equal(view.kept | view.erased, before)
            assert torch.equal(view.state[now], view.prediction[now])
            shown = ~now & (hidden != -2)
            assert torch.equal(view.state[shown], hidden[shown])  # the same map for the whole run
            hidden[~now] = view.state[~now]
            if settings.get("fill") == "mask":
                assert torch.equal(view.state == MASK, ~now)
            if settings.get("selection") == "confidence":
                assert int(now.sum()) == round(view.ratio * now.numel())
            erased += int(view.erased.sum())
            before = now
        ratios = [view.ratio for view in seen]
        assert ratios == sorted(ratios)
        assert ratios[-1] == 1
        assert before.all()
        assert seen[-1].total == result.steps
        assert torch.equal(seen[-1].prediction, result.indices)
    assert (erased > 20) == (settings.get("fill") != "mask")  # refinement also takes back


@pytest.mark.parametrize("target", ["ind", "bit"])
def test_the_last_prediction_counts_not_the_last_state(target: str) -> None:
    """The cosine curve ends at 0.95: some elements of the last state still are the random map's."""
    views: list[StepView] = []
    network, _, null, _ = case("text", target)
    condition = words(*[2] * 8)
    sampler = Sampler(network, SamplerConfig(steps=2, curve="cosine", curve_factor=0.95))
    found = {s.number: s.indices for s in sampler.run(condition, null, (2, 8, 8), callback=views.append)}
    last = [view for view in views if view.step == 2]
    assert any(not torch.equal(view.state, view.prediction) for view in last)
    for view in last:
        assert torch.equal(
            found[view.number], view.prediction if target == "ind" else bits_to_indices(view.prediction, 2, -1)
        )


def test_relative_bits_are_flipped() -> None:
    """A network that is sure that every bit is right keeps the random map; one that is sure of the opposite turns it round."""

    class Sure(nn.Module):
        def __init__(self, wrong: int) -> None:
            super().__init__()
            self.config, self.logits = ClassToImageConfig.tiny("flip"), nn.Parameter(torch.tensor([0.0, 0.0]))
            self.logits.data[wrong] = 1e4

        def prepare(self, condition: Any) -> Any:
            return condition

        def forward(self, states: Tensor, _ratios: Tensor, _prepared: Any) -> Tensor:
            return self.logits.expand(*states.shape, 2)

    condition = ClassCondition(torch.arange(2))
    right, wrong = (
        list(Sampler(Sure(answer), SamplerConfig(steps=1)).run(condition, None, (1, 4, 4))) for answer in (0, 1)
    )
    assert all(torch.equal(a.indices, 3 - b.indices) for a, b in zip(right, wrong, strict=True))
    longer = list(Sampler(Sure(0), SamplerConfig(steps=6)).run(condition, None, (1, 4, 4)))
    assert same(longer, [Sample(s.number, s.indices, 6, None) for s in right])
    with pytest.raises(UsageError, match="leave fill at refine"):
        Sampler(Sure(0), SamplerConfig(fill="mask"))


@pytest.mark.parametrize("family", FAMILIES)
def test_harder_samples_get_more_steps_within_the_bounds(family: str) -> None:
    found = sample(case(family, "bit"), **{**ADAPTIVE, "k": 2000.0, "b": -1900.0})
    assert all(6 <= s.steps <= 14 for s in found)
    by_entropy = sorted(found, key=lambda s: s.entropy or 0)
    assert [s.steps for s in by_entropy] == sorted(s.steps for s in found)
    assert {s.steps for s in sample(case(family, "bit"), **{**ADAPTIVE, "k": 0, "b": -1e9})} == {6}
    assert {s.steps for s in sample(case(family, "bit"), **{**ADAPTIVE, "k": 0, "b": 1e9})} == {14}


def test_entropy_is_told_where_it_was_reached() -> None:
    which = case("class", "ind")
    assert {s.entropy for s in sample(which, steps=5)} == {None}
    fixed = [s.entropy for s in sample(which, steps=6)]
    assert all(0 < (entropy or 0) < 1 for entropy in fixed)
    # What is measured is the conditional prediction: guidance from that very step on (ratio 5/7) changes draws alone.
    plain, guided = sample(which, steps=7), sample(which, steps=7, guidance=5.0, guidance_start=0.7)
    assert not same(plain, guided)
    assert [s.entropy for s in guided] == [s.entropy for s in plain]


def test_a_finished_samples_place_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, condition, _, shape = case("class", "ind")
    rows, prepared = [], []
    prepare = network.prepare
    monkeypatch.setattr(network, "prepare", lambda one: (prepared.append(len(one)), prepare(one))[1])
    hook = network.register_forward_hook(lambda _network, inputs, _output: rows.append(len(inputs[0])))
    sampler = Sampler(network, SamplerConfig(**ADAPTIVE))
    first = next(run := sampler.run(condition, None, shape, batch_size=2))
    assert prepared == [2]  # nothing is made for those that wait
    steps = [first.steps, *(s.steps for s in run)]
    hook.remove()
    assert len(set(steps)) > 1
    assert sampler.passes == [sum(steps), 0]
    full = rows.index(1) if 1 in rows else len(rows)
    assert set(rows[:full]) == {2}
    assert set(rows[full:]) <= {1}  # alone only once nobody waits
    assert sum(prepared) == 6


@pytest.mark.parametrize("settings", [{"steps": 5, "guidance": 2.0}, {**ADAPTIVE, "selection": "confidence"}])
def test_samples_of_different_shapes_share_a_batch(settings: dict[str, Any]) -> None:
    network, condition, null, _ = case("text", "bit")
    shapes = [(1, 2, 4), (2, 4, 2), (1, 2, 4), (3, 2, 2), (1, 4, 4), (2, 4, 2)]
    sampler = Sampler(network, SamplerConfig(**settings))
    together = sorted(sampler.run(condition, null, shapes, seed=3, batch_size=4), key=lambda s: s.number)
    assert [tuple(s.indices.shape[:3]) for s in together] == shapes
    for row, shape in enumerate(shapes):
        one = condition.rows(torch.tensor([row]))
        assert same(list(sampler.run(one, null, shape, seed=3 + row)), [together[row]])
    with pytest.raises(AssertionError, match="2 shapes for 6 samples"):
        next(sampler.run(condition, null, shapes[:2]))
