"""What the networks' configs know of token maps: elements of either kind, and sizes in space and time."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from grn import hbq
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig


@pytest.mark.parametrize("family", [ClassToImageConfig, TextToVisualConfig])
@pytest.mark.parametrize("target", ["ind", "bit", "flip"])
def test_indices_are_elements_and_back(family: Any, target: str) -> None:
    config = family.tiny(target)
    indices = torch.randint(2**config.rounds, (2, 3, 1, config.channels), generator=torch.Generator().manual_seed(0))
    elements = config.indices_to_elements(indices)
    assert elements.shape == (2, 3, 1, config.elements)
    assert int(elements.max()) == config.classes - 1
    assert torch.equal(elements, indices if target == "ind" else hbq.indices_to_bits(indices, config.rounds, dim=-1))
    assert torch.equal(config.elements_to_indices(elements), indices)


def test_masked_elements_count_as_zero() -> None:
    assert TextToVisualConfig.tiny("ind").elements_to_indices(torch.tensor([3, -1])).tolist() == [3, 0]
    bits = torch.tensor([1, -1, 1, 0, -1, -1, 1, 0])  # of 4 channels the first round's, then the second's
    assert TextToVisualConfig.tiny("bit").elements_to_indices(bits).tolist() == [2, 0, 3, 0]


def test_the_stride_counts_the_halvings_of_space() -> None:
    assert TokenizerConfig().stride == 16
    config = TokenizerConfig(halves_space=(True, True, False))
    assert (config.stride, config.time_stride) == (8, 4)
    assert config.map_shape(1, 128, 130) == (1, 16, 17)


@pytest.mark.parametrize(
    ("halves", "said"),
    [((True, True), "halves_space has 2 entries"), ((False, True, True), "halves_time must be true")],
)
def test_unfit_halvings_of_space_are_refused(halves: tuple[bool, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TokenizerConfig(halves_space=halves)


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_frames_of_tokens_and_of_pixels(halvings: int) -> None:
    config = TokenizerConfig(halves_time=(False, halvings > 1, halvings > 0))
    step = config.time_stride
    assert step == 2**halvings
    groups = [1] + [step] * 10
    for frames in range(1, 4 * step + 2):
        needed = next(n for n in range(1, 11) if sum(groups[:n]) >= frames)
        filled = max(n for n in range(1, 11) if sum(groups[:n]) <= frames)
        assert config.token_frames(frames) == needed
        assert config.pixel_frames(needed) == sum(groups[:needed])
        assert config.whole_frames(frames) == sum(groups[:filled])
        assert config.map_shape(frames, 33, 160) == (needed, 3, 10)
