"""Small passes are replayed on a GPU, and nowhere else; without a GPU a stand-in records and replays them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.replay import Replay

Network = ClassToImage | TextToVisual


class Graph:
    """What a CUDA graph does, on a processor: the operations of a pass once more, on the same memory."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        for call, given, named, made in self.steps:
            for old, new in zip(tree_leaves(made), tree_leaves(call(*given, **named)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder(TorchDispatchMode):
    """What `torch.cuda.graph` does: notes what runs."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        self.graph.steps.append((call, args, kwargs or {}, made))
        return made


class Elsewhere:
    """A network of the processor whose weights say that they lie on a GPU."""

    def __init__(self, network: Network) -> None:
        self.config, self._network = network.config, network
        self.calls = 0

    def parameters(self) -> Iterator[Any]:
        for one in self._network.parameters():
            yield SimpleNamespace(device=torch.device("cuda"), numel=one.numel)

    def __call__(self, *given: Any) -> Tensor:
        self.calls += 1
        return self._network(*given)


GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
)


@pytest.fixture(params=["cpu", GPU])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where passes are replayed: on a GPU, or on a processor by the stand-in."""
    if request.param == "cpu":
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", Recorder)
    return str(request.param)


def replay(network: Network, device: str) -> Replay:
    made: Any = network if device == "cuda" else Elsewhere(network)
    return Replay(made)


def network(family: str) -> Network:
    torch.manual_seed(0)
    made = ClassToImage(ClassToImageConfig.tiny()) if family == "class" else TextToVisual(TextToVisualConfig.tiny())
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval().requires_grad_(False)


def conditions(made: Network, count: int, device: str) -> ClassCondition | TextCondition:
    if isinstance(made, ClassToImage):
        return ClassCondition(torch.arange(count)).to(device)
    mask = torch.arange(5)[None] < torch.arange(5, 5 - count, -1)[:, None]  # of several, the later ones are padded
    return TextCondition(torch.randn(count, 5, made.config.text_width), mask).to(device)


def maps(made: Network, count: int) -> Tensor:
    return torch.randint(-1, made.config.classes, (count, 1, 4, 4, made.config.elements))


@torch.inference_mode()
def test_on_a_processor_every_pass_is_computed() -> None:
    made = network("class")
    forward, prepared = Replay(made), made.prepare(conditions(made, 2, "cpu"))
    for _ in range(4):
        given = maps(made, 2), torch.rand(2), prepared
        assert torch.equal(forward(*given), made(*given))
    assert forward.replayed == 0


@pytest.mark.parametrize("family", ["class", "text"])
@torch.inference_mode()
def test_replayed_passes_are_those_of_the_network(family: str, device: str) -> None:
    made = network(family).to(device)
    forward = replay(made, device)
    for count in (1, 2, 1):  # other samples are prepared anew, and recorded anew
        prepared = made.prepare(conditions(made, count, device))
        for step in range(4):
            given = maps(made, count).to(device), torch.rand(count).to(device), prepared
            torch.testing.assert_close(forward(*given), made(*given), rtol=0, atol=1e-5, msg=f"{count} {step}")
    assert forward.replayed == 9  # all but the first pass of each


@torch.inference_mode()
def test_two_kinds_of_passes_in_turns_keep_their_recordings(device: str) -> None:
    """As the steps of a picture whose guidance counts in a part of them."""
    made = network("class").to(device)
    forward = replay(made, device)
    kinds = [made.prepare(conditions(made, count, device)) for count in (1, 2)]
    for count in (1, 1, 1, 2, 2, 2, 1, 2):
        given = maps(made, count).to(device), torch.rand(count).to(device), kinds[count - 1]
        torch.testing.assert_close(forward(*given), made(*given), rtol=0, atol=1e-5)
    assert forward.replayed == 6


@torch.inference_mode()
def test_large_passes_are_computed(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.refine.replay.SMALL", 0.0)
    made = network("class").to(device)
    forward, prepared = replay(made, device), made.prepare(conditions(made, 1, device))
    for _ in range(3):
        forward(maps(made, 1).to(device), torch.rand(1).to(device), prepared)
    assert forward.replayed == 0
