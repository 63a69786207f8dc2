"""Passes of few tokens on a GPU, recorded once and then replayed: one launch instead of hundreds (CUDA graphs).

A pass of one picture launches several hundred small kernels, and launching them takes longer than they do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grn.networks.compiling import forward_flop
from grn.networks.contract import GeneratorNetwork, Prepared

SMALL = 1e12
"""FLOP of a pass below which launches are most of its time."""
_KEPT = 2  # recordings: a picture has one without guidance and one with it


@dataclass(frozen=True)
class _Recording:
    """A pass with the memory that it reads from and writes to."""

    prepared: Prepared
    token_map: Tensor
    ratio: Tensor
    replay: Callable[[], None]
    logits: Tensor


class Replay:
    """A network as it is called, whose small passes are replayed from the second of the same kind on.

    The logits of a replayed pass are overwritten by the next one.
    """

    def __init__(self, network: GeneratorNetwork) -> None:
        self.network = network
        self.replayed = 0
        """How many passes were."""
        # Where weights come and go with every pass, none can be recorded.
        self._stays = all(parameter.device.type == "cuda" for parameter in network.parameters())
        self._recordings: list[_Recording] = []
        self._last: tuple[Prepared, torch.Size] | None = None

    def __call__(self, token_map: Tensor, ratio: Tensor, prepared: Prepared) -> Tensor:
        """As `GeneratorNetwork.forward`."""
        if not self._small(token_map):
            return self.network(token_map, ratio, prepared)
        # What is prepared stays in its place while the same samples are drawn, so it is read where it is.
        found = next((one for one in self._recordings if one.prepared is prepared), None)
        if found is None or found.token_map.shape != token_map.shape:
            if self._last is None or self._last[0] is not prepared or self._last[1] != token_map.shape:
                self._last = prepared, token_map.shape
                return self.network(token_map, ratio, prepared)  # the first call makes what is kept from then on
            found = self._record(token_map, ratio, prepared)
        found.token_map.copy_(token_map)
        found.ratio.copy_(ratio)
        found.replay()
        self.replayed += 1
        return found.logits

    def _small(self, token_map: Tensor) -> bool:
        if not self._stays:
            return False
        tokens = token_map[..., 0].numel() / self.network.config.patch**2
        return forward_flop(self.network, tokens) < SMALL

    def _record(self, token_map: Tensor, ratio: Tensor, prepared: Prepared) -> _Recording:
        graph = torch.cuda.CUDAGraph()
        own_map, own_ratio = token_map.clone(), ratio.clone()
        with torch.cuda.graph(graph):
            logits = self.network(own_map, own_ratio, prepared)
        made = _Recording(prepared, own_map, own_ratio, graph.replay, logits)
        self._recordings = [*self._recordings[1 - _KEPT :], made]
        return made
