"""Reading published checkpoints as data: whatever could run code is refused and not run."""

import argparse
import collections
import contextlib
import functools
import os
import pickle
import subprocess
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_files import reference_state
from safetensors.torch import save_file

from grn.errors import ModelMismatchError
from grn.hub import convert
from grn.hub.checkpoint import Checkpoint

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "blocks.0.module.1.b": torch.zeros(1)}
DECOY = {key: value - 1 for key, value in STATE.items()}


def _keys(change: str) -> dict[str, torch.Tensor]:
    return {change.format(key): value for key, value in STATE.items()}


LAYOUTS: dict[str, tuple[Any, str]] = {
    "plain": (STATE, ""),
    "with the settings of its run": ({"model": STATE, "args": argparse.Namespace(lr=1e-4, name="b", deep=[1])}, "model"),
    "with odder settings": (
        {
            "model": STATE,
            "args": argparse.Namespace(
                out=PosixPath("runs/a"), loss=np.float64(0.5), steps=np.int64(3), kind=torch.bfloat16, on=np.bool_(True),
                where=torch.device("cpu"), inner=argparse.Namespace(size=torch.Size([2])),
            ),
        },
        "model",
    ),
    "averages first": ({"model": DECOY, "model_ema2": DECOY, "model_ema1": STATE, "epoch": 599}, "model_ema1"),
    "of a trainer": ({"trainer": {"gpt_fsdp": STATE, "step": 3}, "args": argparse.Namespace()}, "trainer.gpt_fsdp"),
    "of several devices": (_keys("module.{}"), ""),
    "compiled": (_keys("_orig_mod.{}"), ""),
    "both": (_keys("module._orig_mod.{}"), ""),
    "both the other way": ({"ema": _keys("_orig_mod.module.{}")}, "ema"),
    "compiled inside": ({key.replace("a.", "a._orig_mod."): value for key, value in STATE.items()}, ""),
}  # fmt: skip


@pytest.mark.parametrize("new_layout", [True, False])
@pytest.mark.parametrize(("tree", "where"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_checkpoints_as_people_have_them(tree: Any, where: str, new_layout: bool, tmp_path: Path) -> None:
    torch.save(tree, tmp_path / "x_ema.pth", _use_new_zipfile_serialization=new_layout)
    _same(Checkpoint(tmp_path / "x_ema.pth"))
    assert Checkpoint(tmp_path / "x_ema.pth").where == where


def _same(found: Checkpoint) -> None:
    assert found.keys() == STATE.keys()
    for key, value in STATE.items():
        assert torch.equal(found[key], value)
        assert (found.shapes()[key].shape, found.shapes()[key].dtype) == (value.shape, value.dtype)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_folder_of_shards_is_one_checkpoint(suffix: str, count: int, tmp_path: Path) -> None:
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(count)]
    for i, (key, value) in enumerate(STATE.items()):
        parts[i % count][key] = value
    for i, part in enumerate(parts):
        path = tmp_path / f"model-{i + 1:05}-of-{count:05}{suffix}"
        save_file(part, path) if suffix == ".safetensors" else torch.save(part, path)
    (tmp_path / "model.index.json").write_text("{}")
    _same(Checkpoint(tmp_path))
    path.unlink()
    says = "holds no checkpoint" if count == 1 else f"{count - 1} shards of {count} are here"
    with pytest.raises(ModelMismatchError, match=says):
        Checkpoint(tmp_path)


def test_shards_that_hold_a_tensor_twice_are_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    torch.save({"module.a.bias": torch.zeros(2)}, tmp_path / "b.pth")
    with pytest.raises(ModelMismatchError, match=r"holds a\.bias twice"):
        Checkpoint(tmp_path)


def test_a_distributed_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"")
    torch.save(STATE, tmp_path / "a.pth")
    with pytest.raises(ModelMismatchError, match="distributed checkpoint"):
        Checkpoint(tmp_path)


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
    "in a run's settings": lambda evil: {"model": reference_state("tokenizer"), "args": argparse.Namespace(hook=evil)},
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
