"""Algorithm 3 over a batch, with fixed or complexity-aware numbers of steps: `Sampler.run` is the loop.

Axes: token maps are [B, t, h, w, E]; a sample's indices are [t, h, w, C].

The batch never waits for its slowest sample: the place of a finished one goes to the next.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grn.errors import UsageError
from grn.networks.condition import Condition
from grn.networks.contract import GeneratorNetwork, Shape
from grn.refine.config import SamplerConfig
from grn.refine.guidance import guide_rows, shares_a_pass
from grn.refine.known import Known
from grn.refine.places import Places
from grn.refine.replay import Replay
from grn.refine.step import StepView, confidence_of, draw, mix, select_random

Callback = Callable[[StepView], None]


@dataclass(frozen=True)
class Sample:
    """A finished sample, number `number` of its batch.

    indices: int64 [t, h, w, C], where the network computes. steps: those it took. entropy: H at step t0 + 1, None where
    the run has none.
    """

    number: int
    indices: Tensor
    steps: int
    entropy: float | None


class Sampler:
    """Draws samples from a generator network. `passes` counts the rows sent through it, as [conditional, unconditional].

    Raises UsageError where the network cannot be sampled so.
    """

    def __init__(self, network: GeneratorNetwork, config: SamplerConfig) -> None:
        if network.config.target == "flip" and config.fill == "mask":
            raise UsageError("a model of relative bits has nothing to flip in a masked element; leave fill at refine")
        self.network, self.config = network, config
        self.passes = [0, 0]

    @torch.inference_mode()
    def run(
        self,
        condition: Condition,
        null: Condition | None,
        shape: Shape | Sequence[Shape],
        *,
        seed: int | Sequence[int] = 0,
        batch_size: int = 16,
        callback: Callback | None = None,
        known: Known | None = None,
    ) -> Iterator[Sample]:
        """Draw one sample for each row of `condition`, yielded as they finish.

        null: one row, the unconditional condition; may be None where guidance is off. shape: (t, h, w) of the token map, or
        one for each sample; different ones share a packed sequence. seed: what decides each sample's randomness, by default
        seed, seed + 1, ... known: what all of them start from, by default nothing. Raises UsageError if guidance lacks a null,
        or for shapes that the network cannot draw.
        """
        if self.config.guidance != 1 and null is None:
            raise UsageError("guidance needs an unconditional condition; give one or set guidance to 1")
        network, config = self.network, self.config
        weights = next(network.parameters())
        together = shares_a_pass(weights.device, weights.dtype)
        forward = Replay(network)
        places = Places(network, config, condition, null, _for_each(shape, condition), _seeds(seed, condition), known)
        while places.fill(batch_size):
            # Equation 5: p(Y) = Phi(F, cond) of every state; and without its condition where that guides it.
            try:
                outputs = [
                    forward(maps, told, prepared) if isinstance(maps, Tensor) else network.packed(maps, told, prepared)
                    for maps, told, prepared in places.passes(together)
                ]
            except torch.OutOfMemoryError:
                if not together:
                    raise
                together = False  # one branch after the other
                continue
            for batch, conditional, unconditional, guided in places.split(outputs):
                self.passes[0], self.passes[1] = self.passes[0] + len(batch.runs), self.passes[1] + len(guided)
                batch.choose_steps(conditional)  # equations 8 and 9
                logits = conditional
                if unconditional is not None:
                    logits = guide_rows(conditional, unconditional, guided, config.guidance)
                for_drawing, for_selecting = batch.uniforms()
                temperature = batch.temperature
                drawn = draw(logits, temperature, for_drawing)
                if config.selection == "random":
                    chosen = select_random(batch.chance, for_selecting)  # equation 6
                else:
                    chosen = batch.select_confident(confidence_of(drawn, logits, temperature))
                if network.config.target == "flip":
                    drawn = drawn ^ batch.state
                prediction = torch.where(batch.held, batch.prediction, drawn)
                selection = batch.held | chosen
                state = mix(prediction, selection, batch.random_map)  # equation 4
                batch.advance(prediction, selection, state)
                if callback is not None:
                    for view in batch.views():
                        callback(view)
            for run, prediction in places.finished():
                indices = network.config.elements_to_indices(prediction)
                entropy = None if run.entropy is None else float(run.entropy)
                yield Sample(run.number, indices, run.step - run.first, entropy)


def _for_each(shape: Shape | Sequence[Shape], condition: Condition) -> list[Shape]:
    """One shape for each sample."""
    shapes: list[Shape] = [shape] * len(condition) if isinstance(shape[0], int) else list(shape)  # type: ignore
    assert len(shapes) == len(condition), f"{len(shapes)} shapes for {len(condition)} samples"
    return shapes


def _seeds(seed: int | Sequence[int], condition: Condition) -> list[int]:
    """One seed for each sample."""
    seeds = [seed + number for number in range(len(condition))] if isinstance(seed, int) else list(seed)
    assert len(seeds) == len(condition), f"{len(seeds)} seeds for {len(condition)} samples"
    return seeds
