"""Memory of measuring many pictures: `python benchmarks/evaluation.py [--most 10000] [--metrics fid,kid,prc] [--only stats]`.

Tiny pictures in an .npz go through `grn eval stats`, and as many are drawn by a tiny class-to-image model and held against them by
`grn eval fid`, a tenth as many first. Peaks are of the whole command. Exits 1 where ten times as many pictures take more than
100 MB beyond what is kept of each for kernel distance, precision and recall: its features, on disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from grn.models.config import ClassToImageModelConfig
from grn.models.folder import save_model
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig
from grn.refine.config import SamplerConfig
from grn.tokenizer import save_tokenizer

SIDE = 32  # of the pictures, and what the offline network resizes to
LIMIT = 100e6


def write_pictures(path: Path, count: int) -> None:
    """An .npz of noise, as reference pictures are published."""
    np.savez(path, np.random.default_rng(0).integers(256, size=(count, SIDE, SIDE, 3), dtype=np.uint8))


def write_model(folder: Path) -> None:
    """A class-to-image model of 32x32 pixels that draws in two steps."""
    network = ClassToImageConfig.tiny().model_copy(update={"size": SIDE // 16})
    config = ClassToImageModelConfig(name="tiny", network=network, sampling=SamplerConfig(steps=2), size=SIDE)
    save_model(folder, config, ClassToImage(network).state_dict(), torch.float32)
    save_tokenizer(folder / "tokenizer", CausalAutoencoder(TokenizerConfig.tiny()), "tiny")


def peak(arguments: list[str]) -> float:
    """Megabytes of memory that a grn command took at most. Raises CalledProcessError where it fails."""
    process = subprocess.Popen([sys.executable, "-m", "grn_cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return usage.ru_maxrss / 1e3


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--metrics", default="fid")
    parser.add_argument("--only", choices=("stats", "fid"))
    given = parser.parse_args()
    peaks: dict[str, list[float]] = {name: [] for name in ("stats", "fid") if given.only in (None, name)}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        for count in (given.most // 10, given.most):
            pictures, statistics = Path(folder) / f"pictures-{count}.npz", f"{folder}/{count}.npz"
            write_pictures(pictures, count)
            measuring = ["-q", "--resolution", str(SIDE), "--batch-size", "64"]
            if "stats" in peaks:
                stats = ["eval", "stats", str(pictures), "--size", str(SIDE), "-o", statistics]
                peaks["stats"].append(peak([*stats, *measuring]))
            if "fid" in peaks:
                drawing = ["-m", f"{folder}/model", "--reference", str(pictures), "-n", str(count)]
                peaks["fid"].append(peak(["eval", "fid", *drawing, "--metrics", given.metrics, *measuring]))
            pictures.unlink()
    worst = 0.0
    for name, (few, many) in peaks.items():
        print(f"eval {name}: {given.most // 10} pictures {few:.0f} MB, {given.most} pictures {many:.0f} MB")
        worst = max(worst, many - few)
    return int(worst * 1e6 > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
