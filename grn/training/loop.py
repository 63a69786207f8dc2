"""The training loop, the same for tokenizers and generators.

A `Task` knows the networks, how a batch is read and what a step does; the loop owns order, time, devices, checkpoints and stopping.
Every random choice of a step is drawn from (seed, step), so resuming at a step continues exactly. Under torchrun each process takes its
share of every batch, gradients are averaged, and the first process alone writes.
"""

import itertools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from grn.data.packing import collate
from grn.errors import ConfigError, GrnError, ModelMismatchError, TrainingDivergedError
from grn.training import processes
from grn.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from grn.training.config import OptimizerConfig, RunConfig

_LOSS = "the loss itself"
Slot = tuple[int, int, int]  # (step, place in the batch, number of the sample)


class Task(Protocol):
    """What is trained."""

    modules: nn.ModuleDict
    """Every module with trained weights; "model" is the one that the run is for and that EMA follows."""

    def order(self, first: int, count: int) -> list[int]:
        """The numbers of the samples at `count` places of the run's endless order, from place `first`."""

    def read(self, slot: Slot) -> Any:
        """One example, augmented with randomness from its slot alone; may run in a worker process."""

    def optimizers(self) -> dict[str, list[torch.optim.Optimizer]]:
        """By the name of the loss that they lower."""

    def step(self, batch: Any, step: int) -> Iterator[tuple[str, Tensor, dict[str, float]]]:
        """For each loss in turn: its name, its value, and figures for the log."""

    def sheet(self, step: int, path: Path) -> None:
        """Draw what the (averaged) model does now."""

    def export(self, folder: Path) -> None:
        """Write the (averaged) model as a model folder."""


