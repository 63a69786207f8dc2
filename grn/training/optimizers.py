"""Optimizers, the learning rate's course over a run, and how both go on from a checkpoint."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.tensor import DTensor

from grn.training.average import spread_like
from grn.training.config import OptimizerConfig
from grn.training.muon import Muon


class Optimizers:
    """What lowers one loss: AdamW, and Muon for the matrices inside the blocks where the recipe says so."""

    def __init__(self, module: nn.Module, config: OptimizerConfig, steps: int) -> None:
        """steps: of the whole run, at whose end the learning rate decays."""
        self.module, self.config, self.steps = module, config, steps
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        inner = {n for n, p in named.items() if p.ndim == 2 and "blocks" in n} if config.name == "muon" else set()
        self.each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [p for n, p in named.items() if n not in inner],
                lr=config.lr,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,  # one pass over weights, gradients and moments, on processors and GPUs alike
            )
        ]
        self._rates = [config.lr]
        if inner:
            matrices = [p for n, p in named.items() if n in inner]
            self.each.append(Muon(matrices, config.matrix_lr, config.weight_decay))
            self._rates.append(config.matrix_lr)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Everything that is optimized here."""
        return [p for optimizer in self.each for group in optimizer.param_groups for p in group["params"]]

    def clip(self) -> float:
        """Shorten the gradients to the norm that is allowed; returns the norm that they had."""
        parameters = [p for p in self.parameters if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def clear(self) -> None:
        """Forget the gradients."""
        for optimizer in self.each:
            optimizer.zero_grad(set_to_none=True)

    def step(self, step: int) -> None:
        """Update the weights, at the learning rate of step number `step`, counted from 0."""
        share = self.share(step)
        for optimizer, rate in zip(self.each, self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def rate(self, step: int) -> float:
        """AdamW's learning rate at a step."""
        return self.config.lr * self.share(step)

    def share(self, step: int) -> float:
        """Return the share of the full learning rate: linear warm-up, constant, linear decay at the end."""
        config = self.config
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        left = (self.steps - step) / config.decay_steps if config.decay_steps else 1.0
        return warm * (config.final_lr + (1 - config.final_lr) * min(1.0, left))

    def state(self) -> list[dict[str, Any]]:
        """Return the state of every optimizer, as torch describes it."""
        return [optimizer.state_dict() for optimizer in self.each]

    def load(self, states: Iterable[dict[str, Any]]) -> None:
        """Go on from stored moments, with the settings that the recipe has now. ValueError where they are of other weights."""
        for optimizer, state in zip(self.each, states, strict=True):
            fresh = optimizer.state_dict()["param_groups"]
            stored = state["param_groups"]
            if [len(group["params"]) for group in stored] != [len(group["params"]) for group in fresh]:
                raise ValueError("an optimizer of another number of weights")
            weights = [p for group in optimizer.param_groups for p in group["params"]]  # as torch numbers them
            moments = {
                number: {name: spread_like(weights[number], value) for name, value in own.items()}
                for number, own in state["state"].items()
            }
            # Learning rate, betas and decay stand in the groups too: the stored ones would silently replace the recipe's.
            optimizer.load_state_dict({"state": moments, "param_groups": fresh})

    def state_by_name(self) -> dict[str, Any]:
        """The moments of every weight by its name, sharded like the weights; zeros before the first step."""
        unused = [optimizer for optimizer in self.each if not optimizer.state]
        state = get_optimizer_state_dict(self.module, self.each)
        for optimizer in unused:  # asked for what it has not, an optimizer takes a first step, which is none
            for own in optimizer.state.values():
                own["step"].zero_()
        return get_optimizer_state_dict(self.module, self.each) if unused else state

    def load_by_name(self, state: dict[str, Any]) -> None:
        """As `load`, from what `state_by_name` gave in any number of processes."""
        fresh = [dict(group) for optimizer in self.each for group in optimizer.param_groups]
        set_optimizer_state_dict(self.module, self.each, state)
        groups = [group for optimizer in self.each for group in optimizer.param_groups]
        for group, settings in zip(groups, fresh, strict=True):
            group.update({name: value for name, value in settings.items() if name != "params"})
