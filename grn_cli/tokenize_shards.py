"""`grn tokenize` of tars and lists: tars of codes that training reads."""

import os
import re
from dataclasses import fields, replace
from pathlib import Path

import torch

from grn.data.shards import Maker, Piece, View, is_made, make, pieces
from grn.data.sources import open_source
from grn.devices import fast_type
from grn.errors import UsageError
from grn.files import cannot_write
from grn.hub.resolve import resolve
from grn.text.encoder import TextEncoder, load_text_encoder
from grn_cli.loading import device_of, load_tokenizer, torch_type
from grn_cli.options.fields import sides
from grn_cli.options.tokenize import Clip, Tokenize


def tokenize_shards(options: Tokenize) -> None:
    """Make the tars that are not there, together with other processes that do the same."""
    if options.out in (None, "-"):
        raise UsageError("-o: tars of codes need a folder of their own; name it")
    if options.size is None and options.sizes is None:
        raise UsageError("--size: training needs samples of known sizes; give --size N, or --sizes WxH,WxH")
    if options.frames is not None and options.fps is None:
        raise UsageError("--fps: clips are trained on at one rate; give it")
    _check_read(options)
    folder, console = Path(str(options.out)), options.console
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    maker = _maker(options)
    todo: list[Piece] = []
    for number, name in enumerate(options.inputs):
        source = open_source(name, clips=options.frames is not None)
        stem = _stem(name) + (f"-{number + 1}" if len(options.inputs) > 1 else "")
        todo += pieces(source, maker, lambda n, _, stem=stem: folder / f"{stem}-{n:06d}.tar")  # type: ignore[misc]
    taken = [piece for piece in todo if piece.path.exists() and not is_made(piece)]
    if taken and not options.force:
        raise UsageError(
            f"{taken[0].path}: is there, made of something else or otherwise; name another folder, or --force"
        )
    rank, processes = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    made = make(todo, maker, lambda items: console.progress(items, "tokenize"), len(todo) * rank // processes)
    for _ in console.progress(range(len(todo)), "tokenize") if len(todo) > 1 else todo:
        piece, by_us = next(made)
        if by_us or rank == 0:
            console.result({"output": str(piece.path), "samples": len(piece.samples), "made": by_us}, str(piece.path))


def _check_read(options: Tokenize) -> None:
    """Raises UsageError for what is not asked of tars and lists."""
    for one in fields(Clip):
        if one.name != "fps" and getattr(options, one.name) != one.default:
            raise UsageError(f"--{one.name.replace('_', '-')}: is of files, and these are tars or lists; leave it out")
    if options.fps and not options.frames:
        raise UsageError("--fps: is of clips, which --frames asks for; give that too")


def _maker(options: Tokenize) -> Maker:
    here = int(os.environ.get("LOCAL_RANK", 0))
    device = device_of(options)
    if device == "cuda":
        device = f"cuda:{here % torch.cuda.device_count()}"
    tokenizer = load_tokenizer(options.tokenizer, replace(options, device=device))
    width, height = sides(options.size) if options.size else (0, 0)
    sizes = tuple(sides(one) for one in options.sizes.split(",")) if options.sizes else ()
    if width != height:
        sizes = ((width, height),)
    view = View(width, sizes, options.flip, options.frames, options.fps, options.rounds)
    text: TextEncoder | None = None
    if options.text_encoder is not None:
        folder = resolve(options.text_encoder, kind="text-encoder", offline=options.offline).folder
        fast = fast_type(device)  # as training reads captions; else as the weights are stored
        text = load_text_encoder(folder, device, torch_type(options.dtype) or (None if fast == torch.float32 else fast))
    return Maker(
        tokenizer,
        view,
        torch_type(options.dtype) or torch.float32,
        text,
        options.tag,
        options.most_bad,
        options.workers,
    )


def _stem(name: str) -> str:
    """What the tars of an input are called: its own name without numbers and suffix."""
    last = re.split(r"[/:]", name.rstrip("/"))[-1]
    bare = re.sub(r"\{.*|\*.*|\.(tar|tgz|tar\.gz|jsonl)$", "", last)
    return re.sub(r"[^\w-]+", "-", bare).strip("-_") or "codes"
