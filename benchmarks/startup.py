"""How long whole commands take, beside an empty Python and the import of torch: `python benchmarks/startup.py`.

Prints seconds of one processor core, user and system (the least of several runs, the commands in turn, as whatever else
the machine does only adds), and ratios. Exits 1 where `grn --help` takes 0.3 s or more, `grn tokenize` or
`grn reconstruct` of a picture 1.1 times as long as a process that imports torch and ends, or `grn generate` 1.9 times as
long, 2.3 times where the processor has no AMX.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from grn.devices import gains_by_compiling

RUNS = 5
GRN = ["-m", "grn_cli"]
CASES = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import torch'": ["-c", "import torch"],
    "grn --help": [*GRN, "--help"],
    "grn tokenize --help": [*GRN, "tokenize", "--help"],
    "grn generate": [*GRN, "generate", "cat", "-o", "cat.png", "--force"],
    "grn tokenize": [*GRN, "tokenize", "cat.png", "-o", "cat.npz", "--force"],
    "grn reconstruct": [*GRN, "reconstruct", "cat.npz", "-o", "again.png", "--force"],
}
LIMITS = {
    "grn tokenize": 1.1,
    "grn reconstruct": 1.1,
    "grn generate": 1.9 if gains_by_compiling(torch.device("cpu")) else 2.3,
}
"""In times of a process that imports torch."""
HELP = 0.3


def seconds(arguments: list[str], folder: str) -> float:
    """CPU time of one run in a new process, on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{arguments} failed"
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS + 1):
            for name, arguments in CASES.items():
                times[name].append(seconds(arguments, folder))
    # The first round fills the disk cache and compiles modules.
    least = {name: min(values[1:]) for name, values in times.items()}
    importing = least["python -c 'import torch'"]
    for name, one in least.items():
        print(f"{name:26} {one:6.3f} s  {one / importing:5.2f} times the import of torch")
    return int(least["grn --help"] >= HELP or any(least[name] > limit * importing for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
