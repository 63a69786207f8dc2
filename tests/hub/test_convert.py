"""Published checkpoints, laid out as the authors', converted to model folders."""

from pathlib import Path

import pytest
import torch
from helpers.published_cases import CASES
from helpers.published_files import pieces, reference_state
from safetensors.torch import safe_open
from torch import Tensor

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.hub import checkpoint, convert, renames
from grn.hub.convert import Hints
from grn.models import tensors
from grn.models.folder import ModelFolder
from grn.models.tensors import write_weights
from grn.networks.umt5 import Umt5Config

ONE_WAY = CASES["t2iv_ind"][2]


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
        assert convert.convert(path, folder, "mine", hints)[:2] == (family, where)
        model = ModelFolder.open(folder)
        assert model.config.network == config
        network, _ = model.load_network("cpu", None)
        renamed = renames.rename(family, state)
        assert set(renamed) == set(network.state_dict())
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, renamed[key], rtol=0, atol=0)


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
        convert.convert(path, tmp_path / "out", "mine", Hints(channels=4, context_start=1))
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_half_precision_stays_half(tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in reference_state("t2iv_bit").items()}
    torch.save(state, tmp_path / "w.pth")
    convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", ONE_WAY)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


@pytest.mark.parametrize("name", CASES)
def test_what_is_let_go_of_on_the_way_changes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints, opened, load = CASES[name][2], [], torch.load
    torch.save(reference_state(name), tmp_path / "w.pth")
    convert.convert(tmp_path / "w.pth", tmp_path / "a", "mine", hints)
    monkeypatch.setattr(checkpoint, "RELEASE_BYTES", 50_000)
    monkeypatch.setattr("torch.load", lambda path, **options: opened.append(path) or load(path, **options))
    convert.convert(tmp_path / "w.pth", tmp_path / "b", "mine", hints)
    assert len(opened) > 5
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_shards_are_written_without_joining_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = reference_state("t2iv_ind")
    torch.save(state, tmp_path / "w.pth")
    monkeypatch.setattr("grn.models.folder.write_weights", lambda *a: write_weights(*a[:3], 100_000))
    join = torch.cat
    monkeypatch.setattr(tensors.torch, "cat", lambda parts: join(parts) if parts[0].is_meta else pytest.fail("joined"))
    convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", ONE_WAY)
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
            convert.convert(tmp_path / "w.pth", tmp_path / "out", "mine", Hints(channels=4, context_start=1))
        assert str(caught.value).startswith(f"{tmp_path / 'w.pth'}: ")


# The text encoder


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    """As it lies on the hub: the pieces in a folder beside it."""
    (tmp_path / "hub" / "umt5-xxl").mkdir(parents=True)
    torch.save(reference_state("umt5"), tmp_path / "hub" / "models_t5.pth")
    pieces().save(str(tmp_path / "hub" / "umt5-xxl" / "tokenizer.json"))
    return tmp_path / "hub" / "models_t5.pth"


def test_the_text_encoder_converts_with_the_pieces_beside_it(encoder_file: Path, tmp_path: Path) -> None:
    assert convert.convert(encoder_file, tmp_path / "out", "mine") == ("text-encoder", "", None, None)
    expected = Umt5Config(vocabulary=64, width=32, depth=2, heads=4, head_width=8, hidden=48)
    assert ModelFolder.open(tmp_path / "out").config.network == expected
    beside = encoder_file.parent / "umt5-xxl" / "tokenizer.json"
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == beside.read_bytes()


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_pieces_can_be_named(as_folder: bool, encoder_file: Path, tmp_path: Path) -> None:
    named = (encoder_file.parent / "umt5-xxl").rename(tmp_path / "words")
    with pytest.raises(ModelNotFoundError, match=r"needs its tokenizer\.json.*looked for .*umt5-xxl") as caught:
        convert.convert(encoder_file, tmp_path / "out", "mine")
    assert caught.value.lack == "vocabulary"
    assert not (tmp_path / "out").exists()
    given = named if as_folder else named / "tokenizer.json"
    convert.convert(encoder_file, tmp_path / "out", "mine", Hints(vocabulary=given))
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (named / "tokenizer.json").read_bytes()
