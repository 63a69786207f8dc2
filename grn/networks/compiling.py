"""Compiling generator networks block by block, where the work is long enough to pay for it.

One block is compiled, for any batch, size and length of text, and all blocks of a network share it: a network of 28
blocks takes no longer to compile than one of 2. Tokenizers are left alone: nine tenths of their time are convolutions,
which a compiler takes from the same library.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from grn.devices import gains_by_compiling

Compiling = Literal["auto", "on", "off"]

PAYS = {"cpu": 1e14, "cuda": 1e16}
"""FLOP of the whole work from which on compiling pays. It takes 15 to 60 s, and then the rest a third less time."""
_log = logging.getLogger("grn")


class Weighted(Protocol):
    """What has weights."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of them."""


def forward_flop(network: Weighted, tokens: float) -> float:
    """Of so many tokens in all through a generator network: 2 for each weight and token, attention left out."""
    return 2.0 * sum(parameter.numel() for parameter in network.parameters()) * tokens


def pays(wanted: Compiling, device: torch.device, dtype: torch.dtype, flop: float) -> bool:
    """Whether to compile what is to take `flop` in `dtype` on this device, which "on" and "off" say.

    "auto": long work on a device that gains by it, but not in float32, whose results repeat exactly. Where nothing can
    be compiled it is no, and a warning says why, once.
    """
    if wanted == "auto":
        long = flop >= PAYS.get(device.type, float("inf"))
        wanted = "on" if long and dtype != torch.float32 and gains_by_compiling(device) else "off"
    return wanted == "on" and _works(device.type)


def recompute_blocks(network: nn.Module, compiled: bool) -> None:
    """A generator network's blocks keep little for the backward pass, and are computed once more in it: less memory, a third more work.

    compiled: whether they are going to be compiled.
    """
    for block in _blocks(network):
        block.recompute(compiled)  # type: ignore[operator]


def compile_blocks(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile a generator network's blocks where they are. backend: one of torch's."""
    for block in _blocks(network):
        block.compile(backend=backend, dynamic=True, fullgraph=True)


def _blocks(network: nn.Module) -> nn.ModuleList:
    blocks = network.get_submodule("blocks")
    assert isinstance(blocks, nn.ModuleList), "a network without blocks"
    return blocks


@functools.cache
def _works(device: str) -> bool:
    """Whether something small can be compiled for this kind of device."""

    def twice(x: Tensor) -> Tensor:
        return x + x

    try:
        torch.compile(twice, fullgraph=True)(torch.ones(2, device=device))
    except Exception as error:  # there is no end to what compilers and their absence raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        _log.warning("nothing can be compiled for %s here, so networks run as they are: %s", device, reason)
        return False
    return True
