"""Published checkpoints, laid out as the authors', converted to model folders."""

import collections
import contextlib
import functools
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.published_files import (
    CLASSES,
    TEXTS,
    class_shapes,
    class_state,
    encoder_shapes,
    filled,
    pieces,
    reference_state,
    text_shapes,
)
from safetensors.torch import safe_open
from torch import Tensor

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.hub import checkpoint, convert, registry, renames
from grn.hub.checkpoint import Checkpoint
from grn.models import tensors
from grn.models.config import ClassToImageModelConfig, Clips, TextToVisualModelConfig
from grn.models.folder import NETWORKS, ModelFolder
from grn.models.tensors import write_weights
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import sincos_positions
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.networks.umt5 import Umt5Config
from grn.refine.config import SamplerConfig

CASES = {
    "tokenizer": ("tokenizer", TokenizerConfig.tiny(), {}),
    **{
        f"c2i_{target}": (
            "class-to-image",
            ClassToImageConfig(
                target=target, channels=4, width=64, depth=3, heads=4, bottleneck=24, context_tokens=5, context_start=1,
                num_classes=10, size=4,
            ),
            {"channels": 4, "context_start": 1},
        )
        for target in ("ind", "bit")
    },
    **{
        f"t2iv_{target}": (
            "text-to-visual",
            TextToVisualConfig(target=target, channels=4, width=128, depth=2, heads=2, text_width=24, patch=1),
            {"channels": 4},
        )
        for target in ("ind", "bit")
    },
}  # fmt: skip


def layouts(name: str, state: dict[str, Tensor]) -> dict[str, dict]:
    """Every layout that the authors publish a family in, with a decoy where an average is to be preferred."""
    decoy = {key: torch.zeros_like(value) for key, value in state.items()}
    if name == "tokenizer":
        return {"ema": {"ema": state, "vae": decoy}, "vae": {"vae": state}}
    if name.startswith("c2i"):
        rest = {"model": decoy, "model_ema2": decoy, "optimizer": {"state": {}, "lr": 1e-4}, "epoch": 599}
        return {"model_ema1": {"model_ema1": state, **rest}, "model": {"model": state}}
    return {"": state}


@pytest.mark.parametrize("name", CASES)
def test_every_layout_converts_and_loads_to_the_published_numbers(name: str, tmp_path: Path) -> None:
    family, config, hints = CASES[name]
    state = reference_state(name)
    for where, tree in layouts(name, state).items():
        path, folder = tmp_path / f"{where or name}.pth", tmp_path / f"{name}-{where}"
        torch.save(tree, path)
        assert convert.convert(path, folder, "mine", **hints)[:2] == (family, where)
        model = ModelFolder.open(folder)
        assert model.config.network == config
        network, _ = model.load_network("cpu", None)
        renamed = renames.rename(family, state)
        assert set(renamed) == set(network.state_dict())
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, renamed[key], rtol=0, atol=0)


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
    assert convert.recognise(state) == "class-to-image"
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


@pytest.mark.parametrize(("channels", "target"), [(16, "ind"), (16, "bit"), (64, "ind"), (64, "bit")])
def test_published_channels_are_told_from_the_head(channels: int, target: str) -> None:
    config = TextToVisualConfig(target=target, channels=channels, width=24, depth=1, heads=2, text_width=3)
    state = {
        "text_proj.weight": torch.zeros(24, 3),
        "block_chunks.0.module.0.mlp.gate_proj.weight": torch.zeros(config.hidden, 24),
        "block_chunks.0.module.0.attn.q_norm.weight": torch.zeros(12),
        "head.proj.weight": torch.zeros(config.elements * config.classes, 24),
    }
    assert convert.infer_config("text-to-visual", state) == config


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
    assert convert.recognise(state) == kind
    assert convert.infer_config(kind, state) == preset
    with torch.device("meta"):
        network = NETWORKS[kind](preset)
    renamed = renames.rename(kind, state)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


