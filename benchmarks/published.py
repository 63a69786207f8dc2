"""Ours beside the published code, with the same random weights in one run: `python benchmarks/published.py CHECKOUT`.

CHECKOUT is a clone of the published code (MGenAI/GRN). Of each work the outputs are compared first; then both run in
turns, and the medians are printed with their ratio, the share of the device's measured peak that ours reaches, and the
memory that each takes at most beyond what is there already. On a processor one thread's own time is counted, which other
work of the machine does not stretch. Exits 1 where outputs disagree.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import published_work as work
import torch
from published_code import install
from torch.utils.flop_counter import FlopCounterMode

from grn.devices import return_unused_memory
from grn.training.figures import matmul_peak

WORKS: dict[str, Callable[[work.Setting], Iterator[work.Work]]] = {
    "tokenizer": work.pictures,
    "clips": work.clips,
    "generator": work.generator,
    "text": work.text,
    "training": work.training,
}


@dataclass(frozen=True)
class Row:
    """One line of the table. Peak: share of the measured peak, of ours. Memory: MiB beyond the weights, None where the system does not say."""

    work: str
    published_ms: float
    ours_ms: float
    ratio: float
    difference: float
    peak: float | None = None
    published_mib: float | None = None
    ours_mib: float | None = None


def now(device: torch.device) -> float:
    """Seconds, when all that was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def medians(cases: dict[str, Callable[[], object]], runs: int, device: torch.device) -> dict[str, float]:
    """Median seconds of cases that run in turns; a first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(runs + 1):
        for name, case in cases.items():
            start = now(device)
            case()
            times[name].append(now(device) - start)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def memory(case: Callable[[], object], device: torch.device) -> float | None:
    """MiB that a case takes at most beyond what is there already."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        case()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not sys.platform.startswith("linux"):
        return None
    return_unused_memory()  # what earlier cases left would be taken again, and not be seen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what there is
    before = _status("VmRSS")
    case()
    return (_status("VmHWM") - before) / 2**10


def _status(name: str) -> int:
    """A size that the system knows of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(one: work.Work, setting: work.Setting, peak: float, runs: int) -> Row:
    """Compare, then time."""
    difference = one.compare()
    cases = {"published": one.published, "ours": one.ours}
    seconds = medians(cases, runs, setting.device)
    share = None
    if one.counted:
        with FlopCounterMode(display=False) as counter:
            one.ours()
        share = counter.get_total_flops() / seconds["ours"] / peak
    mib = [memory(case, setting.device) for case in cases.values()]
    found, ours = seconds["published"] * 1e3, seconds["ours"] * 1e3
    return Row(one.name, found, ours, found / ours, difference, share, *mib)


def object_of(row: Row) -> str:
    """What --json prints of a row."""
    named = asdict(row)
    return json.dumps({name: named[name] for name in ("work", "published_ms", "ours_ms", "ratio")})


def shown(row: Row) -> str:
    """A line of the table."""
    text = f"{row.work:14} {row.published_ms:11.1f} {row.ours_ms:11.1f} {row.ratio:7.2f} x {row.difference:10.1e}"
    text += f" {row.peak:7.0%}" if row.peak is not None else " " * 8
    if row.published_mib is not None and row.ours_mib is not None:
        text += f" {row.published_mib:8.0f} {row.ours_mib:8.0f}"
    return text


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", default=",".join(WORKS), help=f"some of {','.join(WORKS)}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="small pictures, few steps")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of ours; by default what drawing takes here")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    setting = work.Setting.here(options.small, options.dtype)
    if setting.device.type == "cpu":
        torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of what the published code calls in old ways
    peak, worst = matmul_peak(setting.device, setting.dtype), 0.0
    if not options.json:
        print(f"{setting.device}, ours in {str(setting.dtype).removeprefix('torch.')}, peak {peak / 1e9:,.0f} GFLOP/s")
        print("work          published ms     ours ms     ratio difference    peak  MiB, both")
    with tempfile.TemporaryDirectory() as folder:
        install(options.checkout, Path(folder))
        for name in options.only.split(","):
            for one in WORKS[name](setting):
                row = measure(one, setting, peak, options.runs)
                worst = max(worst, row.difference / one.tolerance)
                print(object_of(row) if options.json else shown(row), flush=True)
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
