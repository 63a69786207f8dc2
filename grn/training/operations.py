"""Floating-point operations of the networks: what a step's speed is told in, as a share of what the device can do.

Products of matrices and convolutions count, a multiplication and an addition each; forward and backward together are three times the
forward pass. Norms, sums and what is computed once more to save memory do not count.
"""

import functools
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import Block as ClassBlock
from grn.networks.class_to_image import ClassToImage
from grn.networks.text_to_visual import Block as TextBlock
from grn.networks.text_to_visual import TextToVisual

_STEP = 3 * 2  # forward, and a backward pass of twice as much; a multiplication and an addition each


def generator_operations(
    network: ClassToImage | TextToVisual, shapes: Sequence[tuple[int, int, int]], text: int = 0
) -> float:
    """Count the operations of a training step on token maps of these shapes (t, h, w). text: tokens of each sample's padded text."""
    if isinstance(network, ClassToImage):
        return len(shapes) * _STEP * _class_products(network)
    return sum(_STEP * _text_products(network, t * h * w // network.config.patch**2, text) for t, h, w in shapes)


def _class_products(network: ClassToImage) -> int:
    """Multiplications of one sample's forward pass."""
    config = network.config
    tokens = config.side**2
    total = _weights(network.ratio) + _weights(network.head_modulation)
    total += tokens * (_weights(network.squeeze) + _weights(network.embed) + _weights(network.head))
    for number, block in enumerate(network.blocks):
        assert isinstance(block, ClassBlock)
        length = tokens + (config.context_tokens if number >= config.context_start else 0)
        total += _weights(block.modulation) + length * (_weights(block.attention) + _weights(block.mlp))
        total += 2 * length**2 * config.width  # scores, and what they weigh
    return total


def _text_products(network: TextToVisual, tokens: int, text: int) -> int:
    """The same of a text model, whose text goes through the blocks too."""
    visual, width = tokens + 1, network.config.width  # the ratio is a token
    total = (
        text * _weights(network.text)
        + _weights(network.ratio)
        + tokens * (_weights(network.embed) + _weights(network.head))
    )
    total += tokens * _weights(network.widen) if network.widen is not None else 0
    joint = network.config.text_attention == "joint"
    pairs = (text + visual) ** 2 if joint else text**2 + visual * (text + visual)
    for block in network.blocks:
        assert isinstance(block, TextBlock)
        total += (text + visual) * _weights(block) + 2 * width * pairs
    return total


def _weights(module: nn.Module) -> int:
    """Of the linear layers in a module."""
    return sum(one.weight.numel() for one in module.modules() if isinstance(one, nn.Linear))


@functools.lru_cache(maxsize=64)
def autoencoder_operations(config: TokenizerConfig, frames: int, side: int, decoder_only: bool = False) -> float:
    """Count the operations of a training step on one clip, or picture, of side x side pixels, without those of its losses."""
    with torch.device("meta"), torch.no_grad():
        network = CausalAutoencoder(config)
        with FlopCounterMode(display=False) as encoding:
            features = network.encode(torch.empty(1, 3, frames, side, side))
        with FlopCounterMode(display=False) as decoding:
            network.decode(features)
    return (1 if decoder_only else 3) * encoding.get_total_flops() + 3 * decoding.get_total_flops()
