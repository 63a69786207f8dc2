"""The refinement loop over a batch (algorithm 3), with fixed or complexity-aware numbers of steps.

Axes: token maps [t, h, w, E] a sample, stacked to [B, t, h, w, E]; the result's indices are [t, h, w, C].

Every sample has a random generator of its own, on the CPU, seeded from (seed, its number): it comes out the same alone or in any batch. The
batch never waits for its slowest sample: the place of a finished one goes to the next.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grn.errors import UsageError
from grn.refine.config import SamplerConfig
from grn.refine.guidance import guide, is_guided
from grn.refine.known import Known
from grn.refine.schedule import PACE, adaptive_steps, cosine_ratio, normalised_entropy, progress
from grn.refine.step import MASK, StepView, draw, mix, select_confident, select_random

Condition = Any  # ClassCondition or TextCondition
Callback = Callable[[StepView], None]
Shape = tuple[int, int, int]
_ROUNDING = 1e-9  # 1 - 0.9 is meant to be 0.1


@dataclass(frozen=True)
class Sample:
    """A finished sample, number `number` of its batch. steps: those it took. entropy: H at step t0 + 1, None where the run has none."""

    number: int
    indices: Tensor
    steps: int
    entropy: float | None


class _Run:
    """One sample on its way: its own randomness, state and place in its schedule."""

    def __init__(self, number: int, known: Known, classes: int, config: SamplerConfig, key: tuple[int, int]) -> None:
        self.number, self.config, self.known, self.share = number, config, known, known.share
        self.generator = torch.Generator().manual_seed(_mixed(key))
        noise = torch.randint(classes, known.tokens.shape, generator=self.generator)
        self.random_map = torch.full_like(noise, MASK) if config.fill == "mask" else noise
        # Equation 8 holds for the entropy after the warm-up: a run that starts beyond it has nothing to choose T by.
        self.adaptive = config.adaptive and known.start <= config.warmup / PACE + _ROUNDING
        self.total = config.tmax if self.adaptive else config.steps
        passed = known.start * (PACE if self.adaptive else self.total) + _ROUNDING
        self.first = self.step = min(int(passed), self.total - 1)
        self.entropy: float | None = None
        self.selection = known.fixed
        if self.step:
            self.selection = self.selection | select_random(self.scheduled(self.step), self.uniforms())
        self.drawing = noise
        self.state = mix(known.tokens, self.selection, self.random_map)

    def scheduled(self, step: int) -> float:
        """Selection ratio of the state that `step` sees, among the elements that are not fixed."""
        warmup = self.config.warmup if self.adaptive else None
        done = progress(step, self.total, warmup)
        if self.config.curve == "identity":
            return done
        return cosine_ratio(done, PACE if warmup is not None and step <= warmup else self.total)

    @property
    def ratio(self) -> float:
        """What the network is told: of all elements, as in its training."""
        if self.config.ratio_shown == "kept":
            return float(self.selection.float().mean())
        return self.share + (1 - self.share) * self.scheduled(self.step)

    @property
    def guided(self) -> bool:
        config = self.config
        return is_guided(self.scheduled(self.step), config.guidance, (config.guidance_start, config.guidance_end))

    def uniforms(self) -> Tensor:
        return torch.rand(self.random_map.shape, generator=self.generator)

    def measure(self, entropy: float) -> None:
        """Take H at step t0 + 1 and choose T by it."""
        if self.step == self.config.warmup:
            self.entropy = entropy
            if self.adaptive:
                self.total = adaptive_steps(entropy, self.config.k, self.config.b, (self.config.tmin, self.config.tmax))

    def advance(self, drawing: Tensor, confidence: Tensor | None, callback: Callback | None) -> None:
        """Select among the elements just drawn and mix the next state."""
        fixed, free = self.known.fixed, ~self.known.fixed
        self.drawing = drawing = torch.where(fixed, self.known.tokens, drawing)
        ratio, before = self.scheduled(self.step + 1), self.selection
        uniforms = self.uniforms()
        self.selection = fixed | (
            select_random(ratio, uniforms) if confidence is None else select_confident(ratio, confidence, free)
        )
        self.state = mix(drawing, self.selection, self.random_map)
        self.step += 1
        if callback is not None:
            now = self.selection
            callback(
                StepView(
                    self.number,
                    self.step,
                    self.total,
                    ratio,
                    drawing,
                    self.state,
                    now & ~before,
                    now & before,
                    before & ~now,
                )
            )


def _mixed(key: tuple[int, int]) -> int:
    """A seed of 63 bits for (seed, number). Numbers fill one word, so that a seed of several words is not another one's later number."""
    seed, number = key
    assert seed >= 0, f"seed {seed} is negative"
    assert 0 <= number < 2**32, f"sample number {number} is out of range"
    state = np.random.SeedSequence((seed % 2**32, number, seed // 2**32)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class Sampler:
    """Draws samples from a generator. `passes` counts the rows sent through the network, as [conditional, unconditional].

    Raises UsageError where the model cannot be sampled so.
    """

    def __init__(self, model: nn.Module, config: SamplerConfig) -> None:
        network: Any = model
        if network.config.target == "flip" and config.fill == "mask":
            raise UsageError("a model of relative bits has nothing to flip in a masked element; leave fill at refine")
        self.model, self.config = network, config
        self.passes = [0, 0]

    @torch.inference_mode()
    def run(
        self,
        condition: Condition,
        null: Condition | None,
        shape: Shape | Sequence[Shape],
        *,
        seed: int = 0,
        keys: Sequence[tuple[int, int]] | None = None,
        batch_size: int = 16,
        callback: Callback | None = None,
        known: Known | None = None,
    ) -> Iterator[Sample]:
        """Draw one sample for each row of `condition`, yielded as they finish.

        null: one row, the unconditional condition; may be None where guidance is off. shape: (t, h, w) of the token map, or one for each
        sample; different ones share a packed sequence. keys: what decides each sample's randomness, by default (seed, its number). known:
        what all of them start from, by default nothing. Raises UsageError if guidance lacks a null.
        """
        if self.config.guidance != 1 and null is None:
            raise UsageError("guidance needs an unconditional condition; give one or set guidance to 1")
        config = self.model.config
        shapes: list[Any] = [shape] * len(condition) if isinstance(shape[0], int) else list(shape)
        assert len(shapes) == len(condition), f"{len(shapes)} shapes for {len(condition)} samples"
        found = {(*one, config.elements) for one in shapes}
        assert known is None or found <= {tuple(known.tokens.shape)}, (
            f"known {tuple(known.tokens.shape)} for maps of {found}"
        )
        keys = [(seed, row) for row in range(len(condition))] if keys is None else keys
        assert len(keys) == len(condition), f"{len(keys)} keys for {len(condition)} samples"
        assert batch_size >= 1, f"a batch of {batch_size} samples"
        # A run's maps are made when it joins: thousands may wait.
        waiting = list(enumerate(keys))[::-1]
        null_prepared = self.model.prepare(null) if null is not None and self.config.guidance != 1 else None
        active: list[_Run] = []
        prepared: Any = None
        while active or waiting:
            joining = [waiting.pop() for _ in range(min(batch_size - len(active), len(waiting)))]
            if joining:
                new = self.model.prepare(condition.rows(torch.tensor([row for row, _ in joining])))
                prepared = new if prepared is None else type(new).cat([prepared, new])
                for row, key in joining:
                    start = Known.nothing((*shapes[row], config.elements)) if known is None else known
                    active.append(_Run(row, start, config.classes, self.config, key))
            self._step(active, prepared, null_prepared, callback)
            left = [i for i, run in enumerate(active) if run.step < run.total]
            if len(left) < len(active):
                yield from (self._finish(run) for run in active if run.step >= run.total)
                prepared = prepared.rows(torch.tensor(left)) if left else None
                active = [active[i] for i in left]

    def _step(self, active: list[_Run], prepared: Any, null_prepared: Any, callback: Callback | None) -> None:
        """One network pass for all active samples, a second one for those that are guided."""
        device = next(self.model.parameters()).device
        states = [run.state.to(device) for run in active]
        ratios = torch.tensor([run.ratio for run in active], device=device)
        logits = self._logits(states, ratios, prepared)
        self.passes[0] += len(active)
        for run, one in zip(active, logits, strict=True):
            if run.step == self.config.warmup:
                run.measure(float(normalised_entropy(one[None], ~run.known.fixed[None].to(device))))
        guided = [i for i, run in enumerate(active) if run.guided]
        if guided:
            rows = null_prepared.rows(torch.zeros(len(guided), dtype=torch.int64, device=device))
            unconditional = self._logits([states[i] for i in guided], ratios[guided], rows)
            self.passes[1] += len(guided)
            for i, other in zip(guided, unconditional, strict=True):
                logits[i] = guide(logits[i], other, self.config.guidance)
        for shape in dict.fromkeys(state.shape for state in states):
            self._advance(
                [i for i, state in enumerate(states) if state.shape == shape], active, states, logits, callback
            )

    def _advance(
        self, rows: list[int], active: list[_Run], states: list[Tensor], logits: list[Tensor], callback: Callback | None
    ) -> None:
        """Draw the elements of samples of one shape, all at once, and move each of them on."""
        uniforms = torch.stack([active[i].uniforms() for i in rows]).to(states[rows[0]].device)
        drawn, confidence = draw(torch.stack([logits[i] for i in rows]), self.config.temperature, uniforms)
        if self.model.config.target == "flip":
            drawn = drawn ^ torch.stack([states[i] for i in rows])
        drawn, confidence = drawn.cpu(), confidence.cpu()
        for i, elements, sure in zip(rows, drawn, confidence, strict=True):
            active[i].advance(elements, sure if self.config.selection == "confidence" else None, callback)

    def _logits(self, states: list[Tensor], ratios: Tensor, prepared: Any) -> list[Tensor]:
        if len({state.shape for state in states}) > 1:
            return list(self.model.packed(states, ratios, prepared))
        return list(self.model(torch.stack(states), ratios, prepared))

    def _finish(self, run: _Run) -> Sample:
        indices = self.model.config.elements_to_indices(run.drawing)
        return Sample(run.number, indices, run.step - run.first, run.entropy)
