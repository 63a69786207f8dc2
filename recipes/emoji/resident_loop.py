"""What both resident trainings share: how long they run, the learning rate, the moving average, checkpoints and the log.

Every random choice of a step is drawn from (seed, step): a run that is resumed goes on as if it had never stopped, but for a length in minutes,
whose clock counts training time alone.
"""

import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from banks import Dice
from torch import Tensor, nn

from grn.training.checkpoint import Checkpoint, Checkpoints, load_checkpoint
from grn.training.config import OptimizerConfig, RunConfig

_KEEP = 2  # checkpoints


@dataclass(frozen=True)
class Length:
    """How long a run trains: so many steps, or so many minutes of training where they are given."""

    steps: int
    minutes: float | None = None

    def done(self, step: int, seconds: float) -> float:
        """The share of the run that lies behind, 1 at its end."""
        return step / self.steps if self.minutes is None else min(1.0, seconds / (60 * self.minutes))


def share_of_rate(config: OptimizerConfig, steps: int, step: int, done: float) -> float:
    """Share of the largest learning rate at a step: warm-up by steps, then 1, then a linear fall to final_lr at the run's end.

    The fall takes the recipe's share decay_steps / steps of the whole run, however its length is measured.
    """
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    share = config.decay_steps / steps
    fallen = max(0.0, (done - (1 - share)) / share) if share else 0.0
    return warm * (1 - (1 - config.final_lr) * min(1.0, fallen))


class Run:
    """One training run in its folder.

    modules: everything that is trained; "model" is what the run is for, whose parameters the moving average follows.
    optimizers: the learning rate of a parameter group with an "initial_lr" runs its course from there, that of others stays.
    """

    def __init__(
        self, folder: Path, modules: nn.ModuleDict, optimizers: dict[str, torch.optim.Optimizer], config: RunConfig
    ) -> None:
        self.folder, self.modules, self.optimizers, self.config = folder, modules, optimizers, config
        self.average = {name: value.detach().clone() for name, value in modules["model"].state_dict().items()}
        self.step, self.seconds, self.stopped = 0, 0.0, False
        folder.mkdir(parents=True, exist_ok=True)

    def dice(self, device: torch.device) -> Dice:
        """The randomness of this step."""
        return Dice.of(self.config.seed, self.step, device)

    def follow(self) -> None:
        """Move the average towards the weights, faster in the first steps."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        state = self.modules["model"].state_dict()
        torch._foreach_lerp_(list(self.average.values()), [state[name].detach() for name in self.average], 1 - decay)

    def resume(self) -> bool:
        """Go on from the newest intact checkpoint, if there is one."""
        path, problems = Checkpoints(self.folder).newest()
        for problem in problems:
            print(f"left out: {problem}", flush=True)
        if path is None:
            return False
        stored = load_checkpoint(path)
        self.step = stored.step
        self.modules.load_state_dict(stored.weights)
        assert stored.average is not None, "resident runs keep an average"
        for name, value in self.average.items():
            value.copy_(stored.average[name])
        for name, optimizer in self.optimizers.items():
            fresh = optimizer.state_dict()["param_groups"]  # the recipe's settings of now, not of then
            optimizer.load_state_dict({**stored.optimizers[name], "param_groups": fresh})
        self.seconds = stored.optimizers["seconds"]
        return True

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        states: dict[str, object] = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        states["seconds"] = self.seconds
        checkpoint = Checkpoint(self.step, None, dict(self.modules.state_dict()), self.average, states)
        return Checkpoints(self.folder, _KEEP).save(checkpoint)

    def with_average(self, use: Callable[[nn.Module], None]) -> None:
        """Call `use` on the model while it has the averaged weights."""
        model = self.modules["model"]
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        use(model)
        model.load_state_dict(own)

    def log(self, row: dict[str, float]) -> None:
        """Print a row and append it to log.jsonl."""
        line = json.dumps({name: float(f"{value:.5g}") for name, value in row.items()})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def train(
        self,
        length: Length,
        rate: Callable[[int, float], float],
        step: Callable[[float], dict[str, Tensor]],
        save_minutes: float,
    ) -> bool:
        """Steps until the length is reached; False where a signal (SIGTERM, SIGINT) came first. Checkpoints are written in both cases.

        rate(step, done) is the share of the learning rates; step(done) computes and applies one update and returns figures for the log.
        """
        handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._train(length, rate, step, save_minutes)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _train(
        self,
        length: Length,
        rate: Callable[[int, float], float],
        step: Callable[[float], dict[str, Tensor]],
        save_minutes: float,
    ) -> bool:
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        last_save, last_log, logged = time.perf_counter(), time.perf_counter(), self.step
        while (done := length.done(self.step, self.seconds)) < 1 and not self.stopped:
            begin = time.perf_counter()
            share = rate(self.step, done)
            self._set_rates(share)
            for name, value in step(done).items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
                counts[name] = counts.get(name, 0) + 1
            self.step += 1
            self.follow()
            if self.step % self.config.log_every == 0:
                means = {
                    name: float(value) / counts[name] for name, value in sums.items()
                }  # the device is waited for here
                if not math.isfinite(sum(means.values())):
                    raise FloatingPointError(
                        f"step {self.step}: a loss is not finite; the last checkpoint is from before"
                    )
                now = time.perf_counter()
                speed = (self.step - logged) / (now - last_log)
                self.log({"step": self.step, "done": done, "steps_per_s": speed, "rate": share, **means})
                sums, counts, last_log, logged = {}, {}, now, self.step
            self.seconds += time.perf_counter() - begin
            if time.perf_counter() - last_save > 60 * save_minutes:
                self.save()
                last_save = time.perf_counter()
        self.save()
        return not self.stopped

    def _set_rates(self, share: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if "initial_lr" in group:
                    group["lr"] = share * group["initial_lr"]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
