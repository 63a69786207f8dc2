"""What a run says of itself: means of figures between two rows of the log, and the speed."""

import functools
import json
import math
import os
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from grn.files import cannot_write

Totals = dict[str, tuple[float, int]]
"""By name, a sum and how many values it is of."""


class Meter:
    """Sums up the figures of steps until they are taken for a row of the log."""

    def __init__(self, steps: int, peak: float) -> None:
        """steps: of the run. peak: FLOP/s that this process's device reaches at most."""
        self.steps, self.peak = steps, peak
        self._clear()

    def _clear(self) -> None:
        self.totals: Totals = {}
        self.count, self.samples, self.tokens, self.operations, self.waited = 0, 0.0, 0, 0.0, 0.0
        self.since = time.monotonic()

    def add(self, totals: Totals, samples: float, tokens: int, operations: float, waited: float) -> None:
        """Add one step of this process: its figures, samples, tokens and operations, and the seconds that it waited for data."""
        self.totals = merge([self.totals, totals])
        self.count, self.samples, self.tokens = self.count + 1, self.samples + samples, self.tokens + tokens
        self.operations, self.waited = self.operations + operations, self.waited + waited

    def take(self, step: int, device: torch.device, processes: int = 1) -> tuple[Totals, dict[str, float]]:
        """(what was summed up here, figures of speed and memory) since the last call; starts anew.

        processes: of the run, of which this one counts for all.
        """
        seconds = max(time.monotonic() - self.since, 1e-9)
        speed = {
            "samples_per_s": self.samples * processes / seconds,
            "tokens_per_s": self.tokens * processes / seconds,
            "flop_per_s": self.operations * processes / seconds,
            "peak_share": self.operations / seconds / self.peak,
            "data_wait": self.waited / seconds,
            "memory_gb": peak_memory(device) / 1e9,
            "seconds_left": (self.steps - step) * seconds / max(self.count, 1),
        }
        totals = self.totals
        self._clear()
        return totals, speed


def totals_of(figures: Mapping[str, Tensor]) -> Totals:
    """Sum each figure's entries that are numbers, and count them, with one copy from the device."""
    if not figures:
        return {}
    entries = torch.cat([value.detach().flatten().double() for value in figures.values()]).tolist()
    found: Totals = {}
    for name, value in figures.items():
        own, entries = entries[: value.numel()], entries[value.numel() :]
        own = [entry for entry in own if not math.isnan(entry)]
        found[name] = (math.fsum(own), len(own))
    return found


def merge(parts: Iterable[Totals]) -> Totals:
    """Add up the sums of all parts, in the order in which the figures first appear."""
    found: Totals = {}
    for part in parts:
        for name, (total, count) in part.items():
            before = found.get(name, (0.0, 0))
            found[name] = (before[0] + total, before[1] + count)
    return found


def means(totals: Totals) -> dict[str, float]:
    """Return the mean of each figure; figures without a value are left out."""
    return {name: total / count for name, (total, count) in totals.items() if count}


@functools.cache
def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure FLOP/s of a product of two large matrices, the best of several: what the device reaches in this number format."""
    side = 8192 if device.type == "cuda" else 1024
    one, seconds = torch.ones(side, side, device=device, dtype=dtype), []
    for _ in range(6):
        start = time.perf_counter()
        product = one @ one
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
        del product
    return 2 * side**3 / min(seconds)


def peak_memory(device: torch.device) -> int:
    """Return peak memory in bytes: allocated on a GPU, elsewhere resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a line to log.jsonl; numbers with 6 decimals, or 6 digits where they are small."""
    try:
        line = json.dumps({name: _rounded(value) for name, value in row.items()}) + "\n"
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a run that was killed, or a full disk, left a part of a line
                    line = f"\n{line}"
            file.write(line.encode())
    except OSError as error:
        raise cannot_write(path, error) from error


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return round(value, 6) if abs(value) >= 1e-3 else float(f"{value:.6g}")
