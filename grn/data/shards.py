"""Data tokenized once: tars of codes, with captions, classes and facts beside them, that a generator's epochs read.

A tar holds of each sample

    NUMBER.npz                codes, as `grn.codes` writes them
    NUMBER.mirrored.npz       those of its mirror image, where asked for
    NUMBER.json, NUMBER.cls   facts with all captions, and the class
    NUMBER.text.safetensors   each caption, and the empty prompt, as a text encoder reads them, where asked for

Any number of processes, on machines that share the folder, make the tars of a source together: each takes one that is
neither made nor being made. A tar's comment says what it was made of.
"""

import io
import json
import logging
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from grn.codes import Codes
from grn.data.bad import Bad
from grn.data.coded import packed_texts
from grn.data.samples import Sample
from grn.data.sides import MIRRORED, TEXT
from grn.data.sources import Source
from grn.data.transforms import nearest_shape
from grn.errors import BadInputError, BusyError
from grn.files import atomic_path, locked
from grn.media import READER_VERSION, fit, square, to_batch
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.condition import Texts
from grn.text.encoder import TextEncoder
from grn.tokenizer import Tokenizer

Progress = Callable[[Iterable[int]], Iterable[int]]
BATCH = 32  # frames that are encoded at once
PIECE = 1024  # samples of a tar
_POLL_SECONDS = 1.0
_STEP_SECONDS = 0.25  # in which clips are as long as they are
logger = logging.getLogger("grn.data")


@dataclass(frozen=True)
class View:
    """What of a sample is encoded.

    size: of a square. sizes: (width, height) pairs, of which each sample takes the nearest in shape; none: the square. flip:
    mirrored too. frames, fps: of clips, the most and how many a second; None: pictures. rounds: of the codes; None: the
    tokenizer's.
    """

    size: int
    sizes: tuple[tuple[int, int], ...] = ()
    flip: bool = False
    frames: int | None = None
    fps: float | None = None
    rounds: int | None = None

    def read(self, sample: Sample, tokenizer: TokenizerConfig) -> np.ndarray:
        """Its frames uint8 [T, H, W, 3], cropped in the middle; of a clip, those at its beginning, as many as it has.

        Clips are cut to steps of a quarter of a second and of the tokenizer's time stride. Raises BadInputError.
        """
        if self.frames is None:
            return self._fitted(sample.image())[None]
        frames = sample.frames(self.frames, self.fps, fitted=self._fitted)
        length = len(frames) if len(frames) == self.frames else own_length(len(frames), self.fps, tokenizer)
        return frames[:length]

    def _fitted(self, frame: np.ndarray) -> np.ndarray:
        if not self.sizes:
            return square(frame, self.size)
        return fit(frame, self.sizes[nearest_shape(frame.shape[1], frame.shape[0], self.sizes)])


def own_length(frames: int, fps: float | None, tokenizer: TokenizerConfig) -> int:
    """How many frames of a clip are used: 1 and whole steps of about a quarter of a second, in which every token is whole."""
    stride = tokenizer.time_stride
    step = max(1, round(_STEP_SECONDS * (fps or 0) / stride)) * stride
    return 1 + (frames - 1) // step * step


