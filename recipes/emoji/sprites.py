"""Emoji with their transparency, small enough to carry: python recipes/emoji/sprites.py --out data/emoji/sprites.tar

The tar holds index.json, a list of rows (key, name, style, group, split as in prepare.py, captions without a style), and KEY.webp for each: RGBA,
square. Scenes are composed from them (scenes.py says what stands where, compose.py draws it).
"""

import argparse
import collections
import io
import json
import multiprocessing
import sys
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from captions import readable_name, specific_tags, with_article
from packages import STYLES, Drawing, read_drawings, read_emoji
from PIL import Image
from prepare import draw, split_of

from grn.errors import BadInputError, GrnError

SIDE = 128
INDEX = "index.json"
SYNONYMS = 2


@dataclass(frozen=True)
class Sprite:
    """One drawing of an emoji: its file's name without suffix, and what it shows.

    captions: without a style, the main one first; repeats are weights.
    """

    key: str
    name: str
    style: str
    group: str
    split: str
    captions: tuple[str, ...]


def captions(name: str, synonyms: list[str]) -> tuple[str, ...]:
    """What a picture of this thing alone is called, whatever its style."""
    return (with_article(name), with_article(name), name, *synonyms[:SYNONYMS])


def encode(picture: Image.Image, vector: bool) -> bytes:
    """RGBA -> WebP: drawings with few colours without loss, shaded ones nearly so."""
    out = io.BytesIO()
    if vector:
        picture.save(out, "WEBP", lossless=True, quality=60, method=4)
    else:
        picture.save(out, "WEBP", quality=92, alpha_quality=100, method=4, use_sharp_yuv=True)
    return out.getvalue()


def _task(task: tuple[str, Drawing, int]) -> tuple[str, bytes | None]:
    key, drawing, side = task
    try:
        return key, encode(draw(drawing, side), drawing.vector)
    except (ValueError, OSError):  # one odd drawing must not lose the others
        return key, None


def make(packages: Path, styles: list[str], side: int, processes: int) -> tuple[list[Sprite], dict[str, bytes]]:
    """Every sprite of the styles, in a fixed order, and its file by key."""
    emoji = read_emoji(packages)
    shared = collections.Counter(tag for one in emoji for tag in one.tags)
    names = frozenset(readable_name(one.label) for one in emoji)
    sprites, tasks = [], []
    for style in styles:
        drawings = read_drawings(STYLES[style], packages)
        for one in emoji:
            if one.hexcode in drawings:
                name, key = readable_name(one.label), f"{style}-{one.hexcode}"
                said = captions(name, specific_tags(list(one.tags), shared, names))
                sprites.append(Sprite(key, name, style, one.group, split_of(name, style), said))
                tasks.append((key, drawings[one.hexcode], side))
    with multiprocessing.Pool(processes) as pool:
        found = {key: data for key, data in pool.imap_unordered(_task, tasks, chunksize=16) if data is not None}
    return [sprite for sprite in sprites if sprite.key in found], found


def write(path: Path, sprites: list[Sprite], files: dict[str, bytes]) -> None:
    """The tar, with members in a fixed order without times or owners."""
    index = json.dumps([asdict(sprite) for sprite in sprites], ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in [(INDEX, index)] + [(f"{sprite.key}.webp", files[sprite.key]) for sprite in sprites]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))


def read(path: Path, limit: int | None = None) -> tuple[list[Sprite], np.ndarray]:
    """The sprites of a tar and their pixels, uint8 [N, S, S, 4] (straight alpha). BadInputError where it is not such a tar."""
    try:
        with tarfile.open(path) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            data = {name: file.read() for name, file in files.items() if file is not None}
        sprites = [Sprite(**row | {"captions": tuple(row["captions"])}) for row in json.loads(data[INDEX])][:limit]
        pixels = [np.asarray(Image.open(io.BytesIO(data[f"{one.key}.webp"])).convert("RGBA")) for one in sprites]
        return sprites, np.stack(pixels)
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: not a tar of sprites as sprites.py writes it ({error})") from error


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/emoji/sprites.tar"))
    parser.add_argument("--packages", type=Path, default=Path("data/npm"), help="folder of npm .tgz files")
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=["3d", "flat", "noto"])
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    try:
        sprites, files = make(options.packages, options.styles, options.side, options.processes)
        write(options.out, sprites, files)
    except GrnError as error:
        print(f"sprites: error: {error}", file=sys.stderr)
        return 1
    print(f"{len(sprites)} sprites, {options.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
