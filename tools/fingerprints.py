"""What the project computes, as digests: a change that only moves code leaves every one of them as it is.

usage: python tools/fingerprints.py PHOTOS.tar CAPTIONED.tar CLIP [--write FILE | --compare FILE]

The pixels of 8 generated pictures and 2 clips at fixed seeds, the codes of 5 photographs and a clip, and the losses of 20 steps of both
kinds of training, all through the `grn` command on one thread of a CPU in float32. Digests of one machine only: others round otherwise.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

PROMPTS = ["a cat", "a red apple", "a rocket", "a smiling face", "an octopus", "a house", "a blue bird", "the sun"]
TOKENIZER = """
kind = "tokenizer"
name = "fingerprint"
rounds = {{ 2 = 0.5, 4 = 0.4, none = 0.1 }}
[network]
channels = 4
encoder_width = 16
decoder_width = 16
multipliers = [1, 2, 2]
encoder_blocks = 1
decoder_blocks = 1
patch = 4
halves_time = [true, true]
[data]
size = 64
flip = true
sources = [{{ path = "{photos}", resize = [64, 96] }}]
[run]
steps = 20
batch_size = 4
log_every = 1
precision = "float32"
[losses]
gan = 0.1
perceptual = 1.0
"""
GENERATOR = """
kind = "generator"
name = "fingerprint"
tokenizer = "emoji-tokenizer"
text_encoder = "{encoder}"
[network]
kind = "text-to-visual"
target = "bit"
channels = 16
rounds = 2
width = 64
depth = 2
heads = 2
text_width = 256
[data]
size = 64
sources = [{{ path = "{captioned}" }}]
[run]
steps = 20
batch_size = 4
log_every = 1
precision = "float32"
[optimizer]
lr = 1e-3
"""


def digest(data: bytes) -> str:
    """The first 16 digits of the sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def grn(folder: Path, *arguments: object) -> None:
    """Run one command in `folder`."""
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GRN_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "grn_cli", *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        env=os.environ | settings | {"PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )


def frames(clip: Path) -> bytes:
    """The pixels of all frames: what a clip says of itself may change."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(clip),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    return subprocess.run(command, check=True, capture_output=True).stdout


def losses(folder: Path, recipe: str, name: str) -> list[float]:
    """The losses of a short run."""
    (folder / f"{name}.toml").write_text(recipe)
    grn(folder, "train", f"{name}.toml", "-o", name, "-q")
    rows = [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
    return [row[next(key for key in ("loss", "l1") if key in row)] for row in rows]


def measure(folder: Path, photos: Path, captioned: Path, clip: Path) -> dict[str, object]:
    """All fingerprints."""
    found: dict[str, object] = {}
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    grn(
        folder,
        "generate",
        "--prompts",
        "prompts.txt",
        "--adaptive",
        "--tmin",
        10,
        "--seed",
        3,
        "--dtype",
        "float32",
        "-o",
        "pictures/",
        "-q",
    )
    for path in sorted((folder / "pictures").glob("*.png")):
        found[f"picture {path.stem}"] = digest(np.asarray(Image.open(path)).tobytes())
    grn(
        folder,
        "generate",
        "a dancing cat",
        "-n",
        2,
        "--seconds",
        1,
        "--steps",
        12,
        "--dtype",
        "float32",
        "-o",
        "clips/",
        "-q",
    )
    for path in sorted((folder / "clips").glob("*.mp4")):
        found[f"clip {path.stem}"] = digest(frames(path))
    with tarfile.open(photos) as archive:
        members = [member for member in archive if member.name.endswith((".jpg", ".png"))][:5]
        for number, member in enumerate(members):
            file = archive.extractfile(member)
            assert file is not None
            (folder / f"photo-{number}{Path(member.name).suffix}").write_bytes(file.read())
    grn(folder, "tokenize", *(path.name for path in sorted(folder.glob("photo-*"))), "-o", "codes/", "-q")
    grn(folder, "tokenize", clip, "--duration", 1, "--size", 128, "-o", "codes/clip.npz", "-q")
    for path in sorted((folder / "codes").glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found[f"codes {path.stem}"] = digest(arrays["codes"].tobytes())
    encoder = Path(__file__).resolve().parents[1] / "grn/models/embedded/emoji/text_encoder"
    found["losses tokenizer"] = losses(folder, TOKENIZER.format(photos=photos), "tokenizer")
    found["losses generator"] = losses(folder, GENERATOR.format(captioned=captioned, encoder=encoder), "generator")
    return found


def main() -> int:
    """Print the fingerprints, write them, or say which differ from a file's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "captioned", "clip"):
        parser.add_argument(name, type=lambda text: Path(text).resolve())
    parser.add_argument("--write", type=Path)
    parser.add_argument("--compare", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.photos, options.captioned, options.clip)
    text = json.dumps(found, indent=1)
    if options.write:
        options.write.write_text(text + "\n")
    if not options.compare:
        print(text)
        return 0
    before = json.loads(options.compare.read_text())
    differing = [name for name in before.keys() | found.keys() if before.get(name) != found.get(name)]
    print(f"{len(found)} fingerprints, {len(differing)} differ" + "".join(f"\n{name}" for name in sorted(differing)))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
