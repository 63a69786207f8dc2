"""Captioned clips of animated emoji into WebDataset tars: python recipes/emoji/prepare_video.py

Each sample is KEY.webp (an animation without loss, RGB on white), KEY.txt (the main caption) and KEY.json (name, style, hexcode, tags, group,
split, captions), in video-train.tar or video-heldout-name.tar. Of an animation, so many moments are taken evenly from its whole length, and
written as frames of one rate. A name is held out by the same hash as in prepare.py. The same packages and options give the same bytes.
"""

import argparse
import collections
import io
import itertools
import json
import multiprocessing
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from captions import readable_name, specific_tags, with_article
from packages import Emoji, fetch, plain_hexcode, read_emoji
from PIL import Image
from prepare import HELDOUT, shuffled, uniform

from grn.errors import BadInputError, GrnError
from grn.media.webp import read_webp

PACKAGES = tuple(f"@lobehub/fluent-emoji-anim-{number}@1.0.0" for number in (1, 2, 3, 4))
CREDIT = {"licence": "MIT", "author": "Microsoft (packed by LobeHub)", "source": "github.com/microsoft/fluentui-emoji"}
SPLITS = ("train", "heldout-name")
STYLE = "animated"
Task = tuple[str, bytes, int, int, float]


def split_of(name: str) -> str:
    """As prepare.py holds out names."""
    return "heldout-name" if uniform(name) < HELDOUT else "train"


def captions(name: str, synonyms: list[str]) -> list[str]:
    """Captions to draw from uniformly, the main one first; repeats are weights. `synonyms` are `specific_tags`."""
    plain = [with_article(name), with_article(name), name, *synonyms[:2]]
    return [*plain, *(f"{text}, {STYLE}" for text in plain), f"{STYLE} {name}"]


def animations(packages: Path) -> Iterator[tuple[str, bytes]]:
    """Hexcode and file of every animation in the packages; the pictures that stand among them are left out."""
    for package in PACKAGES:
        path = fetch(package, packages)
        try:
            with tarfile.open(path, "r:gz") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.name.endswith(".webp") else None
                    data = file.read() if file is not None else b""
                    if data and read_webp(io.BytesIO(data)) is not None:
                        yield plain_hexcode(Path(member.name).stem), data
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BadInputError(
                f"{path}: not a readable npm package ({error}); delete it to download it again"
            ) from error


def resample(data: bytes, frames: int, size: int, fps: float) -> bytes:
    """So many moments of an animation as a lossless animated WebP of size x size on white."""
    animation = read_webp(io.BytesIO(data))
    assert animation is not None, "an animation has a timeline"
    timeline = animation.timeline
    shown = []
    with Image.open(io.BytesIO(data)) as image:
        for moment in (timeline.times[-1] * i / frames for i in range(frames)):
            image.seek(sum(time <= moment for time in timeline.times[:-1]) - 1)
            # Straight alpha would bleed the colour of invisible pixels into the edges: premultiply first.
            picture = image.convert("RGBA").convert("RGBa").resize((size, size), Image.Resampling.LANCZOS)
            canvas = Image.new("RGBA", (size, size), "white")
            canvas.alpha_composite(picture.convert("RGBA"))
            shown.append(canvas.convert("RGB"))
    out = io.BytesIO()
    # Frames that are alike would be joined to one; their times tell them apart again when they are read at the rate.
    shown[0].save(
        out, "WEBP", save_all=True, append_images=shown[1:], duration=_durations(frames, fps), lossless=True, method=4
    )
    return out.getvalue()


def _durations(frames: int, fps: float) -> list[int]:
    """Milliseconds of each frame, so that their sums are as near to the rate as can be."""
    ends = [round(1000 * i / fps) for i in range(frames + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]


def _resample_task(task: Task) -> tuple[str, bytes | None, str]:
    key, data, frames, size, fps = task
    try:
        return key, resample(data, frames, size, fps), ""
    except (ValueError, OSError, EOFError) as error:  # one odd animation must not lose the other two thousand
        return key, None, str(error)


def describe(emoji: list[Emoji], found: frozenset[str]) -> dict[str, dict]:
    """Key -> the sample's JSON, for every emoji of which there is an animation."""
    shared = collections.Counter(tag for one in emoji for tag in one.tags)
    names = frozenset(readable_name(one.label) for one in emoji)
    samples = {}
    for one in emoji:
        if one.hexcode in found:
            name, tags = readable_name(one.label), list(one.tags)
            samples[f"{STYLE}-{one.hexcode}"] = {
                "name": name,
                "style": STYLE,
                "hexcode": one.hexcode,
                "tags": tags,
                "group": one.group,
                "split": split_of(name),
                "captions": captions(name, specific_tags(tags, shared, names)),
            }
    return samples


def write_tars(samples: dict[str, dict], clips: dict[str, bytes], out: Path) -> None:
    """One tar a split, members in a fixed order without times or owners."""
    for split in SPLITS:
        temporary = out / f"video-{split}.tar.tmp"
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for key in shuffled(key for key in clips if samples[key]["split"] == split):
                record = json.dumps(samples[key], ensure_ascii=False, sort_keys=True).encode()
                caption = samples[key]["captions"][0].encode()
                for suffix, data in (("webp", clips[key]), ("txt", caption), ("json", record)):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size, member.mode = len(data), 0o644
                    archive.addfile(member, io.BytesIO(data))
        temporary.replace(out / f"video-{split}.tar")


def _tasks(arguments: argparse.Namespace, samples: dict[str, dict]) -> Iterator[Task]:
    for hexcode, data in animations(arguments.packages):
        if f"{STYLE}-{hexcode}" in samples:
            yield f"{STYLE}-{hexcode}", data, arguments.frames, arguments.size, arguments.fps


def prepare(arguments: argparse.Namespace) -> dict:
    """Resample and write everything; returns the manifest."""
    emoji = read_emoji(arguments.packages)
    samples = describe(emoji, frozenset(one.hexcode for one in emoji))
    clips, skipped = {}, {}
    with multiprocessing.Pool(arguments.processes) as pool:
        for done, (key, data, reason) in enumerate(pool.imap(_resample_task, _tasks(arguments, samples)), 1):
            if data is None:
                skipped[key] = reason
            else:
                clips[key] = data
            if done % 100 == 0:
                print(f"resampled {done}", file=sys.stderr)
    if not clips:
        raise BadInputError(
            f"{arguments.packages}: not one animation could be read; delete the packages to get them again"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tars(samples, clips, arguments.out)
    summary = {
        "size": arguments.size,
        "frames": arguments.frames,
        "fps": arguments.fps,
        "counts": {split: sum(samples[key]["split"] == split for key in clips) for split in SPLITS},
        "skipped": dict(sorted(skipped.items())),
        "licences": {STYLE: {"packages": list(PACKAGES), **CREDIT}},
    }
    (arguments.out / "video-manifest.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--packages", type=Path, default=Path("data/npm"), help="folder of npm .tgz files, filled as needed"
    )
    parser.add_argument("--out", type=Path, default=Path("data/emoji"), help="folder for the tars and the manifest")
    parser.add_argument("--size", type=int, default=128, help="side of the square frames in pixels")
    parser.add_argument("--frames", type=int, default=17, help="frames of a clip, 1 + n * the tokenizer's time stride")
    parser.add_argument("--fps", type=float, default=6.0, help="frames a second of what is written")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args(argv)


def main() -> int:
    """Run; errors as one line on stderr."""
    try:
        print(json.dumps(prepare(parse())["counts"], indent=2))
    except GrnError as error:
        print(f"prepare_video: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
