"""The samples that are on their way: where each stands in its schedule, and their maps on the network's device.

Axes: maps of a batch are [B, t, h, w, E]. All samples of one shape are one batch.

Every sample has a random generator of its own, on the CPU, seeded from its seed alone: it comes out the same alone or in
any company, on any device. What the steps to come will need of it is drawn ahead and sent in one piece; nothing comes
back until a sample is finished, but the one number by which a complexity-aware sample chooses its steps.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from grn.devices import send
from grn.networks.contract import Shape
from grn.refine.config import SamplerConfig
from grn.refine.guidance import is_guided
from grn.refine.known import Known
from grn.refine.schedule import PACE, adaptive_steps, cooled_temperature, cosine_ratio, normalised_entropy, progress
from grn.refine.step import MASK, StepView, mix, select_confident, select_random

AHEAD_BYTES = 1 << 24
"""Of random numbers that are drawn ahead for a batch."""
_ROUNDING = 1e-9  # 1 - 0.9 is meant to be 0.1


class Run:
    """One sample's randomness and place in its schedule."""

    def __init__(self, number: int, seed: int, config: SamplerConfig, start: float, share: float) -> None:
        """start: progress to start from. share: of its elements, how many are given and stay."""
        self.number, self.config, self.share = number, config, share
        self.generator = torch.Generator().manual_seed(_mixed(seed))
        # Equation 9 holds for the entropy after the warm-up: a run that starts beyond it has nothing to choose T by.
        self.adaptive = config.adaptive and start <= config.warmup / PACE + _ROUNDING
        self.total = config.tmax if self.adaptive else config.steps
        passed = start * (PACE if self.adaptive else self.total) + _ROUNDING
        self.first = self.step = min(int(passed), self.total - 1)
        self.entropy: Tensor | float | None = None

    def scheduled(self, step: int) -> float:
        """l_t: the selection ratio of the state that `step` sees, among the elements that are not given."""
        warmup = self.config.warmup if self.adaptive else None
        done = progress(step, self.total, warmup)
        if self.config.curve == "identity":
            return done
        total = PACE if warmup is not None and step <= warmup else self.total
        return cosine_ratio(done, total, self.config.curve_factor)

    @property
    def told(self) -> float:
        """The scheduled ratio as the network is told it: by default of the whole map, as in its training."""
        scheduled = self.scheduled(self.step)
        return scheduled if self.config.ratio_of == "drawn" else self.share + (1 - self.share) * scheduled

    @property
    def chance(self) -> float:
        """The probability of selecting an element that is not held, so that the next state has its ratio."""
        now, following = self.scheduled(self.step), self.scheduled(self.step + 1)
        if self.config.fill == "refine":
            return following
        return (following - now) / (1 - now) if now < 1 else 1.0

    @property
    def temperature(self) -> float:
        """Temperature tau of this step."""
        config = self.config
        if not self.adaptive or self.step < config.warmup:
            return config.temperature
        return cooled_temperature(config.temperature, self.total, config.cooling, config.cooling_from)

    @property
    def guided(self) -> bool:
        """Whether guidance counts in this step."""
        config = self.config
        return is_guided(self.scheduled(self.step), config.guidance, (config.guidance_start, config.guidance_end))