class Stopped(Exception):  # noqa: N818 - not an error
    """A signal asked the run to stop; its checkpoint is written."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Loop:
    """Runs a task to `config.steps`, from its newest checkpoint if there is one.

    report(step, figures) is called every `log_every` steps with losses, samples/s and seconds left.
    """

    def __init__(
        self,
        task: Task,
        config: RunConfig,
        optimizer: OptimizerConfig,
        folder: Path,
        accelerator: Accelerator,
        workers: int = 0,
    ) -> None:
        """Raises ConfigError where the batch cannot be shared equally."""
        if config.batch_size % (accelerator.num_processes * config.accumulate):
            raise ConfigError(
                f"run.batch_size {config.batch_size} is not a multiple of the {accelerator.num_processes} processes "
                f"times run.accumulate {config.accumulate}; change one of them"
            )
        self.task, self.config, self.optimizer_config, self.folder = task, config, optimizer, folder
        self.workers = workers
        self.accelerator, self.device = accelerator, accelerator.device
        task.modules.to(self.device)
        self.optimizers = task.optimizers()
        self.ema = _copy(task.modules["model"]) if config.ema else None
        self.step = 0
        self._signal: int | None = None

    def resume(self, path: Path | None = None) -> list[str]:
        """Continue from `path` or from the newest intact checkpoint; returns what was wrong with newer ones."""
        problems: list[str] = []
        if path is None:
            path, problems = newest_checkpoint(self.folder)
            if path is None:
                return []
        self.step, weights, ema, optimizers = load_checkpoint(path)
        try:
            self.task.modules.load_state_dict(weights)
            if self.ema is not None:
                if ema is None:
                    raise KeyError("ema.safetensors")
                for name, value in self.ema.items():
                    value.copy_(ema[name])
            for name, group in self.optimizers.items():
                for optimizer, state in zip(group, optimizers[name], strict=True):
                    optimizer.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError) as error:
            raise ModelMismatchError(
                f"{path}: does not fit this recipe ({str(error).splitlines()[0]}); use the recipe it was made with"
            ) from error
        return problems

    def run(self, report: Callable[[int, dict[str, float]], None], stop_after: float = math.inf) -> None:
        """Train until `config.steps`, a signal (Stopped) or `stop_after` seconds; a checkpoint is written in each case."""
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        end = time.monotonic() + stop_after
        try:
            self._run(report, end)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _run(self, report: Callable[[int, dict[str, float]], None], end: float) -> None:
        config = self.config
        self._check_start()
        figures = _Means(config.batch_size, config.steps)
        for parts in self._batches():
            rate = self._learning_rate()
            losses = self._update(parts, rate)
            self.step += 1
            figures.add(losses)
            if self.step % config.log_every == 0 or self.step == config.steps:
                row = {"step": self.step, **processes.mean(self.accelerator, figures.take(self.step)), "lr": rate}
                if self.accelerator.is_main_process:
                    self._log(row)
                    report(self.step, row)
            # A signal may reach one process only, and clocks differ: all must leave at the same step.
            signum, late = processes.largest(self.accelerator, [self._signal or 0, time.monotonic() > end])
            last = self.step == config.steps or bool(signum) or bool(late)
            if self.accelerator.is_main_process:
                if self.step % config.save_every == 0 or last:
                    self.save()
                if self.step % config.sheet_every == 0 or self.step == config.steps:
                    self._with_average(
                        lambda: self.task.sheet(self.step, self.folder / "samples" / f"{self.step:08d}.png")
                    )
            if last:
                self.accelerator.wait_for_everyone()  # who has left may look for what the first process writes
            if signum:
                raise Stopped(signum)
            if last:
                break
        if self.accelerator.is_main_process:
            self._with_average(lambda: self.task.export(self.folder / "final"))
        self.accelerator.wait_for_everyone()

    def _check_start(self) -> None:
        """All processes must have resumed from the same checkpoint."""
        newest, minus_oldest = processes.largest(self.accelerator, [self.step, -self.step])
        if newest != -minus_oldest:
            raise ConfigError(
                f"{self.folder}: processes start from steps {-minus_oldest} to {newest}; give all machines the same run folder"
            )

    def save(self) -> Path:
        states = {name: [optimizer.state_dict() for optimizer in group] for name, group in self.optimizers.items()}
        return save_checkpoint(
            self.folder, self.step, self.task.modules.state_dict(), self.ema, states, self.config.keep
        )

    def _batches(self) -> Iterator[list[Any]]:
        """This process's share of every step's batch, in parts."""
        loader: DataLoader[Any] = DataLoader(
            _Reader(self.task), batch_sampler=_Slots(self), num_workers=self.workers, collate_fn=_collate
        )
        parts = []
        for part in loader:
            if isinstance(part, GrnError):
                raise part
            parts.append(_to(part, self.device))
            if len(parts) == self.config.accumulate:
                yield parts
                parts = []

    def slots(self) -> Iterator[list[Slot]]:
        """The slots of every part of every step still to do; each process takes its share."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        for step in range(self.step, self.config.steps):
            numbers = self.task.order(step * self.config.batch_size, self.config.batch_size)
            mine = [(step, place, numbers[place]) for place in range(rank, self.config.batch_size, world)]
            size = len(mine) // self.config.accumulate
            yield from (mine[start : start + size] for start in range(0, len(mine), size))

    def _update(self, parts: list[Any], rate: float) -> dict[str, float]:
        """One step on a batch in parts: for each loss in turn, the gradients of all parts, then the optimizers."""
        row: dict[str, float] = {}
        self.task.modules.train()
        running = [self.task.step(part, self.step) for part in parts]
        while (name := self._backward(running, row)) is not None:
            groups = [group for optimizer in self.optimizers[name] for group in optimizer.param_groups]
            parameters = [p for group in groups for p in group["params"] if p.grad is not None]
            processes.average_gradients(self.accelerator, [p.grad for p in parameters if p.grad is not None])
            norm = float(nn.utils.clip_grad_norm_(parameters, self.optimizer_config.clip))
            loss = processes.mean(self.accelerator, {"loss": row.pop(_LOSS)})["loss"]
            self._check_finite(name, loss, norm)
            for group in groups:
                group["lr"] = group.setdefault("base_lr", group["lr"]) * rate
            for optimizer in self.optimizers[name]:
                optimizer.step()
            row[f"{name}_norm"] = norm
        self._follow()
        return row

    def _backward(
        self, running: list[Iterator[tuple[str, Tensor, dict[str, float]]]], row: dict[str, float]
    ) -> str | None:
        """Gradients of the next loss of every part; its name, or None after the last. Figures are added to the row."""
        found = None
        for step in running:
            for name, loss, figures in itertools.islice(step, 1):
                if found is None:
                    for optimizer in self.optimizers[name]:
                        optimizer.zero_grad(set_to_none=True)
                found = name
                (loss / len(running)).backward()
                for figure, value in {**figures, _LOSS: float(loss.detach())}.items():
                    row[figure] = row.get(figure, 0.0) + value / len(running)
        return found

    def _follow(self) -> None:
        """Move the average towards the weights."""
        if self.ema is None:
            return
        # A young average follows faster, or it would drag the random start along.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        current = self.task.modules["model"].state_dict()
        floats = [n for n in self.ema if self.ema[n].is_floating_point()]
        torch._foreach_lerp_([self.ema[n] for n in floats], [current[n].detach() for n in floats], 1 - decay)

    def _check_finite(self, name: str, loss: float, norm: float) -> None:
        """Both are the same in all processes, so all of them stop here or none."""
        if not math.isfinite(norm) or not math.isfinite(loss):
            rescue = self.save() if self.accelerator.is_main_process else self.folder
            raise TrainingDivergedError(
                f"step {self.step}: {name} loss {loss:g}, gradient norm {norm:g}; the weights before it are in {rescue}; "
                "lower optimizer.lr or look at this step's samples"
            )

    def _learning_rate(self) -> float:
        """Share of the full rate: linear warm-up, constant, linear decay at the end."""
        config, step = self.optimizer_config, self.step
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        left = (self.config.steps - step) / config.decay_steps if config.decay_steps else 1.0
        return warm * (config.final_lr + (1 - config.final_lr) * min(1.0, left))

    def _with_average(self, act: Callable[[], None]) -> None:
        """Run `act` with the averaged weights in the model."""
        model = self.task.modules["model"]
        model.eval()
        if self.ema is None:
            act()
            return
        current = _copy(model)
        model.load_state_dict(self.ema)
        try:
            act()
        finally:
            model.load_state_dict(current)

    def _log(self, row: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({k: round(v, 6) for k, v in row.items()}) + "\n")

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + signum)  # asked twice: leave now
        self._signal = signum


