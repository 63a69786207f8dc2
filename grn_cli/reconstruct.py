"""`grn reconstruct`: codes files -> images and videos."""

import io
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grn.codes import PackedCodes
from grn.errors import ModelNotFoundError, UsageError
from grn.files import is_folder
from grn.hub import registry
from grn.media import VideoWriter, clip_suffix_of, format_of, write_image
from grn.tokenizer import Tokenizer
from grn_cli.console import Console
from grn_cli.errors import Batch, say
from grn_cli.loading import load_tokenizer
from grn_cli.options.tokenize import Reconstruct
from grn_cli.paths import Item, Outputs, expand, pipe_video
from grn_cli.tokenize import facts

Frames = Iterable[NDArray[np.uint8]]
_DEFAULT_FPS = 25.0


def reconstruct(options: Reconstruct) -> None:
    """Turn each codes file into an image or video."""
    batch = Batch(alone=len(options.inputs) == 1)
    items = expand(options.inputs, {".npz"}, batch)
    many = len(items) > 1 or not batch.alone
    outputs = Outputs(options.out, many=many, force=options.force)
    if options.reference and many and not is_folder(options.reference):
        raise UsageError("--reference: is one file and there are many codes files; name the folder of their originals")
    run = _Run(options, outputs, watch=not many)
    for item in options.console.progress(items, "reconstruct") if many else items:
        with batch.item():
            run.one(item)
    batch.finish()


@dataclass
class _Run:
    """What the items of one command share; tokenizers are loaded once each."""

    options: Reconstruct
    outputs: Outputs
    watch: bool
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)

    def one(self, item: Item) -> None:
        """Reconstruct one codes file."""
        options, console = self.options, self.options.console
        codes = self._load(item)
        if not self.outputs.stdout:  # before a tokenizer is loaded, or fetched
            planned = self.outputs.planned(item, ".png" if codes.kind == "image" else ".mp4")
            (format_of if codes.kind == "image" else clip_suffix_of)(planned)
        tokenizer = self._tokenizer(codes, item)
        if foreign := codes.fingerprint != tokenizer.fingerprint and options.force:
            console.warn(f"{item.name}: made with other weights than {tokenizer.name}'s; decoding as --force asks")
        with ExitStack() as stack:
            frames: Frames = tokenizer.reconstruct(codes, any_tokenizer=options.force)
            if self.watch and codes.kind == "video":
                frames = console.progress(frames, "frames", codes.frames)
            compare = None
            if options.reference:
                from grn_cli.comparison import Comparison  # whose measures take a second to import

                compare = stack.enter_context(Comparison(options.reference, codes, item, options.reference_start))
                frames = compare.along(frames, console.warn)
            written = _write(frames, codes, self.outputs, item, console, foreign)
        made = facts(codes) | {"dtype": tokenizer.dtype_name}  # of what was written
        record = {"input": item.name, "output": written, **made, **(compare.record() if compare else {})}
        likeness = [compare.text()] if compare else []
        if not self.outputs.stdout:
            console.result(record, written, *likeness)
        elif likeness:
            say("reference", *likeness)

    def _load(self, item: Item) -> PackedCodes:
        codes, rounds = PackedCodes.load(item.source()), self.options.rounds
        if rounds and rounds > codes.rounds:
            raise UsageError(f"--rounds {rounds}: {item.name} holds {codes.rounds} rounds; give at most that many")
        return codes.truncate(rounds) if rounds else codes

    def _tokenizer(self, codes: PackedCodes, item: Item) -> Tokenizer:
        name = self.options.tokenizer or _trusted(codes, item)
        if name not in self.tokenizers:
            self.tokenizers[name] = load_tokenizer(name, self.options)
        return self.tokenizers[name]


def _trusted(codes: PackedCodes, item: Item) -> str:
    # A name inside a file may point anywhere; only our own names are followed without being asked.
    if codes.tokenizer not in registry.names("tokenizer"):
        raise ModelNotFoundError(
            f"{item.name}: made with a tokenizer called {codes.tokenizer!r}; name its folder with --tokenizer"
        )
    return codes.tokenizer


def _write(frames: Frames, codes: PackedCodes, outputs: Outputs, item: Item, console: Console, foreign: bool) -> str:
    """Write the frames; the place they went to."""
    image = codes.kind == "image"
    text = {"grn": "decoded with other weights than it was encoded with"} if foreign else {}
    if not outputs.stdout:
        path = outputs.path(item, ".png" if image else ".mp4")
        if image:
            write_image(path, next(iter(frames)), text)
        else:
            _write_video(frames, codes, path, console)
        return str(path)
    if image:
        held = io.BytesIO()
        write_image(held, next(iter(frames)), text)
        sys.stdout.buffer.write(held.getvalue())
        sys.stdout.buffer.flush()
    else:
        pipe_video(lambda path: _write_video(frames, codes, path, console))
    return "-"


def _write_video(frames: Frames, codes: PackedCodes, path: Path, console: Console) -> None:
    if codes.fps is None:
        console.warn(f"{path}: the codes hold no frame rate; writing {_DEFAULT_FPS:g} frames a second")
    with VideoWriter(path, codes.width, codes.height, codes.fps or _DEFAULT_FPS) as video:
        for frame in frames:
            video.write(frame)
