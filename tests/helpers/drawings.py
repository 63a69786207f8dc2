"""Made-up sprites, pictures and clips for the tests of the emoji recipe."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from sprites import Sprite

THINGS = ("cat dog owl fox hen cow pig bat ant bee car bus van key pen cup jar hat").split()  # noqa: SIM905
SIDE = 32


def sprites(styles: tuple[str, ...] = ("3d", "flat")) -> tuple[list[Sprite], np.ndarray]:
    """A coloured square of its own for each thing, with a transparent edge; uint8 [N, SIDE, SIDE, 4]."""
    made, pixels = [], []
    for s, style in enumerate(styles):
        for n, name in enumerate(THINGS):
            split = "heldout-name" if name == "hat" else "train"
            said = (f"a {name}", f"a {name}", name)
            made.append(Sprite(f"{style}-{n:x}", name, style, "objects", split, said))
            picture = np.zeros((SIDE, SIDE, 4), np.uint8)
            picture[4:-4, 4:-4] = (60 + 9 * n, 200 - 9 * n, 40 + 90 * s, 255)
            pixels.append(picture)
    return made, np.stack(pixels)


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    """One picture [H, W, 3 or 4], or an animation [T, H, W, 3], without loss."""
    out = io.BytesIO()
    if array.ndim == 4:
        frames = [Image.fromarray(frame) for frame in array]
        frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=167, lossless=True)
    else:
        Image.fromarray(array).save(out, kind)
    return out.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A tar of these files."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pictures_tar(path: Path, count: int, size: tuple[int, int] = (40, 36), suffix: str = "png") -> Path:
    """Random pictures, captioned."""
    rng = np.random.default_rng(count)
    files = {}
    for n in range(count):
        files[f"{n:04}.{suffix}"] = encoded(rng.integers(0, 256, (*size, 3), np.uint8))
        files[f"{n:04}.txt"] = b"a picture"
    return write_tar(path, files)


def clips_tar(path: Path, count: int, frames: int = 5, side: int = 32) -> Path:
    """Clips of a square that moves, captioned as prepare_video.py does."""
    files = {}
    for n in range(count):
        clip = np.full((frames, side, side, 3), 255, np.uint8)
        for t in range(frames):
            clip[t, 4:12, 2 * t + n : 2 * t + n + 8] = (200, 20 * n, 40)
        files[f"animated-{n}.webp"] = encoded(clip)
        files[f"animated-{n}.json"] = json.dumps({"captions": [f"a {THINGS[n]}", f"{THINGS[n]}, animated"]}).encode()
    return write_tar(path, files)


def emoji_tar(path: Path) -> Path:
    """The sprites as pictures on white, captioned as prepare.py does."""
    files = {}
    for sprite, pixels in zip(*sprites(), strict=True):
        shown = np.where(pixels[..., 3:] > 0, pixels[..., :3], 255).astype(np.uint8)
        about = {"captions": list(sprite.captions), "style": sprite.style, "split": sprite.split}
        files |= {f"{sprite.key}.png": encoded(shown), f"{sprite.key}.json": json.dumps(about).encode()}
    return write_tar(path, files)
