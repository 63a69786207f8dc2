"""Networks that compile whole: one graph each, the same results and gradients, and no new one for other sizes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.compiling import compile_blocks
from grn.networks.condition import ClassCondition, Condition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual

Network = ClassToImage | TextToVisual


@pytest.fixture(autouse=True)
def _graphs_of_their_own() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def randomised(network: nn.Module) -> Any:
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name or "gain" in name else 0.0, std=0.2)
    return network.eval()


def maps(network: Network, *shape: int) -> Tensor:
    config = network.config
    return torch.randint(-1, config.classes, (*shape, config.elements), generator=torch.Generator().manual_seed(1))


def texts(config: TextToVisualConfig, *lengths: int) -> TextCondition:
    random = torch.Generator().manual_seed(2)
    parts = [torch.randn(1, n, config.text_width, generator=random) for n in lengths]
    return TextCondition.cat([TextCondition(part, torch.ones(part.shape[:2], dtype=torch.bool)) for part in parts])


def ratios(count: int) -> Tensor:
    return torch.linspace(0.1, 0.9, count)


def autoencoder() -> CausalAutoencoder:
    """The smallest with every kind of layer: strides 4 and 2."""
    config = TokenizerConfig(
        channels=3, encoder_width=4, decoder_width=4, multipliers=(2, 2), halves_time=(True,), encoder_blocks=1,
        decoder_blocks=1,
    )  # fmt: skip
    network: CausalAutoencoder = randomised(CausalAutoencoder(config))
    return network


def generators() -> list[tuple[str, Network, Condition, tuple[int, ...]]]:
    one, two, joint = (
        ClassToImageConfig.tiny(),
        TextToVisualConfig.tiny(),
        TextToVisualConfig.tiny(text_attention="joint"),
    )
    return [
        ("class", randomised(ClassToImage(one)), ClassCondition(torch.tensor([0, 2, 1])), (1, 4, 4)),
        ("text", randomised(TextToVisual(two)), texts(two, 3, 3, 3), (2, 2, 4)),
        ("padded text", randomised(TextToVisual(two)), texts(two, 3, 1, 4), (1, 4, 4)),
        ("patches", randomised(TextToVisual(TextToVisualConfig.tiny("ind", 2))), texts(two, 2, 2, 2), (2, 4, 6)),
        ("joint text", randomised(TextToVisual(joint)), texts(two, 3, 1, 4), (1, 4, 4)),
    ]


@pytest.mark.parametrize("case", generators(), ids=lambda case: case[0])
@pytest.mark.filterwarnings("error:Mismatch dtype between input and weight")  # a norm that is not fused
def test_a_generators_step_is_one_graph(case: tuple[str, Network, Condition, tuple[int, ...]]) -> None:
    _, network, condition, shape = case
    given = maps(network, 3, *shape), ratios(3), network.prepare(condition)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        wanted = network(*given)
        found = torch.compile(network, backend="aot_eager", fullgraph=True)(*given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.1)


@pytest.mark.parametrize("case", generators()[:3:2], ids=lambda case: case[0])
def test_gradients_through_one_graph(case: tuple[str, Network, Condition, tuple[int, ...]]) -> None:
    _, network, condition, shape = case
    tokens = maps(network, 3, *shape)
    names, parameters = zip(*network.named_parameters(), strict=True)

    def gradients(call: Callable[..., Tensor]) -> Sequence[Tensor]:
        logits = call(tokens, ratios(3), network.prepare(condition))
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
        return torch.autograd.grad((logits * weights).sum(), parameters)

    plain, compiled = gradients(network), gradients(torch.compile(network, backend="aot_eager", fullgraph=True))
    for name, one, other in zip(names, compiled, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3, msg=name)


@pytest.mark.parametrize("case", [0, 2, 4], ids=["class", "text", "joint text"])
@torch.no_grad()
def test_packed_maps_are_one_graph(case: int) -> None:
    name, network, condition, _ = generators()[case]
    shapes = [(1, 4, 4)] * 3 if name == "class" else [(1, 2, 2), (2, 4, 2), (1, 4, 6)]
    given = [maps(network, *shape) for shape in shapes], ratios(3), network.prepare(condition)
    wanted = network.packed(*given)
    found = torch.compile(network.packed, backend="aot_eager", fullgraph=True)(*given)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("frames", "laid_out", "backend"), [(1, False, "eager"), (3, True, "aot_eager")])
@torch.no_grad()
def test_the_autoencoder_is_one_graph_each_way(frames: int, laid_out: bool, backend: str) -> None:
    network = autoencoder()
    if laid_out:
        network.lay_out()
    pixels = torch.rand(1, 3, frames, 8, 12) * 2 - 1
    features = network.encode(pixels)
    compiled = [torch.compile(way, backend=backend, fullgraph=True) for way in (network.encode, network.decode)]
    torch.testing.assert_close(compiled[0](pixels), features, rtol=0, atol=1e-4)
    torch.testing.assert_close(compiled[1](features), network.decode(features), rtol=1e-4, atol=1e-4)


class Counter:
    """A backend that counts what it compiles.

    The first sizes that it is shown differ from each other and from the numbers of layers, heads and elements: of equal
    ones the compiler takes it that they always are.
    """

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


@torch.inference_mode()
def test_blocks_of_a_text_network_share_a_graph_for_all_sizes_and_lengths() -> None:
    plain, network, counter = generators()[2][1], generators()[2][1], Counter()
    assert isinstance(plain, TextToVisual)
    assert isinstance(network, TextToVisual)
    compile_blocks(network, counter)
    graphs = []
    for lengths, shape in [
        ((3, 2, 7), (3, 5, 4, 9)),
        ((5, 5), (2, 3, 6, 2)),
        ((4,), (1, 1, 4, 4)),
        ((6,), (1, 2, 4, 2)),
    ]:
        given, condition = (maps(plain, *shape), ratios(len(lengths))), texts(plain.config, *lengths)
        found, wanted = (one(*given, one.prepare(condition)) for one in (network, plain))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        graphs.append(counter.graphs)
    # One before attention and one behind it; more of a single sample, of which the compiler knows that nothing is spread.
    assert graphs[0] == graphs[1] <= 3
    assert graphs[2] == graphs[3] <= graphs[1] + 2
    pack = [maps(plain, *one) for one in [(1, 2, 4), (3, 4, 4)]], ratios(2)
    packed = (one.packed(*pack, one.prepare(texts(plain.config, 4, 6))) for one in (network, plain))
    for found, wanted in zip(*packed, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert counter.graphs <= graphs[3] + 1


@torch.inference_mode()
def test_blocks_of_a_class_network_are_one_graph() -> None:
    plain, network, counter = generators()[0][1], generators()[0][1], Counter()
    compile_blocks(network, counter)
    for count in (3, 2, 5):
        given, condition = (maps(plain, count, 1, 4, 4), ratios(count)), ClassCondition(torch.arange(count) % 5)
        found, wanted = (one(*given, one.prepare(condition)) for one in (network, plain))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert counter.graphs == 1


@torch.no_grad()
def test_a_larger_picture_compiles_nothing_anew() -> None:
    network, counter = autoencoder(), Counter()
    encode, decode = (
        torch.compile(way, backend=counter, fullgraph=True, dynamic=True) for way in (network.encode, network.decode)
    )
    for count, height, width in [(2, 20, 28), (5, 16, 12)]:
        pixels = torch.rand(count, 3, 1, height, width) * 2 - 1
        features = network.encode(pixels)
        torch.testing.assert_close(encode(pixels), features, rtol=0, atol=1e-4)
        torch.testing.assert_close(decode(features), network.decode(features), rtol=1e-4, atol=1e-4)
    assert counter.graphs == 2
