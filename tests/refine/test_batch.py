"""What a step costs: nothing comes back from the device, both branches share a pass, random numbers are drawn ahead."""

from collections import Counter
from typing import Any

import pytest
import torch
from helpers.refinement import ADAPTIVE, case, same, sample, words
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from grn.networks.class_to_image import ClassToImage, PreparedClass
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine import batch as batch_module
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sampler
from grn.refine.step import StepView

LOOKS = ("aten.item", "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal", "aten.is_nonzero")
"""Operations that wait for the device to look at a value."""
LONGER: dict[str, Any] = {"steps": 40, "tmax": 40, "b": 40}


class Counted(TorchDispatchMode):
    """Counts the operations that run, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(function).removesuffix(".default")] += 1
        return function(*args, **(kwargs or {}))


class Even(nn.Module):
    """A network of no work: every class is as likely as the others."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.logits = ClassToImageConfig.tiny("bit"), nn.Parameter(torch.zeros(2))
        self.rows: list[int] = []
        self.most = 10**9

    def prepare(self, condition: Any) -> PreparedClass:
        return PreparedClass(self.logits.expand(len(condition), 2))

    def null_condition(self, count: int) -> ClassCondition:
        return ClassCondition(torch.full((count,), self.config.num_classes))

    def forward(self, states: Tensor, _ratios: Tensor, _prepared: Any) -> Tensor:
        if len(states) > self.most:
            raise torch.OutOfMemoryError("too many rows")
        self.rows.append(len(states))
        return self.logits.expand(*states.shape, 2).clone()


SETTINGS: list[dict[str, Any]] = [
    {"steps": 5},
    {"steps": 5, "guidance": 2.0, "guidance_start": 0.3},
    {"steps": 5, "curve": "cosine", "ratio_shown": "kept"},
    {"steps": 5, "selection": "confidence"},
    {"steps": 5, "fill": "mask"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings))
def test_no_step_looks_at_a_value(settings: dict[str, Any]) -> None:
    """On the meta device there are no values: whatever copied one back would raise."""
    network = Even().to("meta")
    condition = ClassCondition(torch.arange(5))
    found = list(Sampler(network, SamplerConfig(**settings)).run(condition, network.null_condition(1), (1, 4, 4)))
    assert [one.indices.device.type for one in found] == ["meta"] * 5


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings))
def test_a_callback_gets_maps_that_stay_on_the_device(settings: dict[str, Any]) -> None:
    network = Even().to("meta")
    views: list[StepView] = []
    condition, null = ClassCondition(torch.arange(3)), network.null_condition(1)
    list(Sampler(network, SamplerConfig(**settings)).run(condition, null, (1, 4, 4), callback=views.append))
    assert len(views) == 3 * 5
    assert {view.filled.device.type for view in views} == {"meta"}


@pytest.mark.parametrize("settings", [{"steps": 6}, {"adaptive": True, "tmin": 6, "tmax": 9, "b": 9}])
def test_one_number_of_a_sample_comes_back(settings: dict[str, Any]) -> None:
    """Its entropy, when its steps are chosen by it or when it is finished; however many steps it takes."""

    def looks(samples: int, settings: dict[str, Any]) -> int:
        condition = ClassCondition(torch.zeros(samples, dtype=torch.int64))
        with Counted() as counted:
            list(Sampler(Even(), SamplerConfig(**settings)).run(condition, None, (1, 4, 4)))
        return sum(counted.found[name] for name in LOOKS)

    assert looks(6, settings) == looks(1, settings) + 5
    assert looks(6, settings) == looks(6, {**settings, **LONGER})


def test_a_step_takes_as_many_operations_for_one_sample_as_for_many() -> None:
    def operations(samples: int, steps: int) -> int:
        condition = ClassCondition(torch.zeros(samples, dtype=torch.int64))
        with Counted() as counted:
            list(Sampler(Even(), SamplerConfig(steps=steps)).run(condition, None, (1, 4, 4)))
        return sum(counted.found.values())

    one, many = (operations(count, 45) - operations(count, 25) for count in (1, 12))
    # Random numbers are drawn for each sample, twenty steps at once.
    assert many <= one + 11
    assert one / 20 <= 30


def test_drawing_ahead_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    which = case("text", "bit")
    settings = {**ADAPTIVE, "guidance": 2.0}
    found = sample(which, batch_size=4, **settings)
    monkeypatch.setattr(batch_module, "AHEAD_BYTES", 0)
    assert same(sample(which, batch_size=4, **settings), found)


