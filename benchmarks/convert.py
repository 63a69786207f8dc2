"""Memory that converting a published checkpoint takes: `python benchmarks/convert.py [--gigabytes 1]`.

Writes a random text-to-visual checkpoint under the authors' keys to a temporary folder and converts it in a process of
its own, whose peak resident memory, pages of the mapped file included, is the figure. Exits 1 if it is above 1.3 times
the file.
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


def converted(path: Path, folder: Path) -> int:
    """Convert and return the peak resident memory of this process, in bytes."""
    from grn.hub import convert

    convert.convert(path, folder, "random")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--write", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--convert", nargs=2, type=Path, metavar=("FILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.gigabytes)
        return 0
    if options.convert:
        print(converted(*options.convert))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth"
        this = [sys.executable, __file__]
        # Written by a process of its own too: a child's peak starts from its parent's.
        subprocess.run([*this, "--gigabytes", str(options.gigabytes), "--write", path], check=True)
        size, start = path.stat().st_size, time.perf_counter()
        command = [*this, "--convert", path, Path(folder) / "out"]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = time.perf_counter() - start
    print(f"file {size / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB, {peak / size:.2f} x the file, {seconds:.1f} s")
    return int(peak > LIMIT * size)


if __name__ == "__main__":
    sys.exit(main())
