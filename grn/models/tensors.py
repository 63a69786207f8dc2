"""Reading and writing model.safetensors a tensor at a time: no second copy of the weights is ever held."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from grn.errors import EnvironmentFaultError, ModelMismatchError
from grn.files import display

_CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_SHOWN = 5  # names listed of each kind of mismatch


def write_tensors(path: Path, state: Mapping[str, Tensor], dtype: torch.dtype) -> str:
    """Write a safetensors file, floating-point tensors as `dtype`; the sha256 of its bytes.

    The bytes depend on nothing but the tensors and `dtype`. Raises ModelMismatchError where a finite value
    does not fit `dtype`.
    """
    kinds, shapes = {}, {}
    for name in state:  # each tensor is asked for once here and once below: the mapping may make it on demand
        tensor = state[name]
        kinds[name], shapes[name] = dtype if tensor.is_floating_point() else tensor.dtype, list(tensor.shape)
    # Wide types first, as the format's own writers do, so that every tensor starts at a multiple of its item size.
    order = sorted(state, key=lambda name: (-kinds[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        start, end = end, end + math.prod(shapes[name]) * kinds[name].itemsize
        header[name] = {"dtype": _CODES[kinds[name]], "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in (struct.pack("<Q", len(text)), text):
            digest.update(block)
            file.write(block)
        for name in order:
            data = _bytes(name, state[name], kinds[name])
            digest.update(data)
            file.write(data)
    return digest.hexdigest()


def read_tensors(path: Path, module: nn.Module, allow_nonfinite: bool) -> None:
    """Copy a file's tensors into the module, in the module's types and on its devices.

    Raises ModelMismatchError where names, shapes or types differ either way, a value is not finite, or the file is
    damaged. Nothing has been copied then, unless the fault is in a value.
    """
    targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    targets = {name: targets[name] for name in module.state_dict()}
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            compare(path, targets, {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()})
            for name, target in targets.items():
                tensor = file.get_tensor(name)
                if not allow_nonfinite and not torch.isfinite(tensor).all():
                    raise ModelMismatchError(
                        f"{display(path)}: {name} holds values that are not finite; "
                        "restore the file or take an earlier checkpoint"
                    )
                with torch.no_grad():
                    target.copy_(tensor)
    except SafetensorError as error:
        raise ModelMismatchError(f"{display(path)}: damaged safetensors file ({error}); restore the file") from error


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the disk"
        ) from error


def summary(tensor: Tensor) -> tuple[str, list[int]]:
    """(type, shape) as `compare` takes them."""
    return _CODES.get(tensor.dtype, str(tensor.dtype)), list(tensor.shape)


def _bytes(name: str, tensor: Tensor, dtype: torch.dtype) -> memoryview:
    stored = tensor.detach().to("cpu", dtype).contiguous()
    if dtype.is_floating_point and not torch.equal(stored.isfinite(), tensor.detach().cpu().isfinite()):
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