def _without(key: str) -> dict[str, Tensor]:
    state = reference_state("c2i_ind")
    del state[key]
    return state


def _with(key: str, value: object) -> dict[str, object]:
    return {**reference_state("c2i_ind"), key: value}


_POSITIONS = "net.pos_embed"
REFUSED = {
    "another model": ({"layer.weight": torch.zeros(2)}, "layer.weight"),
    "nothing": ({}, "no keys at all"),
    "a list": ([torch.zeros(2)], "list"),
    "a key too many": (_with("net.blocks.0.attn.extra.weight", torch.zeros(2)), "blocks.0.attn.extra.weight"),
    "a key of another kind": (_with("epoch", 3), "epoch"),
    "a key too few": (_without("net.final_layer.linear.bias"), "head.bias"),
    "a key too few to know the sizes": (_without("net.in_context_posemb"), "in_context_posemb"),
    "a wrong shape": (
        _with("net.blocks.1.mlp.w3.bias", torch.zeros(3)),
        "blocks.1.mlp.down.bias (expected [64], found [3])",
    ),
    "other positions": (_with(_POSITIONS, torch.ones(1, 16, 64)), "pos_embed"),
    "positions of no square": (_with(_POSITIONS, torch.ones(1, 15, 64)), "pos_embed"),
}


