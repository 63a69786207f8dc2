"""Memory that drawing with a published text model takes on a CPU: `python benchmarks/drawing_memory.py [--model grn-8b] [--offload]`.

A folder of random weights of the model's width, in bfloat16 and with few blocks, draws one step, both branches of guidance,
in a process of its own. Its peak resident memory at two depths gives what a block takes and what the rest does, and from
them what the whole model takes; its tokenizer and text encoder, which are in memory before and after, are not in it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from grn.models.config import TextToVisualModelConfig
from grn.models.folder import NETWORKS, save_model
from grn.networks.condition import TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.presets import PRESETS

WORDS = 64  # tokens of a prompt
DEPTHS = (2, 5)


def preset(name: str) -> TextToVisualConfig:
    """The dimensions of a published text model."""
    config = PRESETS[name]
    assert isinstance(config, TextToVisualConfig)
    return config


def write(folder: Path, name: str, depth: int) -> None:
    """The model with so many blocks. Values are all alike: what is drawn from them is of no interest."""
    config = preset(name).model_copy(update={"depth": depth})
    with torch.device("meta"):
        shapes = NETWORKS[config.kind](config).state_dict()
    state = {key: torch.full(value.shape, 0.01, dtype=torch.bfloat16) for key, value in shapes.items()}
    save_model(folder, TextToVisualModelConfig(name=name, network=config), state, torch.bfloat16)


def draw(folder: Path, side: int, offload: bool) -> None:
    """One step of a square picture, both branches in one pass."""
    from grn.generator import Generator

    generator = Generator.load(folder, "cpu", torch.bfloat16, offload=offload)
    words = torch.zeros(1, WORDS, generator.config.text_width, dtype=torch.bfloat16)  # type: ignore[union-attr]
    text = TextCondition(words, torch.ones(1, WORDS, dtype=torch.bool))
    list(generator.sampler(steps=1, guidance=3.0).run(text, text, (1, side // 16, side // 16)))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="grn-t2i")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--offload", action="store_true")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, metavar=("FOLDER", "DEPTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(Path(options.write[0]), options.model, int(options.write[1]))
        return 0
    if options.draw:
        draw(options.draw, options.size, options.offload)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return 0
    same = [sys.executable, *sys.argv]
    peaks = []
    for depth in DEPTHS:
        with tempfile.TemporaryDirectory() as place:
            # Written by a process of its own too: a child's peak starts from its parent's.
            subprocess.run([*same, "--write", f"{place}/model", str(depth)], check=True)
            found = subprocess.run([*same, "--draw", f"{place}/model"], check=True, capture_output=True, text=True)
        peaks.append(int(found.stdout))
        print(f"{options.model}, {depth} blocks, {options.size}x{options.size}: peak {peaks[-1] / 1e9:.2f} GB")
    block = (peaks[1] - peaks[0]) / (DEPTHS[1] - DEPTHS[0])
    whole = peaks[0] + block * (preset(options.model).depth - DEPTHS[0])
    print(f"a block {block / 1e9:.3f} GB, all {preset(options.model).depth}: {whole / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
