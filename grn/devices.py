"""What the machine has, and tensors on their way to it."""

import functools

import torch
from torch import Tensor


def drawing_type(device: torch.device | str) -> torch.dtype:
    """The number format that drawing and decoding take by default: bfloat16 where the device multiplies it faster, else float32."""
    fast = multiplies_bfloat16() if torch.device(device).type == "cpu" else True
    return torch.bfloat16 if fast else torch.float32


def training_type(device: torch.device | str) -> torch.dtype:
    """The number format that training computes in by default: bfloat16 on GPUs and on processors that multiply it, else float32.

    Of processors that is AMX, and avx512_bf16 too: the large batches of a training step gain from its products of pairs.
    """
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    fast = multiplies_bfloat16() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has units for bfloat16 matrices (AMX). Those without are slower in it than in float32."""
    return bool(torch.cpu._is_amx_tile_supported())


def send(values: Tensor, device: torch.device) -> Tensor:
    """To the device, without waiting for what it is at."""
    if device.type != "cuda":
        return values.to(device)
    return (values if values.is_pinned() else values.pin_memory()).to(device, non_blocking=True)
