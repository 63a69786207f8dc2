"""Memory that converting a published checkpoint takes: `python benchmarks/convert.py [--gigabytes 1]`.

Writes a random text-to-visual checkpoint under the authors' keys to a temporary folder and converts it in a process of
its own, whose peak resident memory, pages of the mapped file included, is the figure; beside it, what safetensors' own
writer takes for the same tensors. Exits 1 if ours is above 1.3 times the file, or above the other.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

LIMIT = 1.3
_WIDTH, _HIDDEN, _TEXT, _PER_TOKEN = 2304, 8192, 4096, 16 * 16
_BLOCK = {
    **{f"attn.{x}_proj.weight": (_WIDTH, _WIDTH) for x in "qkvo"},
    **{f"attn.{x}_norm.weight": (128,) for x in "qk"},
    "mlp.gate_proj.weight": (_HIDDEN, _WIDTH),
    "mlp.up_proj.weight": (_HIDDEN, _WIDTH),
    "mlp.down_proj.weight": (_WIDTH, _HIDDEN),
    "input_layernorm.weight": (_WIDTH,),
    "post_attention_layernorm.weight": (_WIDTH,),
}
_REST = {
    "word_embed.weight": (_WIDTH, _PER_TOKEN),
    "word_embed.bias": (_WIDTH,),
    "text_proj.weight": (_WIDTH, _TEXT),
    "text_proj.bias": (_WIDTH,),
    "pt_embedder.mlp.0.weight": (_WIDTH, 256),
    "pt_embedder.mlp.0.bias": (_WIDTH,),
    "pt_embedder.mlp.2.weight": (_WIDTH, _WIDTH),
    "pt_embedder.mlp.2.bias": (_WIDTH,),
    "head.norm.weight": (_WIDTH,),
    "head.proj.weight": (_PER_TOKEN, _WIDTH),
    "head.proj.bias": (_PER_TOKEN,),
}


def write(path: Path, gigabytes: float) -> None:
    """A checkpoint of about that size, with as many blocks of the published width as fit."""
    size = sum(torch.Size(shape).numel() for shape in _BLOCK.values()) * 4
    blocks = max(1, round(gigabytes * 1e9 / size))
    shapes = {f"block_chunks.{i // 4}.module.{i % 4}.{k}": shape for i in range(blocks) for k, shape in _BLOCK.items()}
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) for key, shape in {**shapes, **_REST}.items()}
    torch.save(state, path)


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
    parser.add_argument("--write", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--way", nargs=3, metavar=("WAY", "FILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.gigabytes)
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
        subprocess.run([*this, "--gigabytes", str(options.gigabytes), "--write", path], check=True)
        size = path.stat().st_size
        for way in WAYS:
            start = time.perf_counter()
            command = [*this, "--way", way, path, Path(place) / way]
            peaks[way] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds = time.perf_counter() - start
            ratio = peaks[way] / size
            print(
                f"{way}: file {size / 1e6:.0f} MB, peak {peaks[way] / 1e6:.0f} MB, {ratio:.2f} x the file, {seconds:.1f} s"
            )
    return int(peaks["convert"] > min(LIMIT * size, peaks["safetensors"]))


if __name__ == "__main__":
    sys.exit(main())
