"""Complexity-aware sampling in one batch that refills itself, beside batches that wait: `python benchmarks/sampler.py`.

Prints time, network passes and rows of both. Exits 1 if a sample comes out differently in company than alone, or if
refilling does not take fewer passes, fewer rows and less time.
"""

import sys
from collections.abc import Callable

import torch
from timing import ratios

from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition
from grn.networks.generator_config import ClassToImageConfig
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sample, Sampler

SAMPLES, BATCH, SHAPE = 32, 8, (1, 4, 4)


def main() -> int:
    """Measure and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a network gains nothing from more
    network = ClassToImage(ClassToImageConfig.tiny()).eval()
    # An untrained network's last layer is zero, and so says the same of every sample.
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    labels = torch.arange(SAMPLES) % network.config.num_classes

    calls: list[int] = []  # rows of each pass
    network.register_forward_hook(lambda _network, inputs, _logits: calls.append(len(inputs[0])))

    def draw(config: SamplerConfig, rows: range, batch: int = BATCH) -> list[Sample]:
        condition = ClassCondition(labels[rows.start : rows.stop])
        samples = Sampler(network, config).run(condition, None, SHAPE, seed=list(rows), batch_size=batch)
        return sorted(samples, key=lambda sample: sample.number)

    def work(case: Callable[[], object]) -> tuple[int, int]:
        """Passes and rows that `case` takes."""
        calls.clear()
        case()
        return len(calls), sum(calls)

    everything = range(SAMPLES)
    entropies = [s.entropy or 0.0 for s in draw(SamplerConfig(steps=6), everything)]
    low, high = min(entropies), max(entropies)
    k = 40 / (high - low)  # steps spread over all of 10 to 50, as after calibration
    adaptive = SamplerConfig(adaptive=True, tmin=10, tmax=50, k=k, b=10 - k * low)
    together, alone = draw(adaptive, everything), draw(adaptive, everything, batch=1)
    same = all(torch.equal(a.indices, b.indices) and a.steps == b.steps for a, b in zip(together, alone, strict=True))

    groups = [range(start, start + BATCH) for start in range(0, SAMPLES, BATCH)]
    slowest = [SamplerConfig(steps=max(together[row].steps for row in rows)) for rows in groups]

    def refill() -> None:
        draw(adaptive, everything)

    def wait() -> None:
        for config, rows in zip(slowest, groups, strict=True):
            draw(config, rows)

    steps = [sample.steps for sample in together]
    print(
        f"{SAMPLES} samples of {min(steps)} to {max(steps)} steps, {BATCH} at a time, mean {sum(steps) / SAMPLES:.1f}"
    )
    cases = {"refilled": refill, "waiting for the slowest": wait}
    counts = {name: work(case) for name, case in cases.items()}
    for name, (passes, rows) in counts.items():
        print(f"{name:44} {passes:5} passes {rows:6} rows")
    less_work = all(few < many for few, many in zip(*counts.values(), strict=True))
    refilled, waiting = ratios(cases, runs=3).values()
    return int(not (same and less_work and refilled < waiting))


if __name__ == "__main__":
    sys.exit(main())
