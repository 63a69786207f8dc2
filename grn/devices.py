"""What the machine has, and tensors on their way to it."""

import ctypes
import functools
import sys

import torch
from torch import Tensor

from grn.errors import EnvironmentFaultError, UsageError


def checked(device: torch.device | str) -> torch.device:
    """The device of a name. Raises UsageError for what is none, EnvironmentFaultError where it is not there."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device {device!r}: is not known; use cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count() if found.type == "cuda" else 0
    if found.type == "cuda" and (found.index or 0) >= count:
        raise EnvironmentFaultError(f"device {found}: is not there (found {count} CUDA devices); use cpu")
    return found


def fast_type(device: torch.device | str) -> torch.dtype:
    """The number format that networks compute in by default: bfloat16 where the device multiplies it faster, else float32."""
    fast = multiplies_bfloat16() if torch.device(device).type == "cpu" else True
    return torch.bfloat16 if fast else torch.float32


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16: AMX's tiles, or AVX-512's pairs.

    With the latter alone (one core of a Zen 4) drawing and decoding take 0.46 to 0.55 of their time in float32.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def gains_by_compiling(device: torch.device) -> bool:
    """Whether a compiled network is faster there: on GPUs, and where tiles multiply so fast that all else takes half of the time.

    One core of a Zen 4 without them takes GRN-B from 1.0 (float32) to 1.2 times as long compiled.
    """
    return device.type == "cuda" or bool(torch.cpu._is_amx_tile_supported())


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device, without waiting for the work that it is doing."""
    if device.type != "cuda":
        return values.to(device)
    return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)


def return_unused_memory() -> None:
    """Return to the system what the C library keeps of freed memory. Does nothing where that is not glibc.

    It keeps the gaps between blocks that are in use: after 30 tiles of a picture more than the tiles themselves took.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