@pytest.mark.parametrize(("tree", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_by_name(tree: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(tree, path)
    with pytest.raises(ModelMismatchError) as caught:
        convert.convert(path, tmp_path / "out", "mine", channels=4, context_start=1)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("hints", "says"),
    [
        ({"channels": 5, "context_start": 1}, "5 channels"),
        ({"context_start": 1}, "16 or 64"),
        ({"channels": 4}, "3 blocks"),
    ],
)
def test_what_shapes_do_not_tell_is_asked_for(hints: dict[str, int], says: str) -> None:
    with pytest.raises(ModelMismatchError, match=says):
        convert.infer_config("class-to-image", reference_state("c2i_ind"), **hints)


class _Payload:
    """Calls a function with arguments as it is unpickled."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.reduced = call, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def _in_key(evil: _Payload) -> object:
    return {(evil,): torch.zeros(1)}


def _as_storage(evil: _Payload) -> object:
    return {"a": _Payload(torch._utils._rebuild_tensor_v2, evil, 0, (1,), (1,), False, {})}


def _as_state(evil: _Payload) -> object:
    class Sneaky(_Payload):
        def __reduce__(self) -> Any:
            return collections.OrderedDict, (), {"x": evil}

    return Sneaky(None)


PLACES: dict[str, Any] = {
    "alone": lambda evil: evil,
    "as the state": lambda evil: {"ema": evil},
    "as a tensor": lambda evil: {"model_ema1": {"a": evil}},
    "beside the state": lambda evil: {"ema": reference_state("tokenizer"), "optimizer": [evil]},
    "in a tuple": lambda evil: {"a": (1, evil)},
    "in a set": lambda evil: {"a": {1, (evil, 2)}},
    "as a key": _in_key,
    "as a storage": _as_storage,
    "as an object's state": _as_state,
}
CALLS: dict[str, Any] = {
    "mkdir": lambda marker: _Payload(os.mkdir, str(marker)),
    "system": lambda marker: _Payload(os.system, f"mkdir '{marker}'"),
    "eval": lambda marker: _Payload(eval, f"__import__('os').mkdir({str(marker)!r})"),
    "exec": lambda marker: _Payload(exec, f"import os; os.mkdir({str(marker)!r})"),
    "run": lambda marker: _Payload(subprocess.run, ["mkdir", str(marker)]),
    "a path": lambda marker: _Payload(Path.mkdir, marker),
    "a partial": lambda marker: _Payload(functools.partial(os.mkdir, str(marker))),
}


@pytest.mark.parametrize("new_layout", [True, False])
@pytest.mark.parametrize(("place", "call"), [*((p, "mkdir") for p in PLACES), *(("as a tensor", c) for c in CALLS)])
def test_a_pickle_with_code_is_refused_and_not_run(place: str, call: str, new_layout: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    torch.save(PLACES[place](CALLS[call](marker)), path, _use_new_zipfile_serialization=new_layout)
    with pytest.raises(ModelMismatchError, match=r"evil\.pth: refused, it would run [\w.]+") as caught:
        convert.convert(path, tmp_path / "out", "mine")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)  # the canary: read carelessly, it does run
    assert marker.exists()


def test_a_script_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    with pytest.raises(ModelMismatchError, match=r"script\.pth: refused"):
        convert.convert(tmp_path / "script.pth", tmp_path / "out", "mine")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new_layout", [True, False])
def test_a_cut_checkpoint_is_refused(share: float, new_layout: bool, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"ema": reference_state("tokenizer")}, path, _use_new_zipfile_serialization=new_layout)
    Checkpoint(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelMismatchError, match=r"cut\.pth: refused"):
        Checkpoint(path)


def test_text_and_plain_pickles_are_refused(tmp_path: Path) -> None:
    for name, data in {"text": b"weights\n", "pickle": pickle.dumps({"a": 1}, protocol=2)}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelMismatchError):
            convert.convert(tmp_path / name, tmp_path / "out", "mine")


def test_half_precision_stays_half(tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in reference_state("t2iv_bit").items()}
    torch.save(state, tmp_path / "w.pth")
    convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", channels=4)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


# The text encoder


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    """As it lies on the hub: the pieces in a folder beside it."""
    (tmp_path / "hub" / "umt5-xxl").mkdir(parents=True)
    torch.save(reference_state("umt5"), tmp_path / "hub" / "models_t5.pth")
    pieces().save(str(tmp_path / "hub" / "umt5-xxl" / "tokenizer.json"))
    return tmp_path / "hub" / "models_t5.pth"


def test_the_text_encoder_converts_with_the_pieces_beside_it(encoder_file: Path, tmp_path: Path) -> None:
    assert convert.convert(encoder_file, tmp_path / "out", "mine") == ("text-encoder", "", None)
    expected = Umt5Config(vocabulary=64, width=32, depth=2, heads=4, head_width=8, hidden=48)
    assert ModelFolder.open(tmp_path / "out").config.network == expected
    beside = encoder_file.parent / "umt5-xxl" / "tokenizer.json"
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == beside.read_bytes()


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_pieces_can_be_named(as_folder: bool, encoder_file: Path, tmp_path: Path) -> None:
    named = (encoder_file.parent / "umt5-xxl").rename(tmp_path / "words")
    with pytest.raises(ModelNotFoundError, match=r"needs its tokenizer\.json.*looked for .*umt5-xxl.*--vocabulary"):
        convert.convert(encoder_file, tmp_path / "out", "mine")
    assert not (tmp_path / "out").exists()
    given = named if as_folder else named / "tokenizer.json"
    convert.convert(encoder_file, tmp_path / "out", "mine", vocabulary=given)
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (named / "tokenizer.json").read_bytes()


def test_a_file_of_the_published_encoders_size_is_known() -> None:
    shapes = encoder_shapes(vocabulary=256384, width=4096, hidden=10240, heads=64, depth=24)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert convert.recognise(state) == "text-encoder"
    config = convert.infer_config("text-encoder", state)
    assert config == Umt5Config()
    with torch.device("meta"):
        network = NETWORKS["text-encoder"](config)
    renamed = renames.rename("text-encoder", state)
    assert {key: value.shape for key, value in renamed.items()} == {k: v.shape for k, v in network.state_dict().items()}
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(registry.ENTRIES["umt5-xxl"].parameters, rel=0.001)


# Settings and memory


@pytest.mark.parametrize(
    ("file", "name", "like"),
    [
        ("GRN_T2V_2B.pth", "mine", "grn-t2v"),
        ("GRN_T2I_2B.pth", "mine", "grn-t2i"),
        ("x.pth", "grn-t2v", "grn-t2v"),
        ("x.pth", "mine", "grn-t2i"),  # nothing in the file tells the two apart
    ],
)
def test_a_folder_says_how_it_is_sampled_and_with_what(file: str, name: str, like: str, tmp_path: Path) -> None:
    torch.save(filled(text_shapes(TEXTS)), tmp_path / file)
    assert convert.convert(tmp_path / file, tmp_path / "out", name).like == like
    config, entry = ModelFolder.open(tmp_path / "out").config, registry.ENTRIES[like]
    assert isinstance(config, TextToVisualModelConfig)
    assert config.name == name
    assert config.sampling == SamplerConfig(**entry.sampling)
    assert (config.tokenizer, config.text_encoder, config.size) == ("hbq-64", "umt5-xxl", entry.size)
    assert config.clips == (Clips(81, 16.0, 81) if like == "grn-t2v" else None)


def test_a_class_file_of_any_name_is_sampled_as_the_published_one(tmp_path: Path) -> None:
    torch.save({"model_ema1": class_state(CLASSES)}, tmp_path / "x.pth")
    assert convert.convert(tmp_path / "x.pth", tmp_path / "out", "mine").like == "grn-b"
    config = ModelFolder.open(tmp_path / "out").config
    assert isinstance(config, ClassToImageModelConfig)
    assert (config.sampling, config.tokenizer) == (SamplerConfig(**registry.ENTRIES["grn-b"].sampling), "hbq-16")


@pytest.mark.parametrize("name", CASES)
def test_what_is_let_go_of_on_the_way_changes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints, opened, read = CASES[name][2], [], checkpoint._read
    torch.save(reference_state(name), tmp_path / "w.pth")
    convert.convert(tmp_path / "w.pth", tmp_path / "a", "mine", **hints)
    monkeypatch.setattr(checkpoint, "RELEASE_BYTES", 50_000)
    monkeypatch.setattr(checkpoint, "_read", lambda path, mapped: opened.append(path) or read(path, mapped))
    convert.convert(tmp_path / "w.pth", tmp_path / "b", "mine", **hints)
    assert len(opened) > 5
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_shards_are_written_without_joining_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = reference_state("t2iv_ind")
    torch.save(state, tmp_path / "w.pth")
    monkeypatch.setattr("grn.models.folder.write_weights", lambda *a: write_weights(*a[:3], 100_000))
    join = torch.cat
    monkeypatch.setattr(tensors.torch, "cat", lambda parts: join(parts) if parts[0].is_meta else pytest.fail("joined"))
    convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", channels=4)
    monkeypatch.undo()
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 5
    network, _ = ModelFolder.open(tmp_path / "out").load_network("cpu", None)
    for key, value in renames.rename("text-to-visual", state).items():
        assert torch.equal(network.state_dict()[key], value)


SHAPELESS = {
    "tokenizer": ("tokenizer", ("encoder.conv1.weight", "conv2.weight")),
    "class-to-image": ("c2i_ind", ("net.y_embedder.embedding_table.weight", "net.blocks.0.attn.q_norm.weight")),
    "text-to-visual": ("t2iv_ind", ("text_proj.weight", "block_chunks.0.module.0.attn.q_norm.weight")),
    "text-encoder": ("umt5", ("token_embedding.weight", "blocks.0.pos_embedding.embedding.weight")),
}


@pytest.mark.parametrize("shape", [(), (0,), (0, 0), (1, 0, 1, 1, 1), (2, 2, 2, 2, 2, 2)])
@pytest.mark.parametrize("family", SHAPELESS)
def test_no_shape_is_too_odd_to_be_refused(family: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    name, keys = SHAPELESS[family]
    for key in keys:
        torch.save({**reference_state(name), key: torch.zeros(shape)}, tmp_path / "w.pth")
        with pytest.raises(ModelMismatchError) as caught:
            convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", channels=4, context_start=1)
        assert str(caught.value).startswith(f"{tmp_path / 'w.pth'}: ")
