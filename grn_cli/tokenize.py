"""`grn tokenize`: images and videos -> codes files."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.console import Console
from grn_cli.errors import Batch
from grn_cli.options import Common, command, parse_size, rounds_option
from grn_cli.paths import Item, Outputs, expand

if TYPE_CHECKING:
    from grn.codes import PackedCodes
    from grn.media import Media
    from grn.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizeOptions:
    """The options of `grn tokenize`."""

    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE|FOLDER|-",
            help="Where to write; beside each input if not given, '-' for stdout.",
        ),
    ] = None
    rounds: Annotated[int | None, rounds_option("Quantization rounds; the tokenizer's own if not given.")] = None
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="NAME|FOLDER", help="Model to use; the embedded one if not given."),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="N|WxH", callback=parse_size, help="Scale to cover this size and crop the centre."
        ),
    ] = None
    fps: Annotated[float | None, typer.Option("--fps", metavar="N", help="Frames a second to take from a video.")] = (
        None
    )
    start: Annotated[
        float, typer.Option("--start", metavar="SECONDS", help="Where to start in a video, in seconds.")
    ] = 0.0
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", help="How much of a video to take, in seconds.")
    ] = None
    background: Annotated[
        str, typer.Option("--background", metavar="COLOUR", help="Colour to lay transparent pictures over.")
    ] = "white"
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Use what there is of a cut-off video.")] = (
        False
    )

    def media(self) -> dict[str, Any]:
        """The arguments for `open_media`."""
        sides = [int(side) for side in self.size.split("x")] if self.size else []
        return {
            "size": (sides[0], sides[-1]) if sides else None,
            "fps": self.fps,
            "start": self.start,
            "duration": self.duration,
            "background": self.background,
            "allow_partial": self.allow_partial,
        }


@command
def tokenize(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Images, videos, folders or globs of them; '-' is stdin.")
    ],
    options: TokenizeOptions,
    common: Common,
) -> None:
    """Turn images and videos into codes files.

    Prints the path of each file written.
    """
    from grn.media import READ_SUFFIXES
    from grn.tokenizer import Tokenizer

    console = common.console
    batch = Batch(alone=len(inputs) == 1)
    items = expand(inputs, READ_SUFFIXES, batch)
    outputs = Outputs(options.out, many=len(items) > 1 or not batch.alone, force=common.force)
    if items:
        name = options.tokenizer or default_tokenizer()
        tokenizer = Tokenizer.from_pretrained(name, common.torch_device(), common.torch_dtype(), common.offline)
        console.detail(f"tokenizer {tokenizer.name}, weights {tokenizer.fingerprint[:12]}")
        for item in console.progress(items, "tokenize") if len(items) > 1 else items:
            with batch.item():
                codes = _tokenize(item, tokenizer, options, console if len(items) == 1 else None)
                _write(codes, item, outputs, console)
    batch.finish()


def default_tokenizer() -> str:
    """The tokenizer that is used where none is named."""
    from grn.hub.registry import DEFAULT_TOKENIZER

    return DEFAULT_TOKENIZER


def _tokenize(item: Item, tokenizer: "Tokenizer", options: TokenizeOptions, console: Console | None) -> "PackedCodes":
    from grn.media import open_media

    with open_media(item.source(), **options.media()) as media:
        watched: Any = _Watched(media, console) if console and media.kind == "video" else media
        return tokenizer.tokenize_packed(watched, options.rounds)


def _write(codes: "PackedCodes", item: Item, outputs: Outputs, console: Console) -> None:
    from grn.files import atomic_path

    if outputs.stdout:
        size = codes.save(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        written = "-"
    else:
        path = outputs.path(item, ".npz")
        with atomic_path(path) as temporary:
            size = codes.save(temporary)
        written = str(path)
        console.result(_record(codes, item, written, size), written)
    frames = f", {codes.frames} frames" if codes.kind == "video" else ""
    console.info(
        f"{item.name} -> {written}: {codes.width}x{codes.height}{frames}, {codes.rounds} rounds, "
        f"{codes.bits_per_pixel:.3f} bits per pixel, {size} bytes"
    )


def _record(codes: "PackedCodes", item: Item, written: str, size: int) -> dict[str, Any]:
    return {
        "input": item.name,
        "output": written,
        "kind": codes.kind,
        "width": codes.width,
        "height": codes.height,
        "frames": codes.frames,
        "fps": codes.fps,
        "rounds": codes.rounds,
        "shape": list(codes.shape),
        "bits_per_pixel": codes.bits_per_pixel,
        "bytes": size,
        "tokenizer": codes.tokenizer,
    }


class _Watched:
    """An open video whose frames move a bar as they are taken."""

    def __init__(self, media: "Media", console: Console) -> None:
        self._media, self._console = media, console

    def __getattr__(self, name: str) -> Any:
        return getattr(self._media, name)

    def __iter__(self) -> Iterator[Any]:
        return self._console.progress(self._media, "frames", self._media.expected_frames)
