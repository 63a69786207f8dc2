"""Weights that stay where there is room for them, but for those of the block in use (accelerate's hooks)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def offload_blocks(
    network: nn.Module, blocks: str, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> None:
    """Let each block of a network have its weights on `device` while it computes, and not before and after.

    blocks: name of the list of them in the network, which has them on "meta". files: the safetensors file of each tensor.
    A GPU is given them from the computer's memory, a processor from the files.
    """
    # Imported late: it takes a second, and most commands offload nothing.
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module
    from accelerate.utils import OffloadedWeightsLoader, PrefixedDataset

    kept = str(dtype).removeprefix("torch.")
    index = {
        name: {"safetensors_file": str(file), "dtype": kept}
        for name, file in files.items()
        if name.startswith(f"{blocks}.")
    }
    weights: Mapping[str, Tensor] = OffloadedWeightsLoader(index=index)
    if device.type != "cpu":
        weights = dict(weights)
    for number, block in enumerate(network.get_submodule(blocks).children()):
        own = PrefixedDataset(weights, f"{blocks}.{number}.")
        add_hook_to_module(block, AlignDevicesHook(device, offload=True, weights_map=own, place_submodules=True))
