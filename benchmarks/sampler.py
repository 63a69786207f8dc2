"""Complexity-aware sampling in one batch that refills itself, beside batches that wait: `python benchmarks/sampler.py`.

Prints time and network rows of both. Exits 1 if a sample comes out differently in company than alone, or if refilling
is not the faster one.
"""

import sys

import torch
from timing import ratios

from grn.generator.class_to_image import ClassToImage
from grn.generator.condition import ClassCondition
from grn.generator.config import ClassToImageConfig
from grn.refine.sampler import Sample, Sampler, SamplerConfig

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

    def draw(config: SamplerConfig, rows: range, batch: int = BATCH) -> tuple[list[Sample], int]:
        sampler = Sampler(network, config)
        condition = ClassCondition(labels[rows.start : rows.stop])
        samples = list(sampler.run(condition, None, SHAPE, keys=[(0, row) for row in rows], batch_size=batch))
        return sorted(samples, key=lambda sample: sample.number), sampler.passes[0]

    everything = range(SAMPLES)
    entropies = [s.entropy or 0.0 for s in draw(SamplerConfig(steps=6), everything)[0]]
    low, high = min(entropies), max(entropies)
    k = 40 / (high - low)  # steps spread over all of 10 to 50, as after calibration
    adaptive = SamplerConfig(adaptive=True, tmin=10, tmax=50, k=k, b=10 - k * low)
    together, refilled_rows = draw(adaptive, everything)
    alone, _ = draw(adaptive, everything, batch=1)
    same = all(torch.equal(a.indices, b.indices) and a.steps == b.steps for a, b in zip(together, alone, strict=True))

    groups = [range(start, start + BATCH) for start in range(0, SAMPLES, BATCH)]
    slowest = [SamplerConfig(steps=max(together[row].steps for row in rows)) for rows in groups]

    def wait() -> int:
        return sum(draw(config, rows)[1] for config, rows in zip(slowest, groups, strict=True))

    steps = [sample.steps for sample in together]
    print(
        f"{SAMPLES} samples of {min(steps)} to {max(steps)} steps, {BATCH} at a time, mean {sum(steps) / SAMPLES:.1f}"
    )
    print(f"rows through the network: {refilled_rows} refilled, {wait()} waiting for the slowest")
    found = ratios({"refilled": lambda: draw(adaptive, everything), "waiting for the slowest": wait}, runs=3)
    refilled, waiting = found.values()
    return int(not same or refilled >= waiting)


if __name__ == "__main__":
    sys.exit(main())
