"""A published checkpoint on disk: one file or a folder of shards, read as data only, a tensor at a time.

Pickles (.pth, .ckpt, .bin) and safetensors files. A pickle of torch's newer layout is mapped, not read; what has been
looked at is let go of every RELEASE_BYTES, so that a file of many gigabytes passes through little memory.
"""

import argparse
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PosixPath
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from grn.errors import EnvironmentFaultError, ModelMismatchError
from grn.files import display, is_folder

RELEASE_BYTES = 64_000_000
# Where a state dict can be, moving averages first.
_PLACES = (("model_ema1",), ("ema",), ("model",), ("vae",), ("trainer", "gpt_fsdp"), ("state_dict",))
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
# What wrappers for several devices and for compiling put into keys; "module." inside a key is a layer's own name.
_WRAPPED = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module)\.")


# What the settings of a training run are made of: classes that hold values, and run nothing when they are made.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    PosixPath,
    (PosixPath, "pathlib._local.PosixPath"),  # as Python 3.13 writes it
    np.dtype,
    *(type(np.dtype(name)) for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


class _Part(Protocol):
    """One file of a checkpoint."""

    where: str
    shapes: dict[str, Tensor]

    def take(self, key: str) -> Tensor: ...


class Checkpoint(Mapping[str, Tensor]):
    """The state dict in a published checkpoint, without what wrappers put into its keys.

    name: of the file, or of the folder and its first shard. where: in the file it is, "ema", "model_ema1",
    "trainer.gpt_fsdp", ..., "" for a plain one; moving averages are preferred. Keep no more than a few tensors at a time:
    each keeps its pages in memory.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelMismatchError for a file that is damaged or holds anything but tensors and plain data."""
        self.path, files = path, _files(path)
        # Of a folder, what its shards are called may say what it does not.
        self.name = path.name if files == [path] else f"{path.resolve().name} {files[0].name}"
        parts = [_Safetensors(file) if file.suffix == ".safetensors" else _Pickle(file) for file in files]
        self.where = parts[0].where
        self._places: dict[str, tuple[_Part, str]] = {}
        for part in parts:
            for key in part.shapes:
                name = _unwrapped(key)
                if name in self._places:
                    raise ModelMismatchError(f"{display(path)}: holds {display(name)} twice")
                self._places[name] = (part, key)

    def __getitem__(self, key: str) -> Tensor:
        part, stored = self._places[key]
        return part.take(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shapes(self) -> dict[str, Tensor]:
        """The same state without values: tensors on the meta device."""
        return {name: part.shapes[key] for name, (part, key) in self._places.items()}


class _Pickle:
    """A file that torch.save has written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped = _is_zip(path)
        self._state, self.where = _read(path, self._mapped)
        self.shapes = {key: torch.empty_like(tensor, device="meta") for key, tensor in self._state.items()}
        self._taken = 0

    def take(self, key: str) -> Tensor:
        if self._mapped and self._taken > RELEASE_BYTES:
            # Only unmapping lets go of pages, and only what is mapped anew starts without any.
            self._state = {}
            self._state, self._taken = _read(self._path, True)[0], 0
        tensor = self._state[key]
        self._taken += tensor.numel() * tensor.element_size()
        return tensor


class _Safetensors:
    """A safetensors file; each tensor is read when it is asked for."""

    where = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with safe_open(path, "pt") as file:
                slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
                self.shapes = {
                    key: torch.empty(found.get_shape(), dtype=_TYPES[found.get_dtype()], device="meta")
                    for key, found in slices.items()
                }
        except (SafetensorError, KeyError) as error:
            raise ModelMismatchError(f"{display(path)}: damaged safetensors file ({error})") from error

    def take(self, key: str) -> Tensor:
        with safe_open(self._path, "pt") as file:
            tensor: Tensor = file.get_tensor(key)
        return tensor


_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def _files(path: Path) -> list[Path]:
    """The files of a checkpoint: itself, or the shards in a folder, all of one kind."""
    if not os.path.lexists(path):
        raise ModelMismatchError(f"{display(path)}: no such file; check the path")
    if not is_folder(path):
        return [path]
    if (path / ".metadata").exists():
        raise ModelMismatchError(
            f"{display(path)}: a distributed checkpoint, whose index can run code; give its export"
        )
    for suffix in _SUFFIXES:
        found = sorted(file for file in path.iterdir() if file.suffix == suffix and not file.name.startswith("."))
        if found:
            return _complete(path, found)
    raise ModelMismatchError(f"{display(path)}: holds no checkpoint (expected files in {', '.join(_SUFFIXES)})")


def _complete(folder: Path, files: list[Path]) -> list[Path]:
    """The files, if their names do not tell of others: shards are called NAME-00001-of-00003."""
    for file in files:
        of = re.search(r"-of-(\d{1,6})$", file.stem)
        if of and int(of[1]) != len(files):
            raise ModelMismatchError(f"{display(folder)}: {len(files)} shards of {int(of[1])} are here; get the others")
    return files


def _unwrapped(key: str) -> str:
    key = _WRAPPED.sub("", key)
    while key.startswith("module."):
        key = _WRAPPED.sub("", key.removeprefix("module."))
    return key


def _read(path: Path, mapped: bool) -> tuple[dict[str, Tensor], str]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # of a script: it is refused, in our words
            tree = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise EnvironmentFaultError(f"{display(path)}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it would run {display(code[1])}" if code else "it is cut short, damaged or of another format"
        raise ModelMismatchError(f"{display(path)}: refused, {reason}; give a published file") from error
    state, where = _state(tree)
    if not isinstance(state, dict):
        raise ModelMismatchError(
            f"{display(path)}: expected a state dict, found {type(state).__name__}; give a published file"
        )
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelMismatchError(
                f"{display(path)}: key {display(str(key))} holds {type(value).__name__}, not a tensor; "
                "give a published file"
            )
    return dict(state), where


def _state(tree: Any) -> tuple[Any, str]:
    """The state dict in what a file holds, and where it is."""
    for place in _PLACES:
        found = tree
        for key in place:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return found, ".".join(place)
    return tree, ""


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:  # only the newer of torch's two layouts can be mapped
            return file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise EnvironmentFaultError(f"{display(path)}: cannot be read ({error.strerror or error})") from error
