"""What a published state dict is, by its keys and shapes; the tables of renames."""

import pytest
import torch
from helpers.published_cases import CASES
from helpers.published_files import class_shapes, encoder_shapes, reference_state, text_shapes

from grn.errors import UndecidedError
from grn.hub import registry, renames
from grn.hub.infer import infer_config, recognise
from grn.models.folder import NETWORKS
from grn.networks.class_to_image import sincos_positions
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.networks.umt5 import Umt5Config


@pytest.mark.parametrize(("channels", "target"), [(16, "ind"), (16, "bit"), (64, "ind"), (64, "bit")])
def test_published_channels_are_told_from_the_head(channels: int, target: str) -> None:
    config = TextToVisualConfig(target=target, channels=channels, width=24, depth=1, heads=2, text_width=3)
    state = {
        "text_proj.weight": torch.zeros(24, 3),
        "block_chunks.0.module.0.mlp.gate_proj.weight": torch.zeros(config.hidden, 24),
        "block_chunks.0.module.0.attn.q_norm.weight": torch.zeros(12),
        "head.proj.weight": torch.zeros(config.elements * config.classes, 24),
    }
    assert infer_config("text-to-visual", state) == config


@pytest.mark.parametrize("name", PRESETS)
def test_files_of_the_published_sizes_are_known(name: str) -> None:
    """Keys and shapes only: a file of each size is told from the others and fills its network exactly."""
    preset = PRESETS[name]
    kind = preset.kind
    is_class = isinstance(preset, ClassToImageConfig)
    shapes = class_shapes(preset) if is_class else text_shapes(preset)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    if is_class:
        state["net.pos_embed"] = sincos_positions(preset.size, preset.width)[None]
    assert recognise(state) == kind
    attention = {} if is_class else {"text_attention": preset.text_attention}
    assert infer_config(kind, state, **attention) == preset
    with torch.device("meta"):
        network = NETWORKS[kind](preset)
    renamed = renames.rename(kind, state)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize(
    ("hints", "says", "setting"),
    [
        ({"channels": 5, "context_start": 1}, "5 channels", "channels"),
        ({"context_start": 1}, "16 or 64", "channels"),
        ({"channels": 4}, "3 blocks", "context_start"),
    ],
)
def test_what_shapes_do_not_tell_is_asked_for(hints: dict[str, int], says: str, setting: str) -> None:
    with pytest.raises(UndecidedError, match=says) as caught:
        infer_config("class-to-image", reference_state("c2i_ind"), **hints)
    assert caught.value.setting == setting


def test_a_file_of_the_published_encoders_size_is_known() -> None:
    shapes = encoder_shapes(vocabulary=256384, width=4096, hidden=10240, heads=64, depth=24)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert recognise(state) == "text-encoder"
    config = infer_config("text-encoder", state)
    assert config == Umt5Config()
    with torch.device("meta"):
        network = NETWORKS["text-encoder"](config)
    renamed = renames.rename("text-encoder", state)
    assert {key: value.shape for key, value in renamed.items()} == {k: v.shape for k, v in network.state_dict().items()}
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(registry.ENTRIES["umt5-xxl"].parameters, rel=0.001)


@pytest.mark.parametrize("name", CASES)
def test_every_number_of_a_published_file_is_used_once(name: str) -> None:
    state = reference_state(name)
    renamed = renames.rename(CASES[name][0], state)
    fixed = sum(value.numel() for key, value in state.items() if key.endswith("pos_embed"))
    total = torch.cat([value.flatten() for key, value in state.items() if not key.endswith("pos_embed")])
    found = torch.cat([value.flatten() for value in renamed.values()])
    assert found.numel() == total.numel() == sum(v.numel() for v in state.values()) - fixed
    assert torch.equal(found.sort().values, total.sort().values)


def test_class_keys_are_known_without_their_prefix() -> None:
    state = {key.removeprefix("net."): value for key, value in reference_state("c2i_ind").items()}
    assert recognise(state) == "class-to-image"
    assert set(renames.rename("class-to-image", state)) == set(
        renames.rename("class-to-image", reference_state("c2i_ind"))
    )


def test_blocks_are_counted_on_over_chunks() -> None:
    one = torch.zeros(1)
    keys = [f"block_chunks.{chunk}.module.{block}.mlp.down_proj.weight" for chunk in range(7) for block in range(4)]
    renamed = renames.rename("text-to-visual", {key: one + i for i, key in enumerate(keys)})
    assert {name: int(value) for name, value in renamed.items()} == {
        f"blocks.{i}.mlp.down.weight": i for i in range(28)
    }
