"""The training loop, the same for tokenizers and generators.

A `Task` knows the networks, how a batch is read and what its losses are; the loop owns order, time, devices, checkpoints and stopping.
Every random choice of a step is drawn from (seed, step), so resuming at a step continues exactly. Under torchrun each process takes its
share of every batch, gradients are averaged, and the first process alone writes.
"""

import itertools
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Generic

import torch

from grn.errors import ConfigError, ModelMismatchError, TrainingDivergedError
from grn.files import display
from grn.training.average import Average, spread_like
from grn.training.checkpoint import (
    AVERAGE,
    Checkpoint,
    Checkpoints,
    is_sharded,
    load_checkpoint,
    load_shards,
    read_manifest,
)
from grn.training.distance import Distance
from grn.training.engine import Engine
from grn.training.figures import Meter, Totals, matmul_peak, means, merge, totals_of, write_row
from grn.training.loader import Part, load_parts
from grn.training.optimizers import Optimizers
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe
from grn.training.resume import changes, described, leaves, refused
from grn.training.task import B, Example, Loss, Task

Row = dict[str, float]
Recipe = TokenizerRecipe | GeneratorRecipe
_NAMED = 8  # samples that a message names
_log = logging.getLogger("grn")


class Stopped(Exception):  # noqa: N818 - not an error
    """A signal asked the run to stop; its checkpoint is written."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Loop(Generic[Example, B]):
    """Runs a task to `run.steps` of its recipe, from its newest checkpoint if there is one."""

    def __init__(self, task: Task[Example, B], recipe: Recipe, folder: Path, engine: Engine) -> None:
        """Raises ConfigError where the batch cannot be shared equally."""
        config = recipe.run
        if config.tokens_per_batch is not None:
            if config.batch_size < engine.processes:
                raise ConfigError(
                    f"run.batch_size {config.batch_size} is less than one for each of {engine.processes} processes"
                )
        elif config.batch_size % (engine.processes * config.accumulate):
            raise ConfigError(
                f"run.batch_size {config.batch_size} is not a multiple of the {engine.processes} processes "
                f"times run.accumulate {config.accumulate}; change one of them"
            )
        self.task, self.recipe, self.config, self.folder = task, recipe, config, folder
        self.engine = engine
        self.checkpoints = Checkpoints(folder, config.keep)
        engine.distribute(task.modules, task.calls, task.partly_used)
        self.optimizers = {name: Optimizers(m, task.settings(name), config.steps) for name, m in task.modules.items()}
        self.average = Average(task.modules["model"], config.ema) if config.ema else None
        self.distance = Distance(task, config.distance_pictures, engine) if config.distance_every else None
        self.step = 0
        self._bad_in_a_row = 0
        self._signal: int | None = None

    def resume(self, path: Path | None = None) -> list[str]:
        """Continue from `path` or from the newest intact checkpoint; returns what is worth knowing of it.

        That is what was wrong with newer checkpoints, and which settings are others now: they count from here on. Raises ConfigError
        for a setting that a run cannot change, ModelMismatchError for a checkpoint of other networks.
        """
        notes: list[str] = []
        if path is None:
            path, problems = self.checkpoints.newest()
            notes = [f"passed over a damaged checkpoint: {problem}" for problem in problems]
            if path is None:
                return []
        manifest = read_manifest(path)
        found = changes(manifest.recipe, self.stored_recipe()) if manifest.recipe is not None else {}
        if wrong := refused(found):
            raise ConfigError(f"{display(path)}: cannot go on with this recipe: {'; '.join(wrong)}")
        if is_sharded(manifest):
            state = self._state_by_name()
            load_shards(path, state, alone=self.engine.processes == 1)
            for name, module in self.task.modules.items():
                module.load_state_dict(state["weights"][name])
                self.optimizers[name].load_by_name(state["optimizers"][name])
        else:
            self._load_whole(path)
        self.step = manifest.step
        return [*notes, f"settings that count from step {self.step} on: {described(found)}"] if found else notes

    def _load_whole(self, path: Path) -> None:
        stored = load_checkpoint(path)
        try:
            now = self.task.modules.state_dict()
            self.task.modules.load_state_dict({n: spread_like(now.get(n, w), w) for n, w in stored.weights.items()})
            if self.average is not None:
                if stored.average is None:
                    raise KeyError(AVERAGE)
                self.average.load(stored.average)
            for name, optimizers in self.optimizers.items():
                optimizers.load(stored.optimizers[name])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ModelMismatchError(
                f"{display(path)}: does not fit this recipe ({str(error).splitlines()[0]}); use the recipe it was made with"
            ) from error

    def _state_by_name(self) -> dict[str, Any]:
        """Everything that a sharded checkpoint holds, as it is now."""
        state = {
            "weights": {name: dict(module.state_dict()) for name, module in self.task.modules.items()},
            "optimizers": {name: optimizers.state_by_name() for name, optimizers in self.optimizers.items()},
        }
        return state if self.average is None else {**state, "average": self.average.state}

    def stored_recipe(self) -> dict[str, Any]:
        """The recipe as checkpoints hold it."""
        return self.recipe.model_dump(mode="json")

    def run(
        self,
        report: Callable[[int, Row], None],
        stop_after: float = math.inf,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Train until `run.steps`, a signal (Stopped) or `stop_after` seconds; a checkpoint is written in each case.

        report(step, row) is called every `log_every` steps with the means of the figures and the speed, on_step(step) after every one.
        """
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            with self.engine.tracking(self.recipe.name, dict(leaves(self.stored_recipe()))):
                self._run(report, time.monotonic() + stop_after, on_step)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _run(self, report: Callable[[int, Row], None], end: float, on_step: Callable[[int], None]) -> None:
        config, engine, first = self.config, self.engine, self.engine.first
        self._check_start()
        lowered = torch.bfloat16 if config.lowered(engine.device.type) else torch.float32
        meter = Meter(config.steps, matmul_peak(engine.device, lowered))
        share = (engine.processes, engine.process)
        data = self.recipe.data
        for parts, waited in load_parts(self.task, config, data, self.step, engine.device, share, self._on_bad):
            totals, operations = self.train_step(parts, engine.missing_parts(len(parts)))
            tokens = sum(part.batch.tokens for part in parts)
            meter.add(totals, config.batch_size / engine.processes, tokens, operations, waited)
            self.step += 1
            if first:
                on_step(self.step)
            if self._due(config.log_every) or self.step == config.steps:
                self._report(meter, report)
            # A signal may reach one process only, and clocks differ: all must leave at the same step.
            signum, late = engine.largest([self._signal or 0, time.monotonic() > end])
            last = self.step == config.steps or bool(signum) or bool(late)
            if self._due(config.save_every) or last:
                self.save()  # before what takes minutes: whoever asked a run to stop does not wait for long
            if self.distance is not None and self._due(config.distance_every):
                with self._averaged():
                    self._say({"step": self.step, "distance": self.distance.measure()}, report)
            shown = self._due(config.sheet_every) or (self.step == config.steps and config.sheet_every)
            if shown and (first or engine.sharded):
                with self._averaged():
                    path = self.folder / "samples" / f"{self.step:08d}.png"
                    self.task.sheet(self.step, path if first else None)
            if last:
                engine.wait()  # who has left may look for what the first process writes
            if signum:
                raise Stopped(signum)
            if last:
                break
        with self._averaged():
            state = engine.whole_state(self.task.modules["model"])
            if first:
                self.task.export(self.folder / "final", state)
        engine.wait()

    def train_step(self, parts: Sequence[Part[B]], missing: int = 0) -> tuple[Totals, float]:
        """One step on a batch in parts: the gradients of every loss of all parts, then the optimizers.

        Each sample counts alike, whatever part and process it is in. missing: parts that other processes have more, and wait for.
        Returns sums of the figures, and how many floating-point operations the networks took.
        """
        self.task.modules.train()
        for optimizers in self.optimizers.values():
            optimizers.clear()
        totals: list[Totals] = []
        losses: list[tuple[Part[B], Loss]] = []
        share = self.config.batch_size / self.engine.processes  # gradients become their mean over the processes
        for part in itertools.repeat(parts[0], missing):
            with self.engine.accumulating(self.task.calls.values(), last=False):
                for loss in self.task.losses(part.batch, self.step):
                    (loss.value * 0.0).backward()
        for part in parts:
            with self.engine.accumulating(self.task.calls.values(), last=part is parts[-1]):
                for loss in self.task.losses(part.batch, self.step):
                    (loss.value * (len(part.batch) / share)).backward()
                    losses.append((part, loss.detached()))
                    totals.append(totals_of(loss.figures))
        operations = sum(loss.operations for _, loss in losses)
        norms = {name: self.optimizers[name].clip() for name in dict.fromkeys(loss.trains for _, loss in losses)}
        if self._is_bad(losses, norms):
            self._skip(losses, norms)
            return {}, operations
        self._bad_in_a_row = 0
        for name in norms:
            self.optimizers[name].step(self.step)
        if self.average is not None:
            self.average.follow(self.step)
        return merge([*totals, {_norm_name(name): (norm, 1) for name, norm in norms.items()}]), operations

    def _on_bad(self, messages: list[str]) -> None:
        """Say which samples cannot be read; others stand in for them."""
        write_row(self.folder / "log.jsonl", {"step": self.step + 1, "unreadable": messages})
        for message in messages:
            _log.warning("skipped: %s", message)

    def _is_bad(self, losses: Sequence[tuple[Part[B], Loss]], norms: Mapping[str, float]) -> bool:
        """Whether a loss or a gradient is not finite, in any process."""
        here = all(math.isfinite(float(loss.value)) for _, loss in losses) and all(map(math.isfinite, norms.values()))
        return bool(self.engine.largest([not here])[0])

    def _skip(self, losses: Sequence[tuple[Part[B], Loss]], norms: Mapping[str, float]) -> None:
        """Say which samples spoilt a step; the weights stay. TrainingDivergedError where that was the last straw."""
        self._bad_in_a_row += 1
        here = dict.fromkeys(n for part, loss in losses for n in part.bad(loss))
        all_here = dict.fromkeys(slot.number for part, _ in losses for slot in part.slots)
        found = self.engine.gather(tuple([self.task.sample(n) for n in some] for some in (here, all_here)))
        # Of all processes; every sample of the step, where none stands out.
        names = [name for bad, _ in found for name in bad] or [name for _, some in found for name in some]
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        figures = ", ".join(
            f"{name} loss {_mean([float(loss.value) for _, loss in losses if loss.trains == name]):g}, "
            f"gradient norm {norm:g}"
            for name, norm in norms.items()
        )
        said = f"step {self.step}: {figures}, on {shown}"
        if self.engine.first:
            write_row(self.folder / "log.jsonl", {"step": self.step + 1, "skipped": names})
        if self._bad_in_a_row < self.config.bad_steps and self.step + 1 < self.config.steps:
            if self.engine.first:
                _log.warning("%s: skipped", said)
            return
        rescue = self.save()
        raise TrainingDivergedError(
            f"{said}; {self._bad_in_a_row} such steps in a row; the weights before them are in {display(rescue)}; "
            "lower optimizer.lr or look at these samples"
        )

    def _report(self, meter: Meter, report: Callable[[int, Row], None]) -> None:
        totals, speed = meter.take(self.step, self.engine.device, self.engine.processes)
        figures = means(merge(self.engine.gather(totals)))
        self._say({"step": self.step, **figures, "lr": self.optimizers["model"].rate(self.step - 1), **speed}, report)

    def _say(self, row: Row, report: Callable[[int, Row], None]) -> None:
        self.engine.track(self.step, row)
        if self.engine.first:
            write_row(self.folder / "log.jsonl", row)
            report(self.step, row)

    def _check_start(self) -> None:
        """All processes must have resumed from the same checkpoint."""
        newest, minus_oldest = self.engine.largest([self.step, -self.step])
        if newest != -minus_oldest:
            raise ConfigError(
                f"{self.folder}: processes start from steps {-minus_oldest} to {newest}; give all machines the same run folder"
            )

    def save(self) -> Path:
        """Write a checkpoint of this step: the first process does, or all of them where it is sharded."""
        if self.engine.sharded:
            return self.checkpoints.save_shards(self.step, self.stored_recipe(), self._state_by_name(), self.engine)
        if not self.engine.first:
            return self.folder
        return self.checkpoints.save(
            Checkpoint(
                self.step,
                self.stored_recipe(),
                self.task.modules.state_dict(),
                self.average.state if self.average else None,
                {name: optimizers.state() for name, optimizers in self.optimizers.items()},
            )
        )

    def _averaged(self) -> AbstractContextManager[None]:
        """What is kept in the end stands in the model, ready to be used."""
        self.task.modules["model"].eval()
        return self.average.in_place() if self.average else nullcontext()

    def _due(self, every: int) -> bool:
        """Whether this step is one of those that come every so many; 0: there are none."""
        return every > 0 and self.step % every == 0

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + signum)  # asked twice: leave now
        self._signal = signum


def _norm_name(module: str) -> str:
    return "gradient_norm" if module == "model" else f"{module}_gradient_norm"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