@dataclass(frozen=True)
class Maker:
    """How samples become codes.

    number_format: what the network is computed in. text: reads the captions, behind `tag`. most_bad: share of samples that may
    be unreadable. workers: processes that read and decode.
    """

    tokenizer: Tokenizer
    view: View
    number_format: torch.dtype
    text: TextEncoder | None = None
    tag: str = ""
    most_bad: float = 0.0
    workers: int = 0

    def __str__(self) -> str:
        """For the comment of a tar."""
        text = "" if self.text is None else f" {self.text.name} {self.text.fingerprint} {self.tag!r}"
        rounds = self.view.rounds or self.tokenizer.config.rounds
        view = replace(self.view, rounds=rounds)
        return f"{self.tokenizer.fingerprint} {view} {READER_VERSION} {self.number_format}{text}"

    def members(self, samples: Source, bad: Bad, progress: Progress) -> Iterator[tuple[str, bytes]]:
        """Names and contents of a tar's files. Raises BadInputError where too many samples cannot be read."""
        count = max(1, BATCH // (self.view.frames or 1))
        frames = DataLoader(
            _Frames(samples, self.view, self.tokenizer.config),
            batch_size=count,
            num_workers=self.workers,
            collate_fn=list,
        )
        starts = iter(progress(range(0, len(samples), count)))
        for start, batch in zip(starts, frames, strict=False):
            found = {start + n: str(one) for n, one in enumerate(batch) if isinstance(one, BadInputError)}
            for message in bad.add(len(batch), found):
                logger.warning("skipped: %s", message)
            good = {start + n: one for n, one in enumerate(batch) if not isinstance(one, BadInputError)}
            yield from self._of_batch(samples, good)
        for _ in starts:  # a bar ends where it should
            pass

    def _of_batch(self, samples: Source, frames: dict[int, np.ndarray]) -> Iterator[tuple[str, bytes]]:
        codes: dict[int, list[bytes]] = {}
        for shape in dict.fromkeys(one.shape for one in frames.values()):
            numbers = [number for number, one in frames.items() if one.shape == shape]
            codes |= zip(numbers, self._encode(np.stack([frames[n] for n in numbers])), strict=True)
        for number, views in sorted(codes.items()):
            sample, name = samples[number], f"{number:08d}"
            yield from zip((f"{name}.npz", f"{name}{MIRRORED}"), views, strict=False)
            facts = {key: value for key, value in sample.info.items() if key != "captions"}
            captions = [one for one in sample.wordings if one.text]
            facts["captions"] = [{"content": one.text, "type": one.type, "weight": one.weight} for one in captions]
            facts["made_from"] = str(sample)
            if sample.label is not None and samples.classes:
                facts["class"] = samples.classes[sample.label]
            yield f"{name}.json", json.dumps(facts, default=str).encode()
            if sample.label is not None:
                yield f"{name}.cls", str(sample.label).encode()
            if self.text is not None:
                yield f"{name}{TEXT}", self._texts([one.text for one in captions])

    def _encode(self, frames: np.ndarray) -> Iterator[list[bytes]]:
        """Codes files of frames [B, T, H, W, 3], of each one or two views."""
        tokenizer, form, view = self.tokenizer, self.number_format, self.view
        sides = []
        for side in [frames, frames[..., ::-1, :]] if view.flip else [frames]:
            with torch.autocast(tokenizer.device.type, form, enabled=form != torch.float32):
                sides.append(tokenizer.encode(to_batch(side), view.rounds).cpu().numpy().astype(np.uint16))
        kind: Any = "image" if view.frames is None else "video"
        _, length, height, width, _ = frames.shape
        facts = (view.rounds or tokenizer.config.rounds, kind, height, width, length, view.fps if view.frames else None)
        made_by, name = (tokenizer.name, tokenizer.fingerprint), str(form).removeprefix("torch.")
        for maps in zip(*sides, strict=True):
            yield [Codes(one, *facts, *made_by, dtype=name).to_bytes() for one in maps]

    def _texts(self, captions: list[str]) -> bytes:
        assert self.text is not None
        found = self.text.encode([*(self.tag + caption for caption in captions), ""])
        tokens = (
            found.tokens if isinstance(found, Texts) else [x[m] for x, m in zip(found.tokens, found.mask, strict=True)]
        )
        return packed_texts(self.text, self.tag, list(tokens[:-1]), tokens[-1])


class _Frames(torch.utils.data.Dataset[Any]):
    def __init__(self, samples: Source, view: View, tokenizer: TokenizerConfig) -> None:
        self.samples, self.view, self.tokenizer = samples, view, tokenizer

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> np.ndarray | BadInputError:
        try:
            return self.view.read(self.samples[number], self.tokenizer)
        except BadInputError as error:
            return error


@dataclass(frozen=True)
class Piece:
    """A tar to be, and what it is made of."""

    path: Path
    samples: Source
    comment: str


def pieces(source: Source, maker: Maker, path: Callable[[int, str], Path]) -> list[Piece]:
    """A source in tars of at most 1024 samples each (fewer, of clips). path: of a piece, by its number and its comment."""
    size = PIECE if maker.view.frames is None else max(1, PIECE // 16)
    found = []
    for number, part in enumerate(source.parts(size)):
        comment = f"{maker} {part.identity()}"
        found.append(Piece(path(number, comment), part, comment))
    return found


def make(
    todo: Sequence[Piece], maker: Maker, progress: Progress = iter, first: int = 0
) -> Iterator[tuple[Piece, bool]]:
    """Make the tars that are not there, together with other processes that do the same, and wait for theirs.

    first: where this process begins to look for work. progress: shows the batches of a single piece. Gives each piece as
    soon as it is there, and whether this process made it.

    Raises BadInputError where too many samples cannot be read, EnvironmentFaultError where a tar cannot be written.
    """
    waiting = [*todo[first:], *todo[:first]]
    bad = Bad(maker.most_bad, sum(len(piece.samples) for piece in todo))
    while waiting:
        busy = []
        for piece in waiting:
            if is_made(piece):
                yield piece, False
                continue
            try:
                with locked(piece.path.with_name(f"{piece.path.name}.lock")):
                    made = not is_made(piece)
                    if made:
                        _write(piece, maker, bad, progress if len(todo) == 1 else iter)
            except BusyError:
                busy.append(piece)
                continue
            yield piece, made
        waiting = busy
        if waiting:
            time.sleep(_POLL_SECONDS)


def made_together(todo: Sequence[Piece], maker: Maker, progress: Progress = iter, first: int = 0) -> list[Path]:
    """The tars of all pieces, made where they are not there; as `make` else, which shows its progress here."""
    made = make(todo, maker, progress, first)
    for _ in progress(range(len(todo))) if len(todo) > 1 else todo:
        next(made)
    return [piece.path for piece in todo]


def is_made(piece: Piece) -> bool:
    """Whether a tar is there, and made of the same samples in the same way."""
    with suppress(OSError, tarfile.TarError), tarfile.open(piece.path) as tar:
        tar.next()
        return tar.pax_headers.get("comment") == piece.comment
    return False


def _write(piece: Piece, maker: Maker, bad: Bad, progress: Progress) -> None:
    with (
        atomic_path(piece.path) as aside,
        tarfile.open(aside, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": piece.comment}) as tar,
    ):
        for name, data in maker.members(piece.samples, bad, progress):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