class _Reader(torch.utils.data.Dataset):
    def __init__(self, task: Task) -> None:
        self.task = task

    def __getitem__(self, slot: Slot) -> Any:
        try:
            return self.task.read(slot)
        except GrnError as error:
            return error  # raised in a worker process, its message would grow a traceback


def _collate(examples: list[Any]) -> Any:
    """A batch, or the first error among its examples."""
    return next((e for e in examples if isinstance(e, GrnError)), None) or collate(examples)


class _Slots:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def __iter__(self) -> Iterator[list[Slot]]:
        return self.loop.slots()


class _Means:
    """Means of the figures since they were last taken, and the speed."""

    def __init__(self, batch_size: int, steps: int) -> None:
        self.batch_size, self.steps = batch_size, steps
        self.rows: list[dict[str, float]] = []
        self.since = time.monotonic()

    def add(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def take(self, step: int) -> dict[str, float]:
        now = time.monotonic()
        seconds, count = max(now - self.since, 1e-9), len(self.rows)
        names = dict.fromkeys(name for row in self.rows for name in row)
        means = {n: sum(values) / len(values) for n in names if (values := [row[n] for row in self.rows if n in row])}
        self.rows, self.since = [], now
        speed = count * self.batch_size / seconds
        return {**means, "samples_per_s": speed, "seconds_left": (self.steps - step) * seconds / count}


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    if isinstance(batch, Iterable) and not isinstance(batch, str):
        return [_to(value, device) for value in batch]
    return batch