class Batch:
    """All samples of one shape, their maps in one tensor each."""

    def __init__(
        self,
        shape: Shape,
        elements: int,
        classes: int,
        config: SamplerConfig,
        known: Known | None,
        device: torch.device,
    ) -> None:
        self.config, self.classes, self.device = config, classes, device
        self.full = (*shape, elements)
        self.known = Known.nothing(self.full) if known is None else known
        self.given = self.known.tokens[None].to(device)
        self.fixed = self.known.fixed[None].to(device)
        self.share, self.free = self.known.share, int((~self.known.fixed).sum())
        self.runs: list[Run] = []
        empty = torch.empty(0, *self.full, dtype=torch.int64, device=device)
        self.random_map = self.prediction = self.state = empty
        self.selection = self._before = empty.bool()
        self._ahead = torch.empty(0, 0, *self.full, device=device)  # [draws to come, B, t, h, w, E]

    def join(self, samples: Sequence[tuple[int, int]]) -> list[Run]:
        """Add samples, by (number, seed), that begin now."""
        runs = [Run(number, seed, self.config, self.known.start, self.share) for number, seed in samples]
        noise = torch.stack([torch.randint(self.classes, self.full, generator=run.generator) for run in runs])
        noise = send(noise.to(torch.uint8), self.device).long()  # of at most 256 classes
        random_map = torch.full_like(noise, MASK) if self.config.fill == "mask" else noise
        selection = self.fixed.expand(noise.shape)
        if runs[0].step:  # all start from the same
            uniforms = torch.stack([torch.rand(self.full, generator=run.generator) for run in runs])
            chosen = select_random(runs[0].scheduled(runs[0].step), send(uniforms, self.device))
            selection = selection | chosen
        waiting = [torch.rand(len(self._ahead), *self.full, generator=run.generator) for run in runs]
        self._ahead = torch.cat([self._ahead, send(torch.stack(waiting, 1), self.device)], 1)
        self.random_map = torch.cat([self.random_map, random_map])
        self.selection = torch.cat([self.selection, selection])
        self.prediction = torch.cat([self.prediction, torch.where(selection, self.given, noise)])
        self.state = torch.cat([self.state, mix(self.given, selection, random_map)])
        self.runs += runs
        return runs

    def keep(self, rows: list[int]) -> None:
        """Drop all samples but these."""
        self.runs = [self.runs[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        for name in ("random_map", "selection", "prediction", "state"):
            setattr(self, name, getattr(self, name)[index])
        self._ahead = self._ahead[:, index]

    def told(self) -> Tensor:
        """The selection ratio of each state as the network is told it, float32 [B]."""
        if self.config.ratio_shown == "scheduled":
            return self._spread([run.told for run in self.runs])
        if self.config.ratio_of == "map":
            return self.selection.flatten(1).sum(1) / self.selection[0].numel()
        return (self.selection & ~self.fixed).flatten(1).sum(1) / self.free

    def choose_steps(self, conditional: Tensor) -> None:
        """Equations 8 and 9: note H of the samples at step t0 + 1, and let the complexity-aware ones choose T by it."""
        due = [row for row, run in enumerate(self.runs) if run.step == self.config.warmup]
        free = ~self.fixed if self.share else None
        for row in due:
            # Each by itself, so that it does not round by the company that it is in.
            run, entropy = self.runs[row], normalised_entropy(conditional[row : row + 1], free)[0]
            run.entropy = entropy
            if run.adaptive:
                config, run.entropy = self.config, float(entropy)
                run.total = adaptive_steps(run.entropy, config.k, config.b, (config.tmin, config.tmax))

    def uniforms(self) -> tuple[Tensor, Tensor]:
        """Random numbers in [0, 1) for every element: one for its prediction, one for its selection."""
        if not len(self._ahead):
            steps = max(run.total - run.step for run in self.runs)
            steps = max(1, min(steps, AHEAD_BYTES // (8 * self.state.numel())))
            drawn = torch.empty(2 * steps, len(self.runs), *self.full, pin_memory=self.device.type == "cuda")
            for row, run in enumerate(self.runs):
                drawn[:, row].uniform_(generator=run.generator)
            self._ahead = send(drawn, self.device)
        drawing, selecting, self._ahead = self._ahead[0], self._ahead[1], self._ahead[2:]
        return drawing, selecting

    @property
    def temperature(self) -> float | Tensor:
        """Temperature tau of each sample's step."""
        return self._by_sample([run.temperature for run in self.runs], 6)

    @property
    def chance(self) -> float | Tensor:
        """The probability of each sample's elements to be selected."""
        return self._by_sample([run.chance for run in self.runs], 5)

    @property
    def held(self) -> Tensor:
        """Elements that stay as they are: the given ones; in mask mode, all that were ever selected."""
        return self.selection if self.config.fill == "mask" else self.fixed

    def select_confident(self, confidence: Tensor) -> Tensor:
        """The surest elements of each sample, as many as its next state shows. In mask mode those that it shows stay among them."""
        free = ~self.fixed
        if self.config.fill == "mask":
            confidence = torch.where(self.selection, 2.0, confidence)
        counts = [round(run.scheduled(run.step + 1) * self.free) for run in self.runs]
        rows = zip(counts, confidence, strict=True)
        return torch.stack([select_confident(count, sure, free[0]) for count, sure in rows])

    def advance(self, prediction: Tensor, selection: Tensor, state: Tensor) -> None:
        """Move on to Y, S and F of the next step."""
        self._before, self.prediction, self.selection, self.state = self.selection, prediction, selection, state
        for run in self.runs:
            run.step += 1

    def views(self) -> Iterator[StepView]:
        """What a callback sees of the step that was just taken."""
        maps = zip(self.prediction, self.state, self.selection, self._before, strict=True)
        for run, one in zip(self.runs, maps, strict=True):
            yield StepView(run.number, run.step, run.total, run.scheduled(run.step), *one)

    def _spread(self, values: Sequence[float]) -> Tensor:
        """One number a sample, float32 [B]; nothing is sent where all are alike."""
        if len(set(values)) == 1:
            return torch.full((len(values),), values[0], dtype=torch.float32, device=self.device)
        return send(torch.tensor(values, dtype=torch.float32), self.device)

    def _by_sample(self, values: Sequence[float], dims: int) -> float | Tensor:
        """One number a sample, to be broadcast over maps of so many axes; a plain one where all are alike."""
        return values[0] if len(set(values)) == 1 else self._spread(values).view(-1, *[1] * (dims - 1))


def _mixed(seed: int) -> int:
    """The state of a generator for a seed of any size: 63 well mixed bits."""
    assert seed >= 0, f"seed {seed} is negative"
    state = np.random.SeedSequence((seed % 2**32, 0, seed // 2**32)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
