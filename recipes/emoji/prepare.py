"""Render captioned emoji into WebDataset tars: python recipes/emoji/prepare.py

Each sample is KEY.png (RGB on white), KEY.txt (the main caption) and KEY.json (name, style, hexcode, tags, group,
split, captions). A name is either trained on or held out in every style (heldout-name), and of the rest some (name,
style) pairs are held out too (heldout-pair). The same packages and options give the same bytes.
"""

import argparse
import collections
import hashlib
import io
import json
import multiprocessing
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from captions import captions, readable_name, specific_tags
from packages import STYLES, Drawing, Emoji, read_drawings, read_emoji
from PIL import Image, ImageOps

from grn.errors import BadInputError, GrnError

SPLITS = ("train", "heldout-name", "heldout-pair")
HELDOUT = 0.05


def split_of(name: str, style: str) -> str:
    """Where a picture belongs, from hashes alone: adding styles or emoji moves nothing that was there."""
    if uniform(name) < HELDOUT:
        return "heldout-name"
    return "heldout-pair" if uniform(f"{name}\n{style}") < HELDOUT else "train"


def uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text only."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def draw(drawing: Drawing, size: int) -> Image.Image:
    """The drawing as RGBA, size x size: fitted into the square, centred, transparent around."""
    scale = size / max(drawing.width, drawing.height)
    if drawing.vector:
        import resvg_py  # only rendering needs it, reading tars does not

        width, height = round(drawing.width * scale), round(drawing.height * scale)
        png = resvg_py.svg_to_bytes(
            svg_string=drawing.data.decode(), width=width, height=height, skip_system_fonts=True
        )
        picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    else:
        picture = Image.open(io.BytesIO(drawing.data)).convert("RGBA")
        # Straight alpha would bleed the colour of invisible pixels into the edges: premultiply first.
        picture = picture.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")
    if drawing.mirrored:
        picture = ImageOps.mirror(picture)
    canvas = Image.new("RGBA", (size, size))
    canvas.alpha_composite(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return canvas


def render(drawing: Drawing, size: int) -> bytes:
    """The drawing as PNG bytes, size x size RGB, on white."""
    canvas = Image.new("RGBA", (size, size), "white")
    canvas.alpha_composite(draw(drawing, size))
    out = io.BytesIO()
    canvas.convert("RGB").save(out, "PNG", optimize=True)
    return out.getvalue()


def _render_task(task: tuple[str, Drawing, int]) -> tuple[str, bytes | None, str]:
    key, drawing, size = task
    try:
        return key, render(drawing, size), ""
    except (ValueError, OSError) as error:  # one odd drawing must not lose the other ten thousand
        return key, None, str(error)


def describe(emoji: list[Emoji], styles: list[str], drawings: dict[str, dict[str, Drawing]]) -> dict[str, dict]:
    """Key -> the sample's JSON, for every emoji that a style draws."""
    shared = collections.Counter(tag for one in emoji for tag in one.tags)
    names = frozenset(readable_name(one.label) for one in emoji)
    samples = {}
    for style in styles:
        for one in emoji:
            if one.hexcode in drawings[style]:
                name, tags = readable_name(one.label), list(one.tags)
                samples[f"{style}-{one.hexcode}"] = {
                    "name": name,
                    "style": style,
                    "hexcode": one.hexcode,
                    "tags": tags,
                    "group": one.group,
                    "split": split_of(name, style),
                    "captions": captions(name, style, specific_tags(tags, shared, names)),
                }
    return samples


def shuffled(keys: Iterable[str]) -> list[str]:
    """Keys in the order of their hash: fixed, yet any stretch of a tar mixes all styles and groups."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def write_tars(samples: dict[str, dict], images: dict[str, bytes], out: Path) -> None:
    """One tar a split, members in a fixed order without times or owners."""
    for split in SPLITS:
        temporary = out / f"{split}.tar.tmp"
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for key in shuffled({k: v for k, v in samples.items() if v["split"] == split}):
                record = json.dumps(samples[key], ensure_ascii=False, sort_keys=True).encode()
                caption = samples[key]["captions"][0].encode()
                for suffix, data in (("png", images[key]), ("txt", caption), ("json", record)):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size, member.mode = len(data), 0o644
                    archive.addfile(member, io.BytesIO(data))
        temporary.replace(out / f"{split}.tar")


def manifest(samples: dict[str, dict], size: int, skipped: dict[str, str]) -> dict:
    """Counts per split and style, and whom to credit on what terms."""
    counts = collections.Counter((one["split"], one["style"]) for one in samples.values())
    styles = [style for style in STYLES if any(one["style"] == style for one in samples.values())]
    return {
        "size": size,
        "counts": {split: {style: counts[split, style] for style in styles} for split in SPLITS},
        "names": len({one["name"] for one in samples.values()}),
        "skipped": skipped,
        "licences": {
            style: {key: getattr(STYLES[style], key) for key in ("package", "licence", "author", "source")}
            for style in styles
        }
        | {"names and tags": {"package": "emojibase-data", "licence": "MIT", "source": "emojibase.dev"}},
    }


def prepare(arguments: argparse.Namespace) -> dict:
    """Render and write everything; returns the manifest."""
    emoji = read_emoji(arguments.packages, flags=arguments.flags)
    drawings = {style: read_drawings(STYLES[style], arguments.packages) for style in arguments.styles}
    samples = describe(emoji, arguments.styles, drawings)
    tasks = [(key, drawings[one["style"]][one["hexcode"]], arguments.size) for key, one in samples.items()]
    images, skipped = {}, {}
    with multiprocessing.Pool(arguments.processes) as pool:
        for done, (key, data, reason) in enumerate(pool.imap_unordered(_render_task, tasks, chunksize=16), 1):
            if data is None:
                skipped[key] = reason
            else:
                images[key] = data
            if done % 500 == 0:
                print(f"rendered {done} of {len(tasks)}", file=sys.stderr)
    if not images:
        raise BadInputError(f"{arguments.packages}: not one picture could be rendered; check the packages and resvg-py")
    samples = {key: samples[key] for key in samples if key in images}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tars(samples, images, arguments.out)
    summary = manifest(samples, arguments.size, dict(sorted(skipped.items())))
    (arguments.out / "manifest.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--packages", type=Path, default=Path("data/npm"), help="folder of npm .tgz files, filled as needed"
    )
    parser.add_argument("--out", type=Path, default=Path("data/emoji"), help="folder for the tars and manifest.json")
    parser.add_argument("--size", type=int, default=128, help="side of the square pictures in pixels")
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES), help="which drawings")
    parser.add_argument("--flags", action="store_true", help="flags too")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args(argv)


def main() -> int:
    """Run; errors as one line on stderr."""
    try:
        print(json.dumps(prepare(parse())["counts"], indent=2))
    except GrnError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
