"""What `grn generate` writes: pictures and clips, contact sheets of them, the history of one; and what they say of themselves."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grn.errors import UsageError
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, contact_sheet, write_image
from grn.pipeline import Pipeline
from grn.result import Result, png_texts
from grn_cli.console import Console
from grn_cli.generate_job import Job
from grn_cli.paths import Item, Outputs, pipe_video

_COLOURS = {"filled": (80, 180, 90), "kept": (190, 190, 190), "erased": (220, 80, 70)}
_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass
class Writer:
    """Writes the results of one job. clip: as videos."""

    job: Job
    pipeline: Pipeline
    outputs: Outputs
    console: Console
    clip: bool

    def __post_init__(self) -> None:
        self._start = self.job.start.record()

    def one(self, result: Result) -> None:
        """A file of its own for one result."""
        record = self._record(result)
        many = len(set(self.job.seeds)) > 1
        slug = _SLUG.sub("-", str(result.prompt).lower()).strip("-")[:60] or "picture"
        self._save(result.frames, png_texts(record), record, f"{slug}-{record['seed']}" if many else slug)

    def grid(self, drawn: list[Result]) -> None:
        """All results in one contact sheet, frame by frame."""
        columns = min(8, max(1, round((len(drawn) * 2) ** 0.5)))
        sheet = contact_sheet([result.frames for result in drawn], columns)
        record = {"model": self.job.model, "pictures": [self._record(result) for result in drawn]}
        self._save(sheet, {"grn": json.dumps(record)}, record, "grid")

    def _record(self, result: Result) -> dict[str, Any]:
        length = {"frames": len(result.frames), "fps": self.pipeline.fps} if self.clip else {}
        start = {"from": self._start} if self._start else {}
        return {**result.record, "model": self.job.model, **length, **start}

    def _save(self, frames: NDArray[np.uint8], texts: dict[str, str], record: dict[str, Any], name: str) -> None:

        if self.outputs.stdout:
            self._pipe(frames, texts)
            return
        path = self.outputs.path(Item(None, Path(name)), ".mp4" if self.clip else ".png")
        if self.clip:
            self._video(path, frames)
        else:
            write_image(path, frames[0], texts if path.suffix.lower() == ".png" else None)
        self.console.result({"output": str(path), **record}, str(path))

    def _pipe(self, frames: NDArray[np.uint8], texts: dict[str, str]) -> None:

        if self.clip:
            pipe_video(lambda path: self._video(path, frames))
        else:
            write_image(sys.stdout.buffer, frames[0], texts)
            sys.stdout.buffer.flush()

    def _video(self, path: Path, frames: NDArray[np.uint8]) -> None:
        assert self.pipeline.fps is not None, "a model of clips has a frame rate"
        _write_video(path, frames, self.pipeline.fps)


def _write_video(path: Path, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], fps: float) -> None:

    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], fps) as video:
        for frame in frames:
            video.write(frame)


class History:
    """The steps of one picture: what was drawn, and which tokens it filled, kept and erased."""

    def __init__(self, path: Path, pictures: Outputs, force: bool) -> None:
        """Raises UsageError where the animation cannot go to `path`."""

        self.path, self.piped = path, pictures.stdout
        self.outputs = Outputs(str(path), many=False, force=force)
        if path.suffix.lower() not in WRITE_CLIP_SUFFIXES:
            raise UsageError(f"--history {path}: is no animation; use one of {', '.join(WRITE_CLIP_SUFFIXES)}")
        self.views: list[Any] = []

    def note(self, view: Any) -> None:
        self.views.append(view.cpu())

    def frames(self, pipeline: Pipeline) -> Iterator[NDArray[np.uint8]]:
        """Each step's picture beside its token map, uint8 [t*H, 2W, 3]; a token's colour is the mean of its elements'.

        Of a clip, the last frame of each token is shown, one below the other.
        """
        step = pipeline.tokenizer.config.time_stride
        for view in self.views:
            pictures = pipeline.pictures(pipeline.indices(view.prediction)[None])[0][::step]
            colours = torch.full((*view.filled.shape, 3), 255.0)
            for name, colour in _COLOURS.items():
                colours[getattr(view, name)] = torch.tensor(colour, dtype=torch.float32)
            tokens = colours.mean(-2).round().byte().numpy()  # [t, h, w, 3]
            scale = pictures.shape[1] // tokens.shape[1]
            beside = np.concatenate([pictures, tokens.repeat(scale, 1).repeat(scale, 2)], 2)
            yield beside.reshape(-1, *beside.shape[2:])

    def write(self, pipeline: Pipeline, console: Console) -> None:
        target = self.outputs.path(Item(None, self.path), self.path.suffix)
        frames = list(self.frames(pipeline))
        _write_video(target, [*frames, *[frames[-1]] * 8], 8)
        if not self.piped:  # standard output has the picture's bytes
            console.result({"history": str(target), "steps": len(frames)}, str(target))
