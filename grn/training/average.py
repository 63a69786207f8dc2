"""The moving average of a model's weights, which is what is kept in the end."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class Average:
    """Follows a module's weights: average <- decay * average + (1 - decay) * weights after every step."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.state = _copy(module)
        floats = [name for name, value in self.state.items() if value.is_floating_point()]
        current = module.state_dict()
        # The module's tensors are updated in place, so these stay the right ones.
        self._pairs = [_local(self.state[name]) for name in floats], [_local(current[name].detach()) for name in floats]

    def follow(self, step: int) -> None:
        """After step number `step`, counted from 1."""
        # A young average follows faster, or it would drag the random start along.
        torch._foreach_lerp_(*self._pairs, 1 - min(self.decay, (1 + step) / (10 + step)))

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a stored average. KeyError where one is missing, RuntimeError where one does not fit."""
        for name, value in self.state.items():
            value.copy_(spread_like(value, state[name]))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averaged weights stand in the module, meanwhile."""
        current = _copy(self.module)
        self.module.load_state_dict(self.state)
        try:
            yield
        finally:
            self.module.load_state_dict(current)


def spread_like(like: Tensor, whole: Tensor) -> Tensor:
    """The part of a whole tensor that belongs here, where `like` is spread over processes, all of which call this."""
    if isinstance(like, DTensor) and like.shape == whole.shape:
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
    return whole


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _local(value: Tensor) -> Tensor:
    """The part of a sharded tensor that is here, which shares its memory."""
    return value.to_local() if isinstance(value, DTensor) else value
