"""How published models are sampled, what their files' names decide, and what is asked for instead of guessed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.published_files import CLASSES, TEXTS, class_state, filled, text_shapes

from grn.errors import ModelMismatchError, UndecidedError
from grn.hub import convert, registry
from grn.hub.convert import Hints
from grn.hub.infer import infer_config
from grn.hub.renames import rename
from grn.models.config import ClassToImageModelConfig, Clips, TextToVisualModelConfig
from grn.models.folder import NETWORKS, ModelFolder
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.refine.config import SamplerConfig
from grn.refine.schedule import adaptive_steps


def _converted(folder: Path, file: str, name: str = "mine", hints: Hints = Hints()) -> TextToVisualModelConfig:
    torch.save(filled(text_shapes(TEXTS)), folder / file)
    convert.convert(folder / file, folder / "out", name, hints)
    config = ModelFolder.open(folder / "out").config
    assert isinstance(config, TextToVisualModelConfig)
    return config


# file, name, hints -> joint or one-way, whose settings, the curve's factor, the tag
TOLD: dict[str, tuple[str, str, Hints, str, str, float, str]] = {
    "today's image file": ("GRN_T2I_2B_FSA_251600.pth", "mine", Hints(), "joint", "grn-t2i", 0.95, "<T2I>"),
    "an earlier one": ("GRN_T2I_2B_FSA_137200.pth", "mine", Hints(), "joint", "grn-t2i", 0.95, "<T2I>"),
    "the first one": ("GRN_T2I_2B.pth", "mine", Hints(), "one-way", "grn-t2i", 0.999, ""),
    "the first one by its name": ("GRN_T2I_2B.pth", "grn-t2i", Hints(), "one-way", "grn-t2i", 0.999, ""),
    "today's clip file": ("GRN_T2V_2B_FSA_sft147400_ema.pth", "mine", Hints(), "joint", "grn-t2v", 0.95, "<T2V>"),
    "the first clip file": ("GRN_T2V_2B.pth", "mine", Hints(), "one-way", "grn-t2v", 0.999, ""),
    "8B": ("GRN_T2V_TITAN_FSA_sft10600_ema.pth", "mine", Hints(), "joint", "grn-8b", 0.95, "<T2V>"),
    "8B, images": ("GRN_T2I_titan_FSA_256x256.pth", "mine", Hints(), "joint", "grn-8b-t2i", 0.95, "<T2I>"),
    "an unknown step": ("GRN_T2V_2B_FSA_999999.pth", "mine", Hints(), "joint", "grn-t2v", 0.95, "<T2V>"),
    "a known name": ("x.pth", "grn-t2v", Hints(), "joint", "grn-t2v", 0.95, "<T2V>"),
    "told by what it is like": ("x.pth", "mine", Hints(like="grn-8b"), "joint", "grn-8b", 0.95, "<T2V>"),
    "told": ("x.pth", "mine", Hints(text_attention="joint", like="grn-t2i"), "joint", "grn-t2i", 0.95, "<T2I>"),
    "told otherwise": ("x.pth", "mine", Hints(text_attention="one-way", like="grn-t2v"), "one-way", "grn-t2v", 0.999, ""),
    "told against the name": (
        "GRN_T2I_2B_FSA_1.pth", "mine", Hints(text_attention="one-way"), "one-way", "grn-t2i", 0.999, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name", "hints", "attention", "like", "factor", "tag"), TOLD.values(), ids=TOLD.keys()
)
def test_a_text_models_name_decides(
    file: str, name: str, hints: Hints, attention: str, like: str, factor: float, tag: str, tmp_path: Path
) -> None:
    config, entry = _converted(tmp_path, file, name, hints), registry.ENTRIES[like]
    assert (config.name, config.network.text_attention, config.prompt_tag) == (name, attention, tag)
    assert config.sampling == SamplerConfig(**{**entry.sampling, "curve_factor": factor})
    assert (config.tokenizer, config.text_encoder, config.size) == ("hbq-64", "umt5-xxl", entry.size)
    assert config.clips == (Clips(81, 16.0, 81) if entry.fps else None)
    assert config.image_prompt_tag == ("<I2V>" if like == "grn-8b" else "")


ASKED: dict[str, tuple[str, Hints, str, tuple[str, ...]]] = {
    "how it attends": ("T2I.pth", Hints(), "text_attention", ("joint", "one-way")),
    "how, with letters inside a word": ("T2I_offsafe.pth", Hints(), "text_attention", ("joint", "one-way")),
    "its task": ("my_FSA.pth", Hints(), "like", ("grn-t2i", "grn-t2v", "grn-8b", "grn-8b-t2i")),
    "its task, of two": ("T2I_T2V_FSA.pth", Hints(), "like", ("grn-t2i", "grn-t2v", "grn-8b", "grn-8b-t2i")),
    "how, like a model that was published both ways": (
        "x.pth",
        Hints(like="grn-t2i"),
        "text_attention",
        ("joint", "one-way"),
    ),
    "its task only": ("x.pth", Hints(text_attention="joint"), "like", ("grn-t2i", "grn-t2v", "grn-8b", "grn-8b-t2i")),
}


@pytest.mark.parametrize(("file", "hints", "setting", "choices"), ASKED.values(), ids=ASKED.keys())
def test_what_a_name_does_not_tell_is_asked_for(
    file: str, hints: Hints, setting: str, choices: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(UndecidedError) as caught:
        _converted(tmp_path, file, hints=hints)
    assert (caught.value.setting, caught.value.choices) == (setting, choices)
    assert str(caught.value).startswith(f"{tmp_path / file}: a text model")
    assert not (tmp_path / "out").exists()


def test_the_names_of_shards_decide_where_their_folders_does_not(tmp_path: Path) -> None:
    state = filled(text_shapes(TEXTS))
    (tmp_path / "weights").mkdir()
    for number, keys in enumerate((list(state)[::2], list(state)[1::2]), 1):
        torch.save({key: state[key] for key in keys}, tmp_path / "weights" / f"GRN_T2V_FSA-{number:05}-of-00002.pth")
    found = convert.convert(tmp_path / "weights", tmp_path / "out", "mine")
    assert (found.like, found.text_attention) == ("grn-t2v", "joint")


def test_nothing_is_sampled_as_a_model_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatchError, match="a text-to-visual model cannot be like grn-b"):
        _converted(tmp_path, "T2I_FSA.pth", hints=Hints(like="grn-b"))


@pytest.mark.parametrize(("file", "like"), [("x.pth", "grn-b"), ("GRN_ind_B_ep599.pth", "grn-b")])
def test_a_class_file_of_any_name_is_sampled_as_the_published_one(file: str, like: str, tmp_path: Path) -> None:
    torch.save({"model_ema1": class_state(CLASSES)}, tmp_path / file)
    assert convert.convert(tmp_path / file, tmp_path / "out", "mine").like == like
    config = ModelFolder.open(tmp_path / "out").config
    assert isinstance(config, ClassToImageModelConfig)
    assert (config.sampling, config.tokenizer) == (SamplerConfig(**registry.ENTRIES[like].sampling), "hbq-16")


SAMPLING: dict[str, dict[str, Any]] = {
    "grn-b": {"temperature": 1.31, "guidance": 2.35, "guidance_start": 0.44, "k": 700.0, "b": -615.0, "tmin": 20},
    "grn-l": {"temperature": 1.3, "guidance": 2.0, "guidance_start": 0.4},
    "grn-g": {"guidance": 1.7, "guidance_start": 0.3},
    "grn-t2i": {"curve": "cosine", "curve_factor": 0.95, "guidance": 3.0, "temperature": 1.1, "ratio_shown": "kept"},
    "grn-t2v": {"curve": "cosine", "curve_factor": 0.95, "guidance": 4.0, "temperature": 1.0, "ratio_shown": "kept"},
    "grn-8b": {"curve": "cosine", "curve_factor": 0.95, "guidance": 4.0, "temperature": 1.0, "ratio_shown": "kept"},
}


@pytest.mark.parametrize("name", SAMPLING)
def test_models_are_sampled_as_published(name: str) -> None:
    sampling = SamplerConfig(**registry.ENTRIES[name].sampling)
    assert {key: getattr(sampling, key) for key in SAMPLING[name]} == SAMPLING[name]
    assert sampling.steps == 50
    assert (sampling.guidance_end, sampling.adaptive) == (1.0, False)


def test_b_is_adaptive_as_published() -> None:
    """Their count begins after the warm-up: k * H - 620 there is k * H - 615 here; tau is lowered below 35 steps."""
    config = SamplerConfig(**registry.ENTRIES["grn-b"].sampling)
    for entropy in (0.5, 0.9, 0.92, 0.94, 1.0):
        theirs = 5 + min(max(round(700 * entropy - 620), 15), 45)
        assert adaptive_steps(entropy, config.k, config.b, (config.tmin, config.tmax)) == theirs
    assert 1 - config.cooling * (config.cooling_from - 20) == pytest.approx(0.625)


def test_models_without_published_settings_say_so() -> None:
    assert {name for name, entry in registry.ENTRIES.items() if entry.note} == {"grn-h", "grn-g", "grn-8b-t2i"}


def test_keys_and_values_that_heads_share_are_given_to_each() -> None:
    """As 8B files may have them: a head of each group after the other, then the next group's."""
    c = TextToVisualConfig(channels=16, width=32, depth=1, heads=8, text_width=3)
    state = filled(text_shapes(c))
    block, size = "block_chunks.0.module.0.attn", 4
    for name in ("k_proj", "v_proj"):
        state[f"{block}.{name}.weight"] = torch.randn(2 * size, 32)  # two for eight heads
    config = infer_config("text-to-visual", state)
    assert config == c
    renamed = rename("text-to-visual", state)
    network = NETWORKS["text-to-visual"](config)
    network.load_state_dict(dict(renamed))
    query, key, value = renamed["blocks.0.attention.qkv.weight"].view(3, 8, size, 32)
    assert torch.equal(query.flatten(0, 1), state[f"{block}.q_proj.weight"])
    for head in range(8):
        for given, name in ((key, "k_proj"), (value, "v_proj")):
            assert torch.equal(given[head], state[f"{block}.{name}.weight"].view(2, size, 32)[head // 4])


@pytest.mark.parametrize(("name", "millions", "tensors"), [("grn-8b", 7891, 407), ("grn-8b-t2i", 8797, 407)])
def test_the_8b_layouts_have_the_published_size(name: str, millions: int, tensors: int) -> None:
    """The second has 8 heads of keys and values for 32 of queries, and is written with one for each."""
    preset = PRESETS[name]
    assert isinstance(preset, TextToVisualConfig)
    shapes = text_shapes(preset)
    if name == "grn-8b-t2i":
        for key, shape in shapes.items():
            if "k_proj" in key or "v_proj" in key:
                shapes[key] = (shape[0] // 4, shape[1])
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert len(state) == tensors
    assert round(sum(value.numel() for value in state.values()) / 1e6) == pytest.approx(millions, abs=1)
    assert infer_config("text-to-visual", state, text_attention="joint") == preset
    with torch.device("meta"):
        network = NETWORKS["text-to-visual"](preset)
    found = {key: value.shape for key, value in rename("text-to-visual", state).items()}
    assert found == {key: value.shape for key, value in network.state_dict().items()}
