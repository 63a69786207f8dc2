"""Published checkpoints, laid out as the authors', converted to model folders."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open
from torch import Tensor

from grn.errors import ModelMismatchError
from grn.generator.class_to_image import sincos_positions
from grn.generator.config import ClassToImageConfig, TextToVisualConfig
from grn.generator.presets import PRESETS
from grn.models import published, renames, store
from grn.models.checkpoint import Checkpoint
from grn.tokenizer.config import TokenizerConfig
from grn.tokenizer.tokenizer import Tokenizer

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
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


def published_state(name: str) -> dict[str, Tensor]:
    state = load_file(REFERENCE / f"{name}.safetensors")
    return {key.removeprefix("weights."): value for key, value in state.items() if key.startswith("weights.")}


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
    state = published_state(name)
    for where, tree in layouts(name, state).items():
        path, folder = tmp_path / f"{where or name}.pth", tmp_path / f"{name}-{where}"
        torch.save(tree, path)
        assert published.convert(path, folder, "mine", **hints)[:2] == (family, where)
        loaded = store.load_config(folder)
        assert store.network_config(loaded, type(config), folder) == config
        network = published.NETWORKS[family](config)
        store.load_weights(network, folder)
        renamed = renames.rename(family, state)
        assert set(renamed) == set(network.state_dict())
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, renamed[key], rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_every_number_of_a_published_file_is_used_once(name: str) -> None:
    state = published_state(name)
    renamed = renames.rename(CASES[name][0], state)
    fixed = sum(value.numel() for key, value in state.items() if key.endswith("pos_embed"))
    total = torch.cat([value.flatten() for key, value in state.items() if not key.endswith("pos_embed")])
    found = torch.cat([value.flatten() for value in renamed.values()])
    assert found.numel() == total.numel() == sum(v.numel() for v in state.values()) - fixed
    assert torch.equal(found.sort().values, total.sort().values)


def test_class_keys_are_known_without_their_prefix() -> None:
    state = {key.removeprefix("net."): value for key, value in published_state("c2i_ind").items()}
    assert published.recognise(state) == "class-to-image"
    assert set(renames.rename("class-to-image", state)) == set(
        renames.rename("class-to-image", published_state("c2i_ind"))
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
    assert published.infer_config("text-to-visual", state) == config


def _published_class_shapes(c: ClassToImageConfig) -> dict[str, tuple[int, ...]]:
    width, hidden, head = c.width, int(c.width * 8 / 3), c.elements * c.classes
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, c.size**2, width), "in_context_posemb": (1, c.context_tokens, width),
        "t_embedder.mlp.0.weight": (width, 256), "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width), "t_embedder.mlp.2.bias": (width,),
        "x_embedder.proj1.weight": (c.bottleneck, head, 1, 1), "x_embedder.proj2.weight": (width, c.bottleneck, 1, 1),
        "x_embedder.proj2.bias": (width,), "y_embedder.embedding_table.weight": (c.num_classes + 1, width),
        "final_layer.norm_final.weight": (width,), "final_layer.linear.weight": (head, width),
        "final_layer.linear.bias": (head,), "final_layer.adaLN_modulation.1.weight": (2 * width, width),
        "final_layer.adaLN_modulation.1.bias": (2 * width,),
    }  # fmt: skip
    for i in range(c.depth):
        block = {
            "norm1.weight": (width,), "norm2.weight": (width,), "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,), "attn.q_norm.weight": (width // c.heads,),
            "attn.k_norm.weight": (width // c.heads,), "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "mlp.w12.weight": (2 * hidden, width), "mlp.w12.bias": (2 * hidden,), "mlp.w3.weight": (width, hidden),
            "mlp.w3.bias": (width,), "adaLN_modulation.1.weight": (6 * width, width),
            "adaLN_modulation.1.bias": (6 * width,),
        }  # fmt: skip
        shapes.update({f"blocks.{i}.{key}": shape for key, shape in block.items()})
    return {f"net.{key}": shape for key, shape in shapes.items()}


def _published_text_shapes(c: TextToVisualConfig) -> dict[str, tuple[int, ...]]:
    width, head = c.width, c.elements * c.classes
    shapes: dict[str, tuple[int, ...]] = {
        "word_embed.weight": (width, head), "word_embed.bias": (width,), "text_proj.weight": (width, c.text_width),
        "text_proj.bias": (width,), "pt_embedder.mlp.0.weight": (width, 256), "pt_embedder.mlp.0.bias": (width,),
        "pt_embedder.mlp.2.weight": (width, width), "pt_embedder.mlp.2.bias": (width,), "head.norm.weight": (width,),
        "head.proj.weight": (head, width), "head.proj.bias": (head,),
    }  # fmt: skip
    for i in range(c.depth):
        block = {
            "input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,),
            **{f"attn.{x}_proj.weight": (width, width) for x in "qkvo"},
            **{f"attn.{x}_norm.weight": (width // c.heads,) for x in "qk"},
            **{f"mlp.{x}_proj.weight": (8192, width) for x in ("gate", "up")}, "mlp.down_proj.weight": (width, 8192),
        }  # fmt: skip
        shapes.update({f"block_chunks.{i // 4}.module.{i % 4}.{key}": shape for key, shape in block.items()})
    return shapes


@pytest.mark.parametrize("name", PRESETS)
def test_files_of_the_published_sizes_are_known(name: str) -> None:
    """Keys and shapes only: a file of each size is told from the others and fills its network exactly."""
    preset = PRESETS[name]
    kind = preset.kind
    is_class = isinstance(preset, ClassToImageConfig)
    shapes = _published_class_shapes(preset) if is_class else _published_text_shapes(preset)
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    if is_class:
        state["net.pos_embed"] = sincos_positions(preset.size, preset.width)[None]
    assert published.recognise(state) == kind
    assert published.infer_config(kind, state) == preset
    with torch.device("meta"):
        network = published.NETWORKS[kind](preset)
    renamed = renames.rename(kind, state)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


def _without(key: str) -> dict[str, Tensor]:
    state = published_state("c2i_ind")
    del state[key]
    return state


def _with(key: str, value: object) -> dict[str, object]:
    return {**published_state("c2i_ind"), key: value}


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
        published.convert(path, tmp_path / "out", "mine", channels=4, context_start=1)
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
        published.infer_config("class-to-image", published_state("c2i_ind"), **hints)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("new_layout", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(new_layout: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    torch.save({"ema": _Payload(marker)}, path, _use_new_zipfile_serialization=new_layout)
    with pytest.raises(ModelMismatchError, match=r"would run (posix|nt)\.mkdir") as caught:
        published.convert(path, tmp_path / "out", "mine")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the canary: read carelessly, it does run
    assert marker.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new_layout", [True, False])
def test_a_cut_checkpoint_is_refused(share: float, new_layout: bool, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"ema": published_state("tokenizer")}, path, _use_new_zipfile_serialization=new_layout)
    Checkpoint(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelMismatchError, match=r"cut\.pth: refused"):
        Checkpoint(path)


def test_text_and_plain_pickles_are_refused(tmp_path: Path) -> None:
    for name, data in {"text": b"weights\n", "pickle": pickle.dumps({"a": 1}, protocol=2)}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelMismatchError):
            published.convert(tmp_path / name, tmp_path / "out", "mine")


def test_half_precision_stays_half(tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in published_state("t2iv_bit").items()}
    torch.save(state, tmp_path / "w.pth")
    published.convert(tmp_path / "w.pth", tmp_path / "out", "mine", channels=4)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


def test_a_published_name_is_converted_once_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--bytedance-research--GRN"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    torch.save({"ema": published_state("tokenizer")}, snapshot / "HBQ_image_tokenizer_16dim_M4.ckpt")
    first = store.resolve("hbq-16", kind="tokenizer")
    second = store.resolve("hbq-16", kind="tokenizer")
    assert (first.source, second.source) == ("hub cache", "converted")
    assert first.folder == second.folder == tmp_path / "home" / "models" / "hbq-16"
    tokenizer = Tokenizer.from_pretrained("hbq-16")
    assert tokenizer.name == "hbq-16"
    reference = load_file(REFERENCE / "tokenizer.safetensors")
    features = tokenizer.features(reference["image.input"].unsqueeze(2))
    torch.testing.assert_close(features, reference["image.features"], rtol=0, atol=1e-4)
    assert json.loads((first.folder / "config.json").read_text())["kind"] == "tokenizer"
