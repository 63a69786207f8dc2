"""Timing of alternatives in turn and in the process's own time, so that whatever else the machine does stretches none of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def ratios(cases: Mapping[str, Callable[[], object]], runs: int = 7) -> dict[str, float]:
    """Median seconds of a processor of each case, printed with its ratio to the first one. The first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(runs + 1):
        for name, case in cases.items():
            start = time.process_time()
            case()
            times[name].append(time.process_time() - start)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:44} {median * 1000:9.2f} ms  {median / first:6.2f} x")
    return medians
