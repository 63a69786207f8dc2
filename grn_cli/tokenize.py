"""`grn tokenize`: images and videos -> codes files."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from grn.codes import PackedCodes
from grn.data.remote import is_url
from grn.data.tables import PREFIX
from grn.errors import BadInputError, CodesError, UsageError
from grn.files import atomic_path, sha256
from grn.media import READ_SUFFIXES, Media, open_media
from grn.tokenizer import Tokenizer
from grn_cli.console import Console
from grn_cli.errors import Batch
from grn_cli.loading import load_tokenizer
from grn_cli.options.fields import sides
from grn_cli.options.tokenize import Clip, Shards, Tokenize
from grn_cli.paths import Item, Outputs, expand

_OF_CLIPS = ("fps", "start", "duration")
_LISTS = (".tar", ".tgz", ".tar.gz", ".jsonl")


def tokenize(options: Tokenize) -> None:
    """Turn each input into a codes file, or tars and lists into tars of codes."""
    if _are_shards(options.inputs):
        from grn_cli.tokenize_shards import tokenize_shards  # brings text encoders, which files do without

        tokenize_shards(options)
        return
    for one in fields(Shards):
        if getattr(options, one.name) != one.default:
            raise UsageError(
                f"--{one.name.replace('_', '-')}: is of tars and lists, and there are other inputs; leave it out"
            )
    console = options.console
    batch = Batch(alone=len(options.inputs) == 1)
    items = expand(options.inputs, READ_SUFFIXES, batch)
    many = len(items) > 1 or not batch.alone
    outputs = Outputs(options.out, many=many, force=options.force, resume=options.resume)
    if not outputs.stdout and outputs.suffix(".npz").lower() in READ_SUFFIXES:
        raise UsageError(f"-o {options.out}: is the name of a picture or clip, and codes are written; end it in .npz")
    if items:
        if batch.alone:  # of many, others need the tokenizer anyway
            _check_there(items[0])
        tokenizer = load_tokenizer(options.tokenizer, options)
        moving: list[bool] = []
        for item in console.progress(items, "tokenize") if len(items) > 1 else items:
            with batch.item():
                source = _source(item, options)
                if options.resume and _done(path := outputs.planned(item, ".npz"), source, tokenizer, options):
                    console.result({"input": item.name, "output": str(path), "skipped": True}, str(path))
                    continue
                codes = _codes(item, tokenizer, options, alone=len(items) == 1)
                moving.append(codes.kind == "video")
                said = console.detail if len(items) > 1 else console.info  # of many, the results' names are enough
                said(_write(replace(codes, source=source), item, outputs, console))
        if len(moving) == len(items):  # else some were skipped, or could not be read
            _check_read(options, moving, console)
    batch.finish()


def _check_read(options: Tokenize, moving: list[bool], console: Console) -> None:
    """Say where options on clips have changed nothing. moving: whether each input is a clip."""
    given = [name for name in _OF_CLIPS if getattr(options, name)]
    if given and not any(moving):
        console.warn(f"{' and '.join(f'--{name}' for name in given)}: changed nothing, for no input is a clip")


def _are_shards(inputs: list[str]) -> bool:
    """Whether all inputs are tars, lists, URLs or data sets, of which tars of codes are made."""
    return all(is_url(name) or name.startswith(PREFIX) or name.lower().endswith(_LISTS) for name in inputs)


def _check_there(item: Item) -> None:
    """Raises BadInputError for a wrong name, which is told before a tokenizer is fetched: that may be gigabytes."""
    try:
        if item.path is not None:
            item.path.stat()
    except FileNotFoundError as error:
        raise BadInputError(f"{item.name}: no such file; check the name") from error
    except (OSError, ValueError):  # opening it says what is wrong
        pass


def _source(item: Item, options: Tokenize) -> str:
    """What the codes are made from: a digest of the file and of how it is read; "" of a pipe, or what cannot be read."""
    read = {one.name: getattr(options, one.name) for one in fields(Clip)} | {"size": options.size}
    try:
        content = sha256(item.path) if item.path and item.path.is_file() else ""
    except (OSError, ValueError):  # opening it says what is wrong
        content = ""
    return hashlib.sha256(f"{content} {json.dumps(read, sort_keys=True)}".encode()).hexdigest() if content else ""


def _done(path: Path, source: str, tokenizer: Tokenizer, options: Tokenize) -> bool:
    """Whether the codes are there, whole, and made of the same file as they would be now, in the same number format if they say."""
    if not source or not path.is_file():
        return False
    try:
        found = PackedCodes.load(path)
    except CodesError:
        return False
    rounds = options.rounds or tokenizer.config.rounds
    same = (found.source, found.fingerprint, found.rounds) == (source, tokenizer.fingerprint, rounds)
    return same and found.dtype in ("", tokenizer.dtype_name)


def _codes(item: Item, tokenizer: Tokenizer, options: Tokenize, alone: bool) -> PackedCodes:
    with open_media(
        item.source(),
        size=sides(options.size) if options.size else None,
        fps=options.fps,
        start=options.start,
        duration=options.duration,
        background=options.background,
        allow_partial=options.allow_partial,
    ) as media:
        watched: Any = _Watched(media, options.console) if alone and media.kind == "video" else media
        return tokenizer.tokenize_packed(watched, options.rounds)


def _write(codes: PackedCodes, item: Item, outputs: Outputs, console: Console) -> str:
    """Write the codes; what to say of them."""
    if outputs.stdout:
        size = codes.save(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        written = "-"
    else:
        path = outputs.path(item, ".npz")
        with atomic_path(path) as temporary:
            size = codes.save(temporary)
        written = str(path)
        console.result({"input": item.name, "output": written, **facts(codes), "bytes": size}, written)
    frames = f", {codes.frames} frames" if codes.kind == "video" else ""
    return (
        f"{item.name} -> {written}: {codes.width}x{codes.height}{frames}, {codes.rounds} rounds, "
        f"{codes.bits_per_pixel:.3f} bits per pixel, {size} bytes"
    )


def facts(codes: PackedCodes) -> dict[str, Any]:
    """What codes say of themselves, for programs."""
    names = ("kind", "width", "height", "frames", "fps", "rounds", "shape", "bits_per_pixel", "tokenizer")
    return {name: getattr(codes, name) for name in names} | {"dtype": codes.dtype or None}


class _Watched:
    """An open video whose frames move a bar as they are taken."""

    def __init__(self, media: Media, console: Console) -> None:
        self._media, self._console = media, console

    def __getattr__(self, name: str) -> Any:
        return getattr(self._media, name)

    def __iter__(self) -> Iterator[Any]:
        return self._console.progress(self._media, "frames", self._media.expected_frames)
