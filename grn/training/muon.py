"""Muon, in the number format that the device multiplies fast.

Muon moves a matrix by its momentum with all singular values near 1 (Jordan et al. 2024). torch's own makes them so in bfloat16 whatever the device,
which a processor without instructions for it takes 15 times as long for as for float32: more than all else of a small network's step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from grn.devices import fast_type


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, scaled as in "Muon is scalable for LLM training": one learning rate and decay suit it and AdamW."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        """weights: matrices."""
        super().__init__(weights, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights that have gradients."""
        weights = [weight for group in self.param_groups for weight in group["params"]]
        if all(fast_type(weight.device) == torch.bfloat16 for weight in weights):
            return super().step(closure)
        assert closure is None, "no optimizer here is given one"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return None

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        grad, state, momentum = weight.grad, self.state[weight], group["momentum"]
        assert grad is not None, "a weight that is moved has a gradient"
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        past = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        towards = grad.lerp(past, momentum) if group["nesterov"] else past
        moved = levelled(towards, group["ns_coefficients"], group["ns_steps"], group["eps"])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(moved, alpha=group["lr"] * 0.2 * max(weight.shape) ** 0.5)


def levelled(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, least: float) -> Tensor:
    """The matrix with each singular value s changed `steps` times to a s + b s^3 + c s^5, from where their squares sum up to 1.

    coefficients: a, b and c, for which they come near 1. least: a norm that the matrix's own is not taken below.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    flat = matrix.T if tall else matrix  # its product with itself is the smaller one
    flat = flat / flat.norm().clamp(min=least)
    for _ in range(steps):
        squares = flat @ flat.T
        flat = a * flat + (b * squares + c * squares @ squares) @ flat
    return flat.T if tall else flat
