"""A joint tokenizer that starts from an image tokenizer does to frames what that did to pictures."""

from typing import Any

import pytest
import torch

from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.inflate import can_inflate, inflate


def config(**changes: Any) -> TokenizerConfig:
    small: dict[str, Any] = {
        "channels": 3, "encoder_width": 4, "decoder_width": 6, "encoder_blocks": 1, "decoder_blocks": 2,
        "multipliers": (1, 2, 4, 4), "halves_time": (False, False, False), "time_kernel": 1, "folds_time": False,
    }  # fmt: skip
    return TokenizerConfig(**{**small, **changes})


VIDEO = [
    {"halves_time": (False, True, True)},
    {"halves_time": (True, False, False), "attention": False, "patch": 4},
    {"halves_time": (False, False, False), "folds_time": True},
    {"halves_time": (False, True, True), "factors_time": True},
]


def pair(changes: dict[str, Any]) -> tuple[CausalAutoencoder, CausalAutoencoder]:
    """An image tokenizer with random weights, and what starts from it."""
    shared = {name: value for name, value in changes.items() if not name.endswith("_time")}
    torch.manual_seed(0)
    image = CausalAutoencoder(config(**shared)).double()
    for parameter in image.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    video = CausalAutoencoder(config(time_kernel=3, **changes)).double()
    assert can_inflate(image.config, video.config)
    inflate(image.state_dict(), video)
    return image, video


@pytest.mark.parametrize("changes", VIDEO, ids=str)
@torch.no_grad()
def test_a_single_frame_is_exactly_what_it_was(changes: dict[str, Any]) -> None:
    image, video = pair(changes)
    stride = image.config.stride
    pixels = torch.rand(2, 3, 1, 2 * stride, stride, dtype=torch.float64) * 2 - 1
    features = image.encode(pixels)
    assert torch.equal(video.encode(pixels), features)
    assert torch.equal(video.decode(features), image.decode(features))


@pytest.mark.parametrize("changes", VIDEO, ids=str)
@torch.no_grad()
def test_a_still_clip_comes_out_as_the_picture(changes: dict[str, Any]) -> None:
    image, video = pair(changes)
    stride = image.config.stride
    picture = torch.rand(1, 3, 1, stride, 2 * stride, dtype=torch.float64) * 2 - 1
    count = 1 + 2 * video.config.time_stride
    features, wanted = video.encode(picture.expand(-1, -1, count, -1, -1)), image.encode(picture)
    assert features.shape[2] == 3
    torch.testing.assert_close(features, wanted.expand_as(features))
    decoded = video.decode(features)
    assert decoded.shape[2] == count
    torch.testing.assert_close(decoded, image.decode(wanted).expand_as(decoded))


@torch.no_grad()
def test_the_first_frame_of_any_clip_is_the_picture_and_later_ones_are_seen() -> None:
    image, video = pair(VIDEO[0])
    stride = image.config.stride
    clip = torch.rand(1, 3, 5, stride, stride, dtype=torch.float64) * 2 - 1
    features = video.encode(clip)
    torch.testing.assert_close(features[:, :, :1], image.encode(clip[:, :, :1]))
    assert not torch.allclose(features[:, :, 1:], features[:, :, :1])


@pytest.mark.parametrize(
    ("image", "video"),
    [
        ({}, {"time_kernel": 3, "halves_time": (False, True, True), "folds_time": True}),
        ({}, {"time_kernel": 3, "channels": 4}),
        ({}, {}),
        ({"time_kernel": 3}, {"time_kernel": 3}),
    ],
)
def test_what_cannot_start_from_an_image_tokenizer(image: dict[str, Any], video: dict[str, Any]) -> None:
    assert not can_inflate(config(**image), config(**video))


@torch.no_grad()
def test_what_leaves_a_halving_of_space_out_takes_the_other_weights() -> None:
    torch.manual_seed(0)
    image = CausalAutoencoder(config())
    video = CausalAutoencoder(config(time_kernel=3, halves_space=(True, True, False), halves_time=(False, True, True)))
    assert can_inflate(image.config, video.config)
    inflate(image.state_dict(), video)
    assert torch.equal(video.encoder.stages[1].resample.space.weight, image.encoder.stages[1].resample.space.weight)
    assert torch.equal(video.decoder.head.conv.weight[:, :, -1], image.decoder.head.conv.weight[:, :, -1])
    assert video.encode(torch.zeros(1, 3, 1, 16, 8)).shape == (1, 3, 1, 2, 1)


def test_rounds_are_no_matter() -> None:
    assert can_inflate(config(rounds=2), config(rounds=4, time_kernel=3))
