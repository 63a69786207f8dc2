"""Peak memory of tokenizing and reconstructing a clip, long against short: `python benchmarks/memory.py [CLIP]`.

Both parts of the clip have frames of one size; a clip of 250 frames is made if none is given. Peaks are of the largest process of each command
(grn itself; the video encoder runs in one of its own). Exits 1 if 250 frames take more than 15 % above 25.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from grn.media import VideoWriter, open_media

SHORT, LONG, LIMIT = 25, 250, 1.15


def make_clip(path: Path) -> Path:
    """250 frames of 320x240 that move, 25 a second."""
    y, x = np.mgrid[:240, :320]
    with VideoWriter(path, 320, 240, 25) as video:
        for i in range(LONG):
            planes = [128 + 100 * np.sin((x + 3 * i) / 20), 128 + 100 * np.cos((y - 2 * i) / 15), (x + y + i) % 256]
            video.write(np.stack(planes, 2).astype(np.uint8))
    return path


def peak(arguments: list[str]) -> int:
    """Bytes of memory that a grn command took at most. Raises CalledProcessError where it fails."""
    process = subprocess.Popen([sys.executable, "-m", "grn_cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return usage.ru_maxrss * 1024


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", help="at least 250 frames long")
    parser.add_argument("--tokenizer", default="emoji-tokenizer", help="name or folder")
    arguments = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        clip = arguments.clip or make_clip(Path(folder) / "clip.mp4")
        with open_media(clip) as media:
            print(f"{clip.name}: {media.width}x{media.height}, {media.fps:g} frames a second")
            fps = media.fps or 1.0
        peaks: dict[str, list[int]] = {"tokenize": [], "reconstruct": []}
        for frames in (SHORT, LONG):
            codes, back = f"{folder}/{frames}.npz", f"{folder}/{frames}.mp4"
            part = ["--duration", str(frames / fps), "--tokenizer", arguments.tokenizer, "-o", codes]
            peaks["tokenize"].append(peak(["tokenize", str(clip), *part]))
            peaks["reconstruct"].append(peak(["reconstruct", codes, "--tokenizer", arguments.tokenizer, "-o", back]))
            with open_media(Path(back)) as media:
                found = sum(1 for _ in media)
            assert found == frames, f"{found} frames came back of {frames}; give a clip of at least {LONG}"
    for name, (short, long) in peaks.items():
        worst = max(worst, long / short)
        sizes = f"{short / 2**20:7.1f} MiB for {SHORT} frames, {long / 2**20:7.1f} MiB for {LONG}"
        print(f"{name:12} {sizes}: {long / short:.3f} times")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
