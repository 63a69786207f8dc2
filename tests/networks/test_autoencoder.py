"""The autoencoder against the published vectors, and against a plain second implementation at other sizes.

The plain one sees a clip whole: zero frames in front of every causal convolution, no caches, no 2D shortcuts, loops for
every rearrangement.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from grn import hbq
from grn.hub import renames
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import ResidualBlock, TimeCache

REFERENCE = Path(__file__).parents[1] / "assets" / "reference" / "tokenizer.safetensors"
Weights = dict[str, Tensor]


def conv(x: Tensor, w: Weights, name: str) -> Tensor:
    weight = w[f"{name}.weight"]
    time, side = weight.shape[2] - 1, weight.shape[3] // 2
    return F.conv3d(F.pad(x, (side, side, side, side, time, 0)), weight, w[f"{name}.bias"])


def norm(x: Tensor, gain: Tensor) -> Tensor:
    size = x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
    return x / size * len(gain) ** 0.5 * gain.view(1, -1, 1, 1, 1)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def residual(x: Tensor, w: Weights, name: str) -> Tensor:
    skip = conv(x, w, f"{name}.shortcut") if f"{name}.shortcut.weight" in w else x
    x = conv(silu(norm(x, w[f"{name}.norm_in.gain"])), w, f"{name}.conv_in")
    x = conv(silu(norm(x, w[f"{name}.norm_out.gain"])), w, f"{name}.conv_out")
    return skip + (conv(x, w, f"{name}.time") if f"{name}.time.weight" in w else x)


def attention(x: Tensor, w: Weights, name: str) -> Tensor:
    def project(x: Tensor, part: str) -> Tensor:
        weight, bias = w[f"{name}.{part}.weight"], w[f"{name}.{part}.bias"]
        return torch.einsum("bcthw,oc->bothw", x, weight[:, :, 0, 0]) + bias.view(1, -1, 1, 1, 1)

    query, key, value = project(norm(x, w[f"{name}.norm.gain"]), "qkv").flatten(3).chunk(3, 1)  # [B, C, T, N]
    scores = torch.einsum("bctn,bctm->btnm", query, key) / x.shape[1] ** 0.5
    return x + project(torch.einsum("btnm,bctm->bctn", scores.softmax(-1), value).view_as(x), "out")


def middle(x: Tensor, w: Weights, name: str) -> Tensor:
    x = residual(x, w, f"{name}.block_in")
    if f"{name}.attention.qkv.weight" in w:
        x = attention(x, w, f"{name}.attention")
    return residual(x, w, f"{name}.block_out")


def fold(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    """A block of positions becomes channels (channel, frame, row, column), equal shares of which are averaged."""
    x = F.pad(x, (0, 0, 0, 0, time - 1, 0))
    parts = [
        x[:, c, a::time, b::space, d::space]
        for c in range(x.shape[1])
        for a in range(time)
        for b in range(space)
        for d in range(space)
    ]
    parts = [part for part in parts for _ in range(max(1, outputs // len(parts)))]
    share = len(parts) // outputs
    return torch.stack([sum(parts[o * share : (o + 1) * share]) / share for o in range(outputs)], 1)


def unfold(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    batch, channels, frames, rows, columns = x.shape
    out = x.new_zeros(batch, outputs, frames * time, rows * space, columns * space)
    copies = outputs * time * space**2 // channels
    number = 0
    for o in range(outputs):
        for a in range(time):
            for b in range(space):
                for d in range(space):
                    out[:, o, a::time, b::space, d::space] = x[:, number // copies]
                    number += 1
    return out[:, :, time - 1 :]


def downsample(x: Tensor, w: Weights, name: str) -> Tensor:
    if f"{name}.space.weight" in w:
        weight, bias = w[f"{name}.space.weight"], w[f"{name}.space.bias"]
        x = torch.stack([F.conv2d(F.pad(f, (0, 1, 0, 1)), weight, bias, 2) for f in x.unbind(2)], 2)
    if f"{name}.time.weight" not in w or x.shape[2] == 1:
        return x
    return torch.cat([x[:, :, :1], F.conv3d(x, w[f"{name}.time.weight"], w[f"{name}.time.bias"], (2, 1, 1))], 2)


def upsample(x: Tensor, w: Weights, name: str) -> Tensor:
    if f"{name}.time.weight" in w and x.shape[2] > 1:
        earlier, later = conv(x[:, :, 1:], w, f"{name}.time").chunk(2, 1)
        pairs = [frame for pair in zip(earlier.unbind(2), later.unbind(2), strict=True) for frame in pair]
        x = torch.stack([x[:, :, 0], *pairs], 2)
    if f"{name}.space.weight" not in w:
        return x
    frames = [f.repeat_interleave(2, 2).repeat_interleave(2, 3) for f in x.unbind(2)]
    return torch.stack([F.conv2d(f, w[f"{name}.space.weight"], w[f"{name}.space.bias"], padding=1) for f in frames], 2)


def plain_encode(config: TokenizerConfig, w: Weights, pixels: Tensor) -> Tensor:
    patch = config.patch
    x = torch.stack(
        [pixels[:, c, :, j::patch, i::patch] for c in range(3) for i in range(patch) for j in range(patch)], 1
    )
    x = conv(x, w, "encoder.stem")
    for stage, multiplier in enumerate(config.multipliers):
        last = stage == len(config.multipliers) - 1
        space, time = (1, 1) if last else (1 + halves for halves in config.halvings[stage])
        shortcut = fold(x, config.encoder_width * multiplier, time if config.folds_time else 1, space)
        if time == 2 and not config.folds_time:
            means = [(shortcut[:, :, i] + shortcut[:, :, i + 1]) / 2 for i in range(1, shortcut.shape[2], 2)]
            shortcut = torch.stack([shortcut[:, :, 0], *means], 2)
        for block in range(config.encoder_blocks):
            x = residual(x, w, f"encoder.stages.{stage}.blocks.{block}")
        x = shortcut + downsample(x, w, f"encoder.stages.{stage}.resample")
    x = middle(x, w, "encoder.middle")
    x = conv(silu(norm(x, w["encoder.head.norm.gain"])), w, "encoder.head.conv")
    return conv(x, w, "to_latent")[:, : config.channels].tanh()


def plain_decode(config: TokenizerConfig, w: Weights, features: Tensor) -> Tensor:
    x = middle(conv(conv(features, w, "from_latent"), w, "decoder.stem"), w, "decoder.middle")
    for stage, multiplier in enumerate(reversed(config.multipliers)):
        y = x
        for block in range(config.decoder_blocks):
            y = residual(y, w, f"decoder.stages.{stage}.blocks.{block}")
        if stage < len(config.multipliers) - 1:
            space, time = (1 + doubles for doubles in config.halvings[-1 - stage])
            shortcut = unfold(x, config.decoder_width * multiplier, time if config.folds_time else 1, space)
            if time == 2 and not config.folds_time:
                shortcut = torch.stack([f for i, f in enumerate(shortcut.unbind(2)) for _ in range(2 if i else 1)], 2)
            y = upsample(y, w, f"decoder.stages.{stage}.resample") + shortcut
        x = y
    x = conv(silu(norm(x, w["decoder.head.norm.gain"])), w, "decoder.head.conv")
    patch, number = config.patch, 0
    pixels = x.new_zeros(x.shape[0], 3, x.shape[2], x.shape[3] * patch, x.shape[4] * patch)
    for c in range(3):
        for i in range(patch):
            for j in range(patch):
                pixels[:, c, :, j::patch, i::patch] = x[:, number]
                number += 1
    return pixels


def sizes(**changes: object) -> TokenizerConfig:
    small = {"channels": 3, "encoder_width": 4, "decoder_width": 6, "encoder_blocks": 1, "decoder_blocks": 1}
    return TokenizerConfig(**{**small, **changes})  # type: ignore[arg-type]


CONFIGS = {
    "one step": sizes(multipliers=(2, 2), halves_time=(True,), patch=1, encoder_blocks=2),
    "time first": sizes(multipliers=(2, 4, 4), halves_time=(True, False), patch=4, decoder_blocks=2),
    "published layout": sizes(multipliers=(1, 2, 4, 4), encoder_width=2, decoder_width=2),
    "no time": sizes(multipliers=(1, 4, 4), halves_time=(False, False), time_kernel=1, patch=3),
    "time averaged": sizes(multipliers=(1, 2, 4, 4), encoder_width=2, decoder_width=2, folds_time=False),
    "time factored": sizes(multipliers=(1, 2, 2), halves_time=(True, True), factors_time=True, folds_time=False),
    "time alone, last": sizes(
        multipliers=(1, 2, 2), halves_space=(True, False), halves_time=(True, True), factors_time=True, folds_time=False
    ),
    "time alone, first": sizes(multipliers=(2, 2, 4), halves_space=(False, True), halves_time=(True, False)),
    "no attention": sizes(multipliers=(2, 1, 1), halves_time=(False, True), attention=False),
    "one stage": sizes(multipliers=(1,), halves_time=()),
}


def random_network(config: TokenizerConfig) -> CausalAutoencoder:
    torch.manual_seed(0)
    network = CausalAutoencoder(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.double()


def clip(config: TokenizerConfig, groups: int, batch: int = 2) -> Tensor:
    frames = 1 + groups * config.time_stride
    return torch.rand(batch, 3, frames, config.stride, 2 * config.stride, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def reference() -> Weights:
    return load_file(REFERENCE)


@pytest.fixture(scope="module")
def published_network(reference: Weights) -> CausalAutoencoder:
    state = {key.removeprefix("weights."): value for key, value in reference.items() if key.startswith("weights.")}
    network = CausalAutoencoder(TokenizerConfig.tiny())
    network.load_state_dict(dict(renames.rename("tokenizer", state)))
    return network.eval()


@pytest.mark.parametrize("case", ["image", "clip", "video"])
@torch.no_grad()
def test_published_vectors(case: str, reference: Weights, published_network: CausalAutoencoder) -> None:
    pixels = reference[f"{case}.input"]
    features = published_network.encode(pixels.unsqueeze(2) if pixels.dim() == 4 else pixels)
    torch.testing.assert_close(features, reference[f"{case}.features"], rtol=0, atol=1e-4)
    quantized = hbq.decode(hbq.encode(reference[f"{case}.features"], 4), 4)
    assert torch.equal(quantized, reference[f"{case}.quantized_4"])
    decoded = published_network.decode(quantized)
    torch.testing.assert_close(decoded, reference[f"{case}.decoded_4"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@torch.no_grad()
def test_groups_with_caches_equal_the_whole_clip(config: TokenizerConfig, groups: int) -> None:
    network = random_network(config)
    weights = network.state_dict()
    pixels = clip(config, groups)
    features = network.encode(pixels)
    assert features.shape == (2, config.channels, 1 + groups, 1, 2)
    torch.testing.assert_close(features, plain_encode(config, weights, pixels), rtol=0, atol=1e-9)
    decoded = network.decode(features)
    assert decoded.shape == pixels.shape
    torch.testing.assert_close(decoded, plain_decode(config, weights, features), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("groups", [0, 2])
def test_gradients_equal_the_plain_networks(groups: int) -> None:
    config = CONFIGS["one step"]
    network = random_network(config)
    names, parameters = zip(*network.named_parameters(), strict=True)
    pixels = clip(config, groups)
    target = torch.randn_like(pixels)
    fast = torch.autograd.grad((network.decode(network.encode(pixels)) * target).sum(), parameters, allow_unused=True)
    weights = dict(zip(names, parameters, strict=True))
    decoded = plain_decode(config, weights, plain_encode(config, weights, pixels))
    plain = torch.autograd.grad((decoded * target).sum(), parameters, allow_unused=True)
    for name, one, other in zip(names, fast, plain, strict=True):
        assert (one is None) == (other is None) == (groups == 0 and ".time." in name), name
        if one is not None:
            torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@torch.no_grad()
def test_one_frame_never_pays_for_three(config: TokenizerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(config)
    pixels = clip(config, 0)
    expected = plain_encode(config, network.state_dict(), pixels)

    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("conv3d called")

    monkeypatch.setattr(F, "conv3d", refuse)
    torch.testing.assert_close(network.encode(pixels), expected, rtol=0, atol=1e-9)
    network.decode(expected)
    if config.time_stride > 1:  # the canary: a clip does need it
        with pytest.raises(AssertionError, match="conv3d called"):
            network.encode(clip(config, 1))


def test_factored_time_costs_a_tap_of_one_position_a_block_and_starts_as_nothing() -> None:
    config = CONFIGS["time factored"]
    network = CausalAutoencoder(config)
    flat = CausalAutoencoder(config.model_copy(update={"factors_time": False, "time_kernel": 1}))
    extra = set(network.state_dict()) - set(flat.state_dict())
    assert extra == {
        f"{name}.time.{part}"
        for name, block in network.named_modules()
        if isinstance(block, ResidualBlock)
        for part in ("weight", "bias")
    }
    assert all(network.state_dict()[name].shape == value.shape for name, value in flat.state_dict().items())
    for block in (block for block in network.modules() if isinstance(block, ResidualBlock)):
        x = torch.randn(1, block.time.weight.shape[0], 4, 2, 2)
        torch.testing.assert_close(block.time(x, None), x)


@pytest.mark.parametrize("layout", ["published layout", "time factored"])
@torch.no_grad()
def test_no_frame_sees_a_later_one(layout: str) -> None:
    config = CONFIGS[layout]
    network = random_network(config)
    pixels = clip(config, 3)
    changed = pixels.clone()
    changed[:, :, 5:] *= -1
    before, after = network.encode(pixels), network.encode(changed)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2:], after[:, :, 2:])
    assert torch.equal(network.decode(before)[:, :, :5], network.decode(after)[:, :, :5])


@torch.no_grad()
def test_what_is_remembered_does_not_grow() -> None:
    config = CONFIGS["published layout"]
    network = random_network(config)
    sizes_after = []
    encoder, decoder = TimeCache(), TimeCache()
    for group in range(5):
        frames = 1 if group == 0 else config.time_stride
        pixels = torch.randn(1, 3, frames, config.stride, config.stride, dtype=torch.float64)
        network.decode_group(network.encode_group(pixels, encoder), decoder, first=group == 0)
        held = [encoder.last_frames(layer) for layer in network.modules()] + [
            decoder.last_frames(layer) for layer in network.modules()
        ]
        sizes_after.append(sum(frames.numel() for frames in held if frames is not None))
    assert sizes_after[2] == sizes_after[3] == sizes_after[4]


@torch.no_grad()
def test_a_sample_is_the_same_alone_and_in_a_batch(published_network: CausalAutoencoder) -> None:
    pixels = torch.rand(3, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = published_network.encode(pixels)
    for one, features in zip(pixels, together, strict=True):
        torch.testing.assert_close(published_network.encode(one[None])[0], features, rtol=0, atol=1e-5)


def test_a_clip_of_another_length_is_a_mistake_of_the_caller() -> None:
    network = random_network(CONFIGS["published layout"])
    with pytest.raises(AssertionError, match="3 frames"):
        network.encode(torch.zeros(1, 3, 3, 16, 16, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"halves_time": (True,)}, "halves_time has 1 entries"),
        ({"multipliers": (1, 0, 2, 2)}, "must be positive"),
        ({"multipliers": (2, 3), "halves_time": (False,)}, "cannot fold"),
        ({"time_kernel": 2}, "must be 1 or 3"),
        ({"time_kernel": 1}, "halves_time needs time_kernel = 3"),
        ({"time_kernel": 1, "halves_time": (False,) * 3, "factors_time": True}, "factors_time needs time_kernel = 3"),
        ({"chanels": 3}, "chanels"),
        ({"channels": 0}, "channels"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        sizes(**changes)


def test_strides_follow_from_the_stages() -> None:
    assert (TokenizerConfig().stride, TokenizerConfig().time_stride) == (16, 4)
    assert (CONFIGS["time first"].stride, CONFIGS["time first"].time_stride) == (16, 2)
    assert (CONFIGS["one stage"].stride, CONFIGS["one stage"].time_stride) == (2, 1)
