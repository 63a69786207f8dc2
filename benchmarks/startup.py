"""How long `grn --help` takes, beside an empty Python and the import of torch: `python benchmarks/startup.py`.

Prints seconds (the fastest of several runs, one after the other in turn, as whatever else the machine does only adds)
and ratios, and exits 1 at 0.3 s or more.
"""

import subprocess
import sys
import time

RUNS = 9
LIMIT = 0.3
CASES = {
    "python -c pass": ["-c", "pass"],
    "grn --help": ["-m", "grn_cli", "--help"],
    "grn tokenize --help": ["-m", "grn_cli", "tokenize", "--help"],
    "import torch": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> float:
    """One run in a new process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS + 1):
        for name, arguments in CASES.items():
            times[name].append(seconds(arguments))
    # The first round fills the disk cache.
    fastest = {name: min(values[1:]) for name, values in times.items()}
    for name, least in fastest.items():
        print(f"{name:20} {least:6.3f} s  {least / fastest['python -c pass']:6.1f} x an empty Python")
    return int(fastest["grn --help"] >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
