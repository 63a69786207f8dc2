"""One training step of GRN-B, part by part: `python benchmarks/train_parts.py [--steps 3] [--batch 4] [--json]`.

Prints the whole step as the trainer does it beside the same work with plain optimizer and average, the two formats of numbers, and what
share the parts have. Exits 1 if the trainer's step is slower than the plain one.
"""

import argparse
import json
import sys
import time

import torch
from timing import ratios
from torch import Tensor

from grn.devices import fast_type
from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition
from grn.networks.presets import PRESETS
from grn.training.average import Average
from grn.training.config import OptimizerConfig
from grn.training.generator import Prediction, refinement_loss
from grn.training.optimizers import Optimizers


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one object at the end")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = PRESETS["grn-b"]
    network = ClassToImage(config).to(device)  # type: ignore[arg-type]
    call = Prediction(network)
    fast = Optimizers(network, OptimizerConfig(lr=1e-6, clip=0.1), steps=10**6)
    plain = torch.optim.AdamW(network.parameters(), lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0, foreach=False)
    average = Average(network, 0.9999)
    shape = (options.batch, 1, config.size, config.size, config.elements)  # type: ignore[union-attr]
    targets = torch.randint(config.classes, shape, device=device)
    states = torch.randint(config.classes, shape, device=device)
    ratio, condition = torch.rand(options.batch, device=device), ClassCondition(torch.zeros(options.batch).long())

    def gradients(lowered: bool) -> None:
        fast.clear()
        with torch.autocast(device, torch.bfloat16, enabled=lowered):
            logits = call(states, ratio, condition.to(device))
        refinement_loss(logits, targets).mean().backward()

    def plain_update() -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1, foreach=False)
        plain.step()
        state: dict[str, Tensor] = network.state_dict()
        for name, value in average.state.items():
            value.lerp_(state[name], 1e-4)

    def update() -> None:
        fast.clip()
        fast.step(0)
        average.follow(10**6)

    def waited(*acts: object) -> None:
        for act in acts:
            act()  # type: ignore[operator]
        if device == "cuda":
            torch.cuda.synchronize()

    lowered = fast_type(device) == torch.bfloat16
    start = time.perf_counter()
    found = ratios(
        {
            "plain step, float32": lambda: waited(lambda: gradients(False), plain_update),
            "step as the trainer takes it": lambda: waited(lambda: gradients(lowered), update),
            "of it: gradients": lambda: waited(lambda: gradients(lowered)),
            "of it: clip, optimizer and average": lambda: waited(update),
            "plain clip, optimizer and average": lambda: waited(plain_update),
            "gradients in bfloat16": lambda: waited(lambda: gradients(True)),
        },
        runs=options.steps,
    )
    step = found["step as the trainer takes it"]
    print(f"{options.batch / step:.2f} samples/s, {options.batch * config.size**2 / step:.0f} tokens/s on {device}")  # type: ignore[union-attr]
    if options.json:
        print(json.dumps({"device": device, "batch": options.batch, "seconds": found}))
    print(f"measured in {time.perf_counter() - start:.0f} s")
    return int(step > found["plain step, float32"])


if __name__ == "__main__":
    sys.exit(main())
