"""Memory that converting a published checkpoint takes: `python benchmarks/convert.py [--gigabytes 1] [--like grn-8b]`.

Writes a random text-to-visual checkpoint under the authors' keys to a temporary folder and converts it in a process of
its own, whose peak resident memory, pages of the mapped file included, is the figure; beside it, what safetensors' own
writer takes for the same tensors. Exits 1 if ours is above 1.3 times the file, or above the other.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

LIMIT = 1.3
LIKE = ("grn-t2i", "grn-8b")


def shapes(like: str, blocks: int) -> dict[str, tuple[int, ...]]:
    """The authors' keys of a text-to-visual checkpoint as wide as `like`."""
    from grn.networks.generator_config import TextToVisualConfig
    from grn.networks.presets import PRESETS

    config = PRESETS[like]
    assert isinstance(config, TextToVisualConfig)
    width, hidden, per_token, head = config.width, config.hidden, config.elements * 2, config.width // config.heads
    block = {
        **{f"attn.{x}_proj.weight": (width, width) for x in "qkvo"},
        **{f"attn.{x}_norm.weight": (head,) for x in "qk"},
        **{f"mlp.{x}_proj.weight": (hidden, width) for x in ("gate", "up")},
        "mlp.down_proj.weight": (width, hidden),
        **{f"{x}_layernorm.weight": (width,) for x in ("input", "post_attention")},
    }
    rest = {
        **{"word_embed.weight": (width, per_token), "word_embed.bias": (width,)},
        **{"text_proj.weight": (width, config.text_width), "text_proj.bias": (width,)},
        **{"pt_embedder.mlp.0.weight": (width, 256), "pt_embedder.mlp.0.bias": (width,)},
        **{"pt_embedder.mlp.2.weight": (width, width), "pt_embedder.mlp.2.bias": (width,)},
        **{"head.norm.weight": (width,), "head.proj.weight": (per_token, width), "head.proj.bias": (per_token,)},
    }
    return {**{f"block_chunks.0.module.{i}.{k}": shape for i in range(blocks) for k, shape in block.items()}, **rest}


def write(path: Path, like: str, gigabytes: float) -> None:
    """A checkpoint of about that size, with as many blocks of the published width as fit."""
    bytes_of = [sum(math.prod(shape) for shape in shapes(like, blocks).values()) * 4 for blocks in (0, 1)]
    blocks = max(1, round((gigabytes * 1e9 - bytes_of[0]) / (bytes_of[1] - bytes_of[0])))
    generator = torch.Generator().manual_seed(0)
    torch.save({key: torch.randn(shape, generator=generator) for key, shape in shapes(like, blocks).items()}, path)


def converted(path: Path, folder: Path) -> None:
    """As `grn models convert` does."""
    from grn.hub import convert

    convert.convert(path, folder, "random", convert.Hints(text_attention="one-way", like="grn-t2i"))


def saved_by_the_library(path: Path, folder: Path) -> None:
    """The same tensors, renamed and joined, by safetensors' own writer: it takes them all at once."""
    from safetensors.torch import save_file

    from grn.hub.checkpoint import Checkpoint
    from grn.hub.renames import rename

    folder.mkdir()
    save_file(dict(rename("text-to-visual", Checkpoint(path))), folder / "model.safetensors")


WAYS = {"convert": converted, "safetensors": saved_by_the_library}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--like", choices=LIKE, default=LIKE[0], help="whose width and layout")
    parser.add_argument("--write", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--way", nargs=3, metavar=("WAY", "FILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.like, options.gigabytes)
        return 0
    if options.way:
        way, path, folder = options.way
        WAYS[way](Path(path), Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(peak if sys.platform == "darwin" else peak * 1024)
        return 0
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "random.pth"
        this = [sys.executable, __file__]
        # Written by a process of its own too: a child's peak starts from its parent's.
        told = ["--like", options.like, "--gigabytes", str(options.gigabytes)]
        subprocess.run([*this, *told, "--write", str(path)], check=True)
        size = path.stat().st_size
        for way in WAYS:
            start = time.perf_counter()
            command = [*this, "--way", way, str(path), str(Path(place) / way)]
            peaks[way] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds = time.perf_counter() - start
            ratio = peaks[way] / size
            print(
                f"{way}: file {size / 1e6:.0f} MB, peak {peaks[way] / 1e6:.0f} MB, {ratio:.2f} x the file, {seconds:.1f} s"
            )
    return int(peaks["convert"] > min(LIMIT * size, peaks["safetensors"]))


if __name__ == "__main__":
    sys.exit(main())
