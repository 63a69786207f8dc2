"""Weights in shards: the same network comes back, and nothing damaged does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.model_folders import TOKENIZER, load_weights
from safetensors.torch import load_file, save_file
from torch import nn

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.files import sha256
from grn.hub import download
from grn.hub.resolve import resolve
from grn.models.folder import ModelFolder, save_model

INDEX = "model.safetensors.index.json"


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))


def saved(folder: Path, shard_bytes: int) -> tuple[nn.Module, str]:
    module = network()
    return module, save_model(folder, TOKENIZER, module.state_dict(), torch.float32, shard_bytes=shard_bytes)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


@pytest.mark.parametrize(("shard_bytes", "count"), [(1, 8), (167, 8), (168, 4), (400, 2), (671, 2), (672, 0)])
def test_shards_are_no_larger_than_asked_and_load_to_the_same(shard_bytes: int, count: int, tmp_path: Path) -> None:
    """Four layers of 24 + 144 bytes, 672 in all; a tensor is never cut."""
    module, fingerprint = saved(tmp_path / "m", shard_bytes)
    assert len(shards(tmp_path / "m")) == count
    for path in shards(tmp_path / "m"):
        tensors = load_file(path)
        assert len(tensors) == 1 or sum(4 * t.numel() for t in tensors.values()) <= shard_bytes
    loaded = network(1)
    assert load_weights(loaded, tmp_path / "m") == fingerprint
    assert ModelFolder.open(tmp_path / "m").config.weights_sha256 == fingerprint
    for name, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_the_index_is_what_other_readers_expect(tmp_path: Path) -> None:
    module, _ = saved(tmp_path / "m", 400)
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    assert index["metadata"]["total_size"] == 672
    assert index["weight_map"].keys() == module.state_dict().keys()
    for name, file in index["weight_map"].items():
        assert name in load_file(tmp_path / "m" / file)


def test_saving_again_leaves_no_weights_of_before(tmp_path: Path) -> None:
    for shard_bytes, count in ((1, 8), (400, 2), (9999, 0), (168, 4)):
        saved(tmp_path / "m", shard_bytes)
        files = {path.name for path in (tmp_path / "m").iterdir()} - {"README.md", "config.json"}
        assert len(files) == (count + 1 if count else 1)
        load_weights(network(1), tmp_path / "m")


def test_a_default_model_is_one_file(tmp_path: Path) -> None:
    save_model(tmp_path / "m", TOKENIZER, network().state_dict(), torch.float32)
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert not (tmp_path / "m" / INDEX).exists()


def _reseal(folder: Path, index: object) -> None:
    """Make config.json vouch for another index."""
    (folder / INDEX).write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = sha256(folder / INDEX)
    (folder / "config.json").write_text(json.dumps(config))


def _digests(folder: Path) -> dict:
    return {"metadata": {"sha256": {path.name: sha256(path) for path in shards(folder)}}, "weight_map": {}}


def _drop(folder: Path) -> None:
    shards(folder)[0].unlink()
    _reseal(folder, _digests(folder))


def _double(folder: Path) -> None:
    first, second = (load_file(path) for path in shards(folder))
    save_file({**first, **second}, shards(folder)[1])
    _reseal(folder, _digests(folder))


def _escape(folder: Path) -> None:
    (folder / "../outside.safetensors").write_bytes(shards(folder)[0].read_bytes())
    index = _digests(folder)
    index["metadata"]["sha256"]["../outside.safetensors"] = sha256(folder / "../outside.safetensors")
    _reseal(folder, index)


def _flip(folder: Path) -> None:
    data = bytearray(shards(folder)[1].read_bytes())
    data[-1] ^= 1
    shards(folder)[1].write_bytes(data)


def _cut(folder: Path) -> None:
    shards(folder)[0].write_bytes(shards(folder)[0].read_bytes()[:-1])
    _reseal(folder, _digests(folder))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (_flip, "model-00002-of-00002.safetensors: damaged or of another model"),
    "a missing shard": (lambda f: shards(f)[1].unlink(), "model-00002-of-00002.safetensors: no such file"),
    "a shard less": (_drop, "5 missing: 0.bias, 0.weight, 1.bias, 1.weight, 2.bias;"),
    "a tensor twice": (_double, "is in another shard too"),
    "a cut shard": (_cut, "damaged safetensors file"),
    "a path out of the folder": (_escape, "not an index of shards"),
    "another index": (lambda f: (f / INDEX).write_text("{}"), "damaged or of another model"),
    "no digests": (lambda f: _reseal(f, {"weight_map": {}}), "not an index of shards"),
    "a list": (lambda f: _reseal(f, []), "not an index of shards"),
}


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD.keys())
def test_bad_shards_are_refused(spoil: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    saved(tmp_path / "m", 400)
    load_weights(network(), tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(ModelMismatchError) as caught:
        load_weights(network(), tmp_path / "m")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [True, False])
def test_a_cached_snapshot_needs_all_its_shards(whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--someone--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("1" * 40)
    folder = repo / "snapshots" / ("1" * 40)
    saved(folder, 400)
    if whole:
        assert resolve("someone/model", offline=True).folder == folder
        assert download.snapshot("someone/model", local=True) == folder
    else:
        shards(folder)[0].unlink()
        with pytest.raises(ModelNotFoundError, match="someone/model: weights are not here"):
            resolve("someone/model", offline=True)
