"""Reading and writing a folder's weights a tensor at a time: no second copy of them is ever held.

The libraries' own writers take all tensors of a file at once: for a file of 1 GB 1.6 GB of memory, against 0.4 GB here
(benchmarks/convert.py).
"""

import contextlib
import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from grn.errors import EnvironmentFaultError, ModelMismatchError
from grn.files import atomic_path, display, sha256

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # in place of WEIGHTS where they are in shards
CARD = "README.md"
VOCABULARY = "tokenizer.json"  # of a text encoder: pieces of text and their numbers
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
SHARD_BYTES = 4_000_000_000  # below what every file system takes
_SHOWN = 5  # names listed of each kind of mismatch


def write_weights(folder: Path, state: Mapping[str, Tensor], dtype: torch.dtype, shard_bytes: int) -> str:
    """Write a folder's weights, floating-point tensors as `dtype`; the sha256 of the file that stands for all of them.

    That is model.safetensors or, for more than `shard_bytes`, the index of the shards. The bytes depend on nothing but
    the arguments. Weights that the folder held before are gone. Raises ModelMismatchError where a finite value does
    not fit `dtype`.
    """
    layout = {name: _place(_pieces(state, name), dtype) for name in state}
    shards = _split(layout, shard_bytes)
    if len(shards) == 1:
        with atomic_path(folder / WEIGHTS) as path:
            fingerprint = _write_tensors(path, state, layout)
        files = {WEIGHTS}
    else:
        digests, weight_map = {}, {}
        for number, names in enumerate(shards, 1):
            file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            with atomic_path(folder / file) as path:
                digests[file] = _write_tensors(path, state, {name: layout[name] for name in names})
            weight_map.update(dict.fromkeys(names, file))
        size = sum(place.size for place in layout.values())
        index = {"metadata": {"sha256": digests, "total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
        with atomic_path(folder / INDEX) as path:
            path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8", newline="\n")
        fingerprint = sha256(folder / INDEX)
        files = {*digests, INDEX}
    for old in [path for path in folder.iterdir() if path.name in (WEIGHTS, INDEX) or SHARD.fullmatch(path.name)]:
        if old.name not in files:
            old.unlink()
    return fingerprint


class InPieces(Mapping[str, Tensor]):
    """A state whose tensors come in pieces that are joined along their first axis; they are written without joining."""

    def pieces(self, name: str) -> Iterator[Tensor]:
        """The pieces of a tensor in order, each made when asked for."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> Tensor:
        pieces = list(self.pieces(name))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _pieces(state: Mapping[str, Tensor], name: str) -> Iterator[Tensor]:
    return state.pieces(name) if isinstance(state, InPieces) else iter([state[name]])


@dataclass(frozen=True)
class _Place:
    """What a tensor will be in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _place(pieces: Iterator[Tensor], dtype: torch.dtype) -> _Place:
    first = next(pieces)
    shape = list(first.shape)
    for piece in pieces:
        shape[0] += piece.shape[0]
    return _Place(dtype if first.is_floating_point() else first.dtype, tuple(shape))


def _split(layout: Mapping[str, _Place], shard_bytes: int) -> list[list[str]]:
    """Names by shard, each shard of at most `shard_bytes` or of one tensor; at least one shard."""
    shards: list[list[str]] = [[]]
    used = 0
    for name in sorted(layout):
        if shards[-1] and used + layout[name].size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += layout[name].size
    return shards


def _write_tensors(path: Path, state: Mapping[str, Tensor], layout: Mapping[str, _Place]) -> str:
    """Write one safetensors file with the tensors of `layout`; the sha256 of its bytes."""
    # Wide types first, as the format's own writers do, so that every tensor starts at a multiple of its item size.
    order = sorted(layout, key=lambda name: (-layout[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        place = layout[name]
        start, end = end, end + place.size
        header[name] = {"dtype": _CODES[place.dtype], "shape": list(place.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    written = hashlib.sha256()
    with path.open("wb") as file:
        for block in (struct.pack("<Q", len(text)), text):
            written.update(block)
            file.write(block)
        for name in order:
            for piece in _pieces(state, name):
                data = _bytes(name, piece, layout[name].dtype)
                written.update(data)
                file.write(data)
    return written.hexdigest()


def read_weights(
    path: Path,
    module: nn.Module,
    allow_nonfinite: bool,
    *,
    files: list[Path] | None = None,
    rename: Callable[[str], str | None] = str,
) -> None:
    """Copy the tensors of model.safetensors, or of an index's shards, into the module, in its types, on its devices.

    Those that the module has on "meta" are compared only. files: those of an index that others have written. rename: a
    stored tensor's name in the module, None for one that is left out. Raises ModelMismatchError where names, shapes or
    types differ either way, a value is not finite, or a file is damaged. Nothing has been copied then, unless the fault is
    in a value.
    """
    targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    targets = {name: targets[name] for name in module.state_dict()}
    stored: dict[str, tuple[str, list[int]]] = {}
    if files is None:
        files = _shards(path) if path.name == INDEX else [path]
    with contextlib.ExitStack() as stack:
        places = {}
        for shard in files:
            with _damage(shard):
                file = stack.enter_context(safe_open(shard, "pt"))
                for key in file.keys():  # noqa: SIM118
                    name = rename(key)
                    if name is None:
                        continue
                    if name in places:
                        raise ModelMismatchError(f"{display(shard)}: {name} is in another shard too; restore the files")
                    places[name] = (shard, key)
                    stored[name] = (file.get_slice(key).get_dtype(), file.get_slice(key).get_shape())
        compare(path, targets, stored)
        for name, target in targets.items():
            if target.is_meta:
                continue
            shard, key = places[name]
            # Opened anew for each: pages of the file stay in memory as long as what they were read through.
            with _damage(shard), safe_open(shard, "pt") as file:
                tensor = file.get_tensor(key)
            if not (allow_nonfinite or _finite(tensor)):
                raise ModelMismatchError(
                    f"{display(shard)}: {name} holds values that are not finite; "
                    "restore the file or take an earlier checkpoint"
                )
            with torch.no_grad():
                target.copy_(tensor)


def _finite(tensor: Tensor) -> bool:
    """Whether all values are; of the least and the greatest alone, either of which is NaN where one value is."""
    return (
        not tensor.is_floating_point() or tensor.numel() == 0 or all(bool(end.isfinite()) for end in tensor.aminmax())
    )


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ModelMismatchError(f"{display(path)}: damaged safetensors file ({error}); restore the file") from error


def _shards(index: Path) -> list[Path]:
    """The shards of an index, each checked against the sha256 that the index has for it."""
    try:
        digests = json.loads(index.read_bytes())["metadata"]["sha256"].items()
        named = all(SHARD.fullmatch(name) for name, _ in digests)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        named = False
    if not named:
        raise ModelMismatchError(f"{display(index)}: not an index of shards as grn writes it; restore the file")
    paths = []
    for name, expected in digests:
        path = index.parent / name
        if not path.is_file():
            raise ModelMismatchError(f"{display(path)}: no such file, and {INDEX} has it; restore the file")
        found = digest(path)
        if found != expected:
            raise ModelMismatchError(
                f"{display(path)}: damaged or of another model (expected sha256 {str(expected)[:12]} as in {INDEX}, "
                f"found {found[:12]}); restore the file"
            )
        paths.append(path)
    return paths


def tensor_names(path: Path) -> list[str]:
    """What a safetensors file holds. ModelMismatchError where it is damaged."""
    with _damage(path), safe_open(path, "pt") as file:
        return list(file.keys())


def tensor_files(path: Path) -> dict[str, Path]:
    """The file of each tensor of model.safetensors or of an index's shards. ModelMismatchError where one is damaged."""
    files = sorted({*json.loads(path.read_bytes())["weight_map"].values()}) if path.name == INDEX else [path.name]
    return {name: path.parent / file for file in files for name in tensor_names(path.parent / file)}


def stored_type(path: Path) -> torch.dtype:
    """The floating-point type that weights are stored in; float32 where they are of several, or not to be told."""
    try:
        if path.name == INDEX:
            path = path.parent / next(iter(json.loads(path.read_bytes())["weight_map"].values()))
        with safe_open(path, "pt") as file:
            types = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, OSError, SafetensorError):
        return torch.float32  # whoever reads the values will say what is wrong
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(types.pop() if len(types) == 1 else "", torch.float32)


def digest(path: Path) -> str:
    """The sha256 of a file, in hex. EnvironmentFaultError where it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the disk"
        ) from error


def summary(tensor: Tensor) -> tuple[str, list[int]]:
    """(type, shape) as `compare` takes them."""
    return _CODES.get(tensor.dtype, str(tensor.dtype)), list(tensor.shape)


def _bytes(name: str, tensor: Tensor, dtype: torch.dtype) -> memoryview:
    stored = tensor.detach().to("cpu", dtype).contiguous()
    # A comparison of gigabytes takes several times their memory: only where the type changes can values have been lost.
    if stored.dtype != tensor.dtype and not torch.equal(stored.isfinite(), tensor.detach().cpu().isfinite()):
        raise ModelMismatchError(
            f"{name}: values too large for {str(dtype).removeprefix('torch.')}; save as bfloat16 or float32"
        )
    return stored.flatten().view(torch.uint8).numpy().data


def compare(path: Path, targets: Mapping[str, Tensor], stored: Mapping[str, tuple[str, list[int]]]) -> None:
    """Hold stored tensors, name -> (type, shape), against a network's; ModelMismatchError lists what differs."""
    problems = {"missing": sorted(targets.keys() - stored), "unexpected": sorted(stored.keys() - targets)}
    misshaped = []
    for name in sorted(targets.keys() & stored):
        (found, shape), target = stored[name], targets[name]
        if list(target.shape) != shape:
            misshaped.append(f"{name} (expected {list(target.shape)}, found {shape})")
        elif found not in (("F32", "F16", "BF16") if target.is_floating_point() else (_CODES[target.dtype],)):
            misshaped.append(f"{name} (expected {_CODES[target.dtype]}, found {found})")
    problems["of another shape or type"] = misshaped
    parts = []
    for kind, names in problems.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}")
    if parts:
        raise ModelMismatchError(
            f"{display(path)}: does not fit its network: {'; '.join(parts)}; use the files of one model"
        )
