"""Networks filled from model folders: each tensor goes from the file to its place, in the type and on the device asked for."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from grn.models import store


def empty_network(build: Callable[[], nn.Module], device: str, dtype: torch.dtype) -> nn.Module:
    """A network whose values are not set: nothing is drawn, and no copy of it in another type or place is ever held."""
    with torch.device("meta"):
        network = build()
    lost = dict(network.named_buffers()).keys() - network.state_dict().keys()
    assert not lost, f"{sorted(lost)} would be left without values"
    return network.to(dtype).to_empty(device=device)


def load_network(
    build: Callable[[], nn.Module], folder: Path, device: str, dtype: torch.dtype | None
) -> tuple[nn.Module, str]:
    """The network with a folder's weights, ready to be used, and their fingerprint; dtype None is float32.

    Raises what `grn.models.store.load_weights` does.
    """
    network = empty_network(build, device, dtype or torch.float32)
    fingerprint = store.load_weights(network, folder)
    return network.eval().requires_grad_(False), fingerprint