@pytest.mark.parametrize("family", ["class", "text"])
def test_both_branches_share_a_pass_where_that_rounds_alike(family: str) -> None:
    network, condition, null, shape = case(family, "bit")
    rows = []
    hook = network.register_forward_hook(lambda _network, inputs, _output: rows.append(len(inputs[0])))
    list(Sampler(network, SamplerConfig(steps=4, guidance=2.0, guidance_start=0.3)).run(condition, null, shape))
    hook.remove()
    assert rows == [6, 6, 12, 12]


def test_in_float32_on_a_processor_each_branch_has_its_pass() -> None:
    network = Even()
    condition = ClassCondition(torch.arange(3))
    list(Sampler(network, SamplerConfig(steps=2, guidance=2.0)).run(condition, network.null_condition(1), (1, 4, 4)))
    assert network.rows == [3, 3, 3, 3]


def test_branches_part_where_memory_is_short() -> None:
    network = Even().double()
    network.most = 3
    condition, null = ClassCondition(torch.arange(3)), network.null_condition(1)
    sampler = Sampler(network, SamplerConfig(steps=2, guidance=2.0))
    found = list(sampler.run(condition, null, (1, 4, 4)))
    assert network.rows == [3, 3, 3, 3]
    assert sampler.passes == [6, 6]
    network.most = 10**9
    assert same(list(Sampler(network, sampler.config).run(condition, null, (1, 4, 4))), found)
    network.most = 2
    with pytest.raises(torch.OutOfMemoryError):
        list(Sampler(network, SamplerConfig(steps=2, guidance=2.0)).run(condition, null, (1, 4, 4)))


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["class", "text"])
def test_a_gpu_draws_what_a_processor_draws(family: str) -> None:
    network, condition, null, shape = case(family, "bit")
    config = SamplerConfig(**{**ADAPTIVE, "guidance": 2.0})
    here = sorted(Sampler(network, config).run(condition, null, shape), key=lambda one: one.number)
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    made = {"class": ClassToImage, "text": TextToVisual}[family](network.config).double().cuda()
    made.load_state_dict(network.state_dict())
    samples = Sampler(made, config).run(condition.to("cuda"), null.to("cuda"), shape)
    there = sorted(samples, key=lambda one: one.number)
    assert [one.steps for one in there] == [one.steps for one in here]
    assert all(torch.equal(a.indices.cpu(), b.indices) for a, b in zip(there, here, strict=True))


@pytest.mark.parametrize("selection", ["random", "confidence"])
@pytest.mark.parametrize("family", ["class", "text"])
def test_a_mask_is_only_ever_lifted(family: str, selection: str) -> None:
    """The paper's mask: what was once shown is fixed, nothing is erased and nothing is drawn again."""
    views: dict[int, list[StepView]] = {}
    settings = {"steps": 9, "fill": "mask", "selection": selection}
    found = sample(
        case(family, "ind"), callback=lambda view: views.setdefault(view.number, []).append(view), **settings
    )
    for number, seen in views.items():
        shown = torch.zeros_like(seen[0].selection)
        for before, view in zip([None, *seen], seen, strict=False):
            assert not view.erased.any()
            assert view.selection[shown].all()
            assert torch.equal(view.state == -1, ~view.selection)
            if before is not None:
                assert torch.equal(view.prediction[shown], before.prediction[shown])
            shown = view.selection
        assert shown.all()
        assert torch.equal(found[number].indices, seen[-1].prediction)
    counts = torch.stack([torch.stack([view.selection.float().mean() for view in seen]) for seen in views.values()])
    # As many are shown as in refinement: t / T of them after t steps.
    assert torch.allclose(counts.mean(0), torch.arange(1, 10) / 9, atol=0.08)


def test_words_of_many_lengths_join_the_unconditional_branch() -> None:
    network = TextToVisual(TextToVisualConfig.tiny("ind")).double().eval()
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    texts, null = words(1, 6), words(3)
    assert isinstance(texts, TextCondition)
    together = sample((network, texts, null, (1, 2, 2)), steps=4, guidance=3.0)
    for row, one in enumerate(together):
        alone = sample((network, texts, null, (1, 2, 2)), rows=[row], steps=4, guidance=3.0)
        assert same(alone, [one])
