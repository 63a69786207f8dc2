"""Operations are those that torch counts as it computes."""

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.training.operations import autoencoder_operations, generator_operations


def counted(network: torch.nn.Module, maps: torch.Tensor, condition: TextCondition | ClassCondition) -> float:
    """Of a step as it is computed, but for layers whose input needs no gradient, which count as all others here."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # fused ones are not counted on a CPU
        logits = network(maps, torch.rand(len(maps)), network.prepare(condition))  # type: ignore[operator]
    forward = counter.get_total_flops()
    with counter, sdpa_kernel(SDPBackend.MATH):
        logits.square().mean().backward()
    assert counter.get_total_flops() == pytest.approx(2 * forward, rel=0.12)
    return 3 * forward


@pytest.mark.parametrize(("target", "patch"), [("ind", 1), ("bit", 1), ("ind", 2)])
def test_of_a_class_network(target: str, patch: int) -> None:
    config = ClassToImageConfig.tiny(target, patch)  # type: ignore[arg-type]
    network = ClassToImage(config)
    maps = torch.randint(config.classes, (3, 1, 4, 4, config.elements))
    expected = counted(network, maps, ClassCondition(torch.zeros(3, dtype=torch.int64)))
    assert generator_operations(network, [(1, 4, 4)] * 3) == expected


@pytest.mark.parametrize(
    "more", [{}, {"patch": 2}, {"text_attention": "joint"}, {"patch": 2, "head_width": 48}], ids=str
)
def test_of_a_text_network(more: dict[str, Any]) -> None:
    config = TextToVisualConfig.tiny().model_copy(update=more)
    network = TextToVisual(config)
    maps = torch.randint(2, (2, 3, 4, 6, network.config.elements))
    condition = TextCondition(torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool))
    assert generator_operations(network, [(3, 4, 6)] * 2, 5) == counted(network, maps, condition)


def test_of_an_autoencoder() -> None:
    config = TokenizerConfig.tiny()
    network = CausalAutoencoder(config)
    frames = 1 + config.time_stride
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network.decode(network.encode(torch.rand(1, 3, frames, 2 * config.stride, 2 * config.stride)))
    total = autoencoder_operations(config, frames, 2 * config.stride)
    assert total == 3 * counter.get_total_flops()
    assert total / 3 < autoencoder_operations(config, frames, 2 * config.stride, decoder_only=True) < total
