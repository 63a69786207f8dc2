"""Large frames in tiles: the same numbers as whole ones, clips and networks with attention included."""

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from grn import hbq
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import TimeCache
from grn.networks.tiles import TiledCoder

SMALL = 1  # values: tiles of the least size
CONFIGS = {
    "published layout": TokenizerConfig(
        channels=4, encoder_width=4, decoder_width=4, multipliers=(1, 2, 2), halves_time=(False, True), encoder_blocks=1,
        decoder_blocks=1,
    ),
    "pictures only, as embedded": TokenizerConfig(
        channels=3, encoder_width=4, decoder_width=4, multipliers=(1, 1), halves_time=(False,), patch=4, time_kernel=1,
        encoder_blocks=1, decoder_blocks=1, attention=False,
    ),
    "time apart": TokenizerConfig(
        channels=3, encoder_width=4, decoder_width=4, multipliers=(1, 1), halves_time=(True,), factors_time=True,
        folds_time=False, encoder_blocks=1, decoder_blocks=1, attention=False,
    ),
    "time alone halved": TokenizerConfig(
        channels=3, encoder_width=4, decoder_width=4, multipliers=(1, 2, 2), halves_space=(True, False),
        halves_time=(True, True), factors_time=True, folds_time=False, encoder_blocks=1, decoder_blocks=1, attention=False,
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest) -> CausalAutoencoder:
    torch.manual_seed(1)
    network = CausalAutoencoder(CONFIGS[request.param]).eval().requires_grad_(False)
    for parameter in network.parameters():  # so that what starts as zero takes part
        parameter += 0.05 * torch.randn(parameter.shape)
    return network


def part(pixels: Tensor, rows: slice, columns: slice) -> Tensor:
    return pixels[..., rows, columns]


@pytest.mark.parametrize(("tokens", "groups"), [((33, 35), 1), ((7, 61), 1), ((41, 1), 1), ((35, 5), 3)])
@torch.inference_mode()
def test_tiled_is_as_whole(network: CausalAutoencoder, tokens: tuple[int, int], groups: int) -> None:
    config = network.config
    size = tokens[0] * config.stride, tokens[1] * config.stride
    coder = TiledCoder(network, size, groups > 1, SMALL)
    encoder, decoder = (TimeCache(), TimeCache()) if groups > 1 else (None, None)
    for number in range(groups):
        pixels = torch.rand(1, 3, config.time_stride if number else 1, *size) * 2 - 1
        features, whole = coder.encode_group(functools.partial(part, pixels)), network.encode_group(pixels, encoder)
        assert torch.equal(hbq.encode(features, 4), hbq.encode(whole, 4))
        assert (features - whole).abs().max() < 1e-5  # sums of float32 in another order
        expected = network.decode_group(whole, decoder, first=number == 0)
        found, tiles = torch.full_like(expected, torch.nan), 0
        for rows, columns, decoded in coder.decode_group(whole, first=number == 0):
            assert found[..., rows, columns].isnan().all()  # no pixel comes twice
            found[..., rows, columns], tiles = decoded, tiles + 1
        assert tiles > 1
        assert (found - expected).abs().max() < 1e-5


@torch.inference_mode()
def test_tiles_see_as_little_of_a_large_frame_as_of_a_small_one(network: CausalAutoencoder) -> None:
    stride, seen = network.config.stride, []

    def black(rows: slice, columns: slice) -> Tensor:
        seen.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return torch.zeros(1, 3, 1, rows.stop - rows.start, columns.stop - columns.start)

    for tokens in (40, 100):
        TiledCoder(network, (24 * stride, tokens * stride), False, SMALL).encode_group(black)
    count = len(seen)
    assert max(seen[count // 4 :]) <= 1.5 * max(seen[: count // 4])


def test_a_frame_that_one_tile_holds_is_not_cut() -> None:
    network = CausalAutoencoder(TokenizerConfig.tiny())
    with torch.inference_mode():
        coder = TiledCoder(network, (256, 512), False)
        assert len(list(coder.decode_group(torch.zeros(1, 4, 1, 16, 32), True))) == 1


def test_margins_are_as_wide_as_what_is_seen_and_no_wider(network: CausalAutoencoder) -> None:
    """One token's pixels change just the tokens whose margins reach it."""
    config, tokens = network.config, 31
    side, middle = tokens * config.stride, tokens // 2
    plain, marked = torch.zeros(2, 1, 3, 1, config.stride, side).unbind()
    marked[..., middle * config.stride : (middle + 1) * config.stride] = 1
    with torch.inference_mode():
        changed = (network.shrink(plain, None) != network.shrink(marked, None)).any(dim=(0, 1, 2, 3)).numpy()
    reached = np.flatnonzero(changed)
    assert middle - reached[0] <= config.encoder_margin
    assert reached[-1] - middle <= config.encoder_margin
    assert max(middle - reached[0], reached[-1] - middle) == config.encoder_margin
