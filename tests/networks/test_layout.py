"""Weights laid out for inference: the same convolutions, bit by bit where codes depend on them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import CausalConv, TimeCache

CONFIGS = {
    "published layout": {},
    "no time": {"halves_time": (False, False, False), "time_kernel": 1},
    "time factored": {"factors_time": True, "folds_time": False},
}
FORMATS = [torch.contiguous_format, torch.channels_last]


def network(name: str, dtype: torch.dtype = torch.float32) -> CausalAutoencoder:
    torch.manual_seed(0)
    small: dict[str, Any] = {"channels": 3, "encoder_width": 8, "decoder_width": 8, "multipliers": (1, 2, 4, 4)}
    made = CausalAutoencoder(TokenizerConfig(encoder_blocks=1, decoder_blocks=1, **small, **CONFIGS[name]))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.to(dtype).eval().requires_grad_(False)


def plain(conv: CausalConv, x: Tensor) -> Tensor:
    """Zeros in front, then one 3D convolution."""
    x = F.pad(x, (0, 0, 0, 0, conv.time_kernel - 1, 0))
    return F.conv3d(x, conv.weight, conv.bias, padding=(0, conv.padding, conv.padding))


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize(("kernel", "time_kernel"), [(3, 3), (1, 3), (3, 2), (3, 1)])
@pytest.mark.parametrize("groups", [(1,), (1, 1), (1, 4), (1, 2, 2), (1, 1, 1, 4), (5,)])
def test_a_sum_of_taps_is_the_convolution(
    kernel: int, time_kernel: int, groups: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    conv = CausalConv(3, 5, kernel, time_kernel).double()
    before = conv.weight.detach().clone()
    x = torch.randn(2, 3, sum(groups), 4, 6, dtype=torch.float64)
    wanted = plain(conv, x)
    weights = torch.randn_like(wanted)
    gradient = torch.autograd.grad((wanted * weights).sum(), [conv.weight, conv.bias])
    conv.lay_out(memory_format)
    assert torch.equal(conv.weight, before)
    for tap in conv.weight.unbind(2):
        assert tap.is_contiguous(memory_format=memory_format)
    cache = TimeCache()
    found = torch.cat([conv(group, cache) for group in x.split(list(groups), 2)], 2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), [conv.weight, conv.bias]), gradient, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frames", [1, 9])
@torch.inference_mode()
def test_float32_codes_and_pictures_are_bit_by_bit_what_they_were(name: str, frames: int) -> None:
    made = network(name)
    pixels = torch.rand(1, 3, 1 + (frames - 1) // 4 * made.config.time_stride, 32, 48) * 2 - 1
    features = made.encode(pixels)
    decoded = made.decode(features)
    assert made.lay_out() is made
    assert torch.equal(made.encode(pixels), features)
    if frames == 1:
        assert torch.equal(made.decode(features), decoded)
    else:  # the taps of later frames are summed in another order
        torch.testing.assert_close(made.decode(features), decoded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_16_bits_have_channels_side_by_side_and_are_near(name: str) -> None:
    exact, made = network(name), network(name, torch.bfloat16).lay_out()
    for module in made.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
        elif isinstance(module, CausalConv):
            assert module.weight[:, :, -1].is_contiguous(memory_format=torch.channels_last)
    pixels = torch.rand(2, 3, 1 + 2 * exact.config.time_stride, 32, 48) * 2 - 1
    features = exact.encode(pixels)
    assert (made.encode(pixels.bfloat16()).float() - features).abs().mean() < 0.02
    wanted = exact.decode(features)
    error = (made.decode(features.bfloat16()).float() - wanted).abs().mean()
    assert error < 0.02 * wanted.abs().mean()


def test_layout_comes_before_the_values_are_there() -> None:
    """On the meta device it costs nothing, and what is made of that keeps it."""
    with torch.device("meta"):
        made = CausalAutoencoder(TokenizerConfig.tiny()).lay_out()
    made = made.to_empty(device="cpu")
    values = network_values(made)
    made.load_state_dict(values)
    assert made.decoder.stem.weight[:, :, -1].is_contiguous()
    assert all(torch.equal(made.state_dict()[name], value) for name, value in values.items())


def network_values(made: CausalAutoencoder) -> dict[str, Tensor]:
    return {name: torch.randn(value.shape) for name, value in made.state_dict().items()}
