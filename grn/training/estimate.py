"""What a run would take: time and memory, from a few steps that are measured on made-up samples of the recipe's shapes."""

import statistics
import time
from dataclasses import dataclass

import psutil
import torch

from grn.errors import EnvironmentFaultError
from grn.training.config import RunConfig
from grn.training.engine import Engine
from grn.training.figures import matmul_peak, peak_memory
from grn.training.loader import Part
from grn.training.loop import Loop
from grn.training.task import B, Example, Slot

STEPS = 5
_SECONDS = 4.0  # that one measured step takes at most, where that allows two samples or more
_MOST = 20.0  # the same where a step is hardly longer with more samples, and what each adds would be lost in the clock's noise


@dataclass(frozen=True)
class Estimate:
    """samples: of each measured step. step_seconds: of a step on the whole batch. memory: bytes, of each process.

    flop_per_s: of all processes; peak_share: of what their devices reach at most in a product of matrices.
    """

    samples: int
    step_seconds: float
    memory: float
    flop_per_s: float
    peak_share: float


def estimate(loop: Loop[Example, B]) -> Estimate:
    """Take steps, which change the weights, and tell from them what those of the run take; data are not read, nothing is written.

    Where a whole batch is slow on this device, fewer samples are measured, two at least, and so many that they take most of the step:
    time and memory grow by as much with each, from what a step takes however few there are, as an optimizer does.
    Raises EnvironmentFaultError where the memory does not suffice.
    """
    config, engine = loop.config, loop.engine
    share = config.batch_size // engine.processes
    part = share // config.accumulate
    if config.tokens_per_batch is not None:
        part = min(share, max(1, config.tokens_per_batch // loop.task.tokens(loop.task.made_up(1)[0])))
    try:
        first, least, _ = _measured(loop, 1, 2)
        samples = engine.largest([-min(part, max(2, int(_SECONDS / first)))])[0] * -1
        seconds, most, operations = _measured(loop, samples, STEPS)
        while engine.largest([samples < part and seconds < min(2 * first, _MOST / 2)])[0]:
            samples = min(part, 2 * samples)
            seconds, most, operations = _measured(loop, samples, STEPS)
    except torch.OutOfMemoryError as error:
        parts = f"run.accumulate {config.accumulate}", "raise it"
        if config.tokens_per_batch is not None:
            parts = f"run.tokens_per_batch {config.tokens_per_batch}", "lower it"
        raise EnvironmentFaultError(
            f"{parts[0]}: a part of {part} samples does not fit into the memory of {engine.device}; {parts[1]}"
        ) from error
    each = max(0.0, seconds - first) / (samples - 1) if samples > 1 else first
    memory = most + (most - least) / max(1, samples - 1) * (part - samples)
    step = max(seconds, seconds + each * (share - samples))
    lowered = torch.bfloat16 if config.lowered(engine.device.type) else torch.float32
    speed = operations / samples * share / step
    return Estimate(samples, step, memory, speed * engine.processes, speed / matmul_peak(engine.device, lowered))


def _measured(loop: Loop[Example, B], samples: int, steps: int) -> tuple[float, float, float]:
    """(Seconds of a step, the first one warming up, bytes of memory at most, operations of a step) on so many samples."""
    device = loop.engine.device
    batch = loop.task.collate(loop.task.made_up(samples)).to(device)
    parts = [Part(tuple(Slot(0, place, 0) for place in range(samples)), batch)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds, operations = [], 0.0
    for _ in range(steps):
        start = time.perf_counter()
        _, operations = loop.train_step(parts)  # which asks for the loss, and so has waited for the device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), float(peak_memory(device)), operations


def check_memory(weights: int, config: RunConfig, engine: Engine) -> None:
    """EnvironmentFaultError where not even what a run keeps of so many weights from step to step would fit."""
    copies = 5 if config.ema else 4  # themselves, their gradients, two moments; the average
    needed = 4 * weights * copies / (engine.processes if engine.sharded else 1)
    device = engine.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise EnvironmentFaultError(
            f"{device}: {weights / 1e6:,.0f}M weights, their gradients, moments and average take {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free"
        )
