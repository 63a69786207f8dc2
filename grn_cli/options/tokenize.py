"""The options of `grn tokenize` and `grn reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grn_cli.options.fields import argument, new_file, option, rounds, several_sizes, size
from grn_cli.options.shared import Computing, ExactComputing, Overwriting, Speaking


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What to take of a video or picture."""

    PANEL = "What to take of the input"

    fps: float | None = option("Frames a second to take from a video.", "N")
    start: float = option("Where to start in a video.", "SECONDS", default=0.0)
    duration: float | None = option("How much of a video to take.", "SECONDS")
    background: str = option("Colour to lay transparent pictures over.", "COLOUR", default="white")
    allow_partial: bool = option("Use what there is of a cut-off video.", default=False)


@dataclass(frozen=True, kw_only=True)
class Shards:
    """How tars and lists become tars of codes."""

    PANEL = "Of tars and lists, for training"

    sizes: str | None = option(
        "Sizes, of which each sample takes the nearest in shape.", "WxH,WxH,...", check=several_sizes
    )
    frames: int | None = option("Take clips, of at most so many frames each.", "N", min=1)
    flip: bool = option("Mirrored pictures too.", default=False)
    text_encoder: str | None = option("Keep each caption as this text encoder reads it.", "ENCODER|FOLDER")
    tag: str = option("What stands before each caption.", "TEXT", default="")
    most_bad: float = option(
        "Share of samples that may be unreadable; more stop it.", "0..1", default=0.01, min=0.0, max=1.0
    )
    workers: int = option("Processes that read and decode.", "N", default=0, min=0, max=64)


@dataclass(frozen=True, kw_only=True)
class Tokenize(Clip, Shards, ExactComputing, Overwriting, Speaking):
    """`grn tokenize`."""

    WORK = "tokenize:tokenize"
    MORE = "Prints the path of each file written."
    EXAMPLES = (
        "grn tokenize photo.jpg",
        "grn tokenize pictures/ -o codes/ --resume",
        "grn tokenize data/train-{000..099}.tar --size 256 --text-encoder umt5-xxl -o codes/",
        "grn tokenize clip.mp4 --start 2 --duration 5 --rounds 2 -o clip.npz",
    )

    inputs: list[str] = argument(
        "Images, videos, folders or globs of them; '-' is stdin. Or tars, lists, URLs: tars of codes are made of these.",
        "INPUT",
    )
    out: str | None = option(
        "Where to write; beside each input if not given, '-' for stdout.",
        "FILE|FOLDER|-",
        "--out",
        "-o",
        check=new_file,
    )
    rounds: int | None = option("Quantization rounds; the tokenizer's own if not given.", "1..16", check=rounds)
    tokenizer: str | None = option("Model to use; the embedded one if not given.", "TOKENIZER|FOLDER")
    size: str | None = option("Scale to cover this size and crop the centre.", "N|WxH", check=size)
    resume: bool = option("Skip inputs whose codes are there, whole, and made from them as asked.", default=False)


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Computing, Overwriting, Speaking):
    """`grn reconstruct`."""

    WORK = "reconstruct:reconstruct"
    MORE = "Prints the path of each file written."
    EXAMPLES = (
        "grn reconstruct photo.npz -o back.png",
        "grn reconstruct photo.npz --rounds 2 --reference photo.jpg",
        "grn tokenize photo.jpg -o - | grn reconstruct - -o back.png",
    )

    inputs: list[str] = argument("Codes files, folders or globs of them; '-' is stdin.", "CODES")
    out: str | None = option(
        "Where to write; .png or .mp4 beside each input if not given, '-' for stdout.",
        "FILE|FOLDER|-",
        "--out",
        "-o",
        check=new_file,
    )
    rounds: int | None = option("Use only this many of the rounds stored.", "1..16", check=rounds)
    tokenizer: str | None = option("Model to use; the one named in the codes if not given.", "TOKENIZER|FOLDER")
    reference: Path | None = option(
        "The original, or the folder of the originals: print PSNR and SSIM against it.", "FILE|FOLDER"
    )
    reference_start: float = option(
        "Where in the original the codes begin, as --start of tokenize.", "SECONDS", default=0.0
    )
    force: bool = option("Overwrite files that are there; decode codes of another tokenizer.", default=False)
