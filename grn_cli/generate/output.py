"""What `grn generate` writes: pictures and clips, contact sheets of them, the history of one; and what they say of themselves."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grn.errors import BadInputError, UsageError
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, contact_sheet, write_image
from grn.pipeline import Pipeline
from grn.result import Result, png_texts
from grn_cli.console import Console
from grn_cli.generate.job import Job
from grn_cli.generate.names import name_of
from grn_cli.paths import Item, Outputs, pipe_video
from grn_cli.record import read_record

_COLOURS = {"filled": (80, 180, 90), "kept": (190, 190, 190), "erased": (220, 80, 70)}
_EACH = ("prompt", "seed", "steps", "entropy")  # of a picture of a contact sheet; the rest is said once
_FOUND = ("steps", "entropy", "device")  # what is not known before a picture is drawn, or does not change it


@dataclass
class Writer:
    """Writes the results of one job, of `size` (frames, height, width). clip: as videos. show: on the terminal, too."""

    job: Job
    pipeline: Pipeline
    outputs: Outputs
    console: Console
    size: tuple[int, int, int]
    clip: bool
    show: bool = False

    def __post_init__(self) -> None:
        self._start = self.job.start.record()
        self._sampling = self.pipeline.settings(self.size[0] > 1, **self.job.overrides).model_dump(mode="json")
        self._numbered = len(set(self.job.seeds)) > 1

    def one(self, result: Result) -> None:
        """A file of its own for one result."""
        item = self._item(result.prompt, result.seed)
        self._save(result.frames, self._record(result), item)

    def grid(self, drawn: list[Result]) -> None:
        """All results in one contact sheet, frame by frame."""
        columns = min(8, max(1, round((len(drawn) * 2) ** 0.5)))
        records = [self._record(result) for result in drawn]
        common = {key: value for key, value in records[0].items() if key not in _EACH}
        pictures = [{key: one[key] for key in _EACH} for one in records]
        sheet = contact_sheet([result.frames for result in drawn], columns)
        self._save(sheet, {**common, "pictures": pictures}, Item(None, Path("grid")))

    def done(self, prompt: str | int, seed: int) -> bool:
        """Whether the file of this picture is there, whole, and made as it would be now; its path is printed then."""
        path = self.outputs.planned(self._item(prompt, seed), self._suffix)
        wanted = json.loads(json.dumps(self._plan(prompt, seed)))
        try:
            found = read_record(path)
        except BadInputError:
            return False
        if {key: value for key, value in found.items() if key not in _FOUND} != wanted:
            return False
        self.console.result({"output": str(path), **found}, str(path))
        return True

    @property
    def _suffix(self) -> str:
        return ".mp4" if self.clip else ".png"

    def _item(self, prompt: str | int, seed: int) -> Item:
        name = name_of(prompt)
        return Item(None, Path(f"{name}-{seed}" if self._numbered else name))

    def _plan(self, prompt: str | int, seed: int) -> dict[str, Any]:
        frames, height, width = self.size
        return {
            "prompt": prompt,
            "negative_prompt": self.job.negative_prompt,
            **({"preset": self.job.preset} if self.job.preset else {}),
            "seed": seed,
            "model": self.job.model,
            "weights": self.pipeline.generator.fingerprint,
            **self._replaced,
            "width": width,
            "height": height,
            **({"frames": frames, "fps": self.pipeline.fps} if self.clip else {}),
            "dtype": self.pipeline.dtype_name,
            **({"tokenizer_dtype": self.pipeline.tokenizer.dtype_name} if self.pipeline.decodes_otherwise else {}),
            "sampling": self._sampling,
            **({"from": self._start} if self._start else {}),
        }

    @cached_property
    def _replaced(self) -> dict[str, str]:
        """The weights of parts that are not the model's own."""
        tokenizer, text = self.pipeline.tokenizer, self.pipeline.text
        found = {"tokenizer_weights": tokenizer.fingerprint} if "tokenizer" in self.job.replaced else {}
        return found | ({"text_weights": text.fingerprint} if "text_encoder" in self.job.replaced and text else {})

    def _record(self, result: Result) -> dict[str, Any]:
        found = {"steps": result.steps, "entropy": result.entropy, "device": result.made.device}
        return {**self._plan(result.prompt, result.seed), **found}

    def _save(self, frames: NDArray[np.uint8], record: dict[str, Any], item: Item) -> None:
        note = json.dumps(record)
        texts = {"grn": note} if "pictures" in record else png_texts(record)
        fps = self.pipeline.fps or 0.0
        if self.outputs.stdout:
            if self.clip:
                pipe_video(lambda path: _write_video(path, frames, fps, note))
            else:
                write_image(sys.stdout.buffer, frames[0], texts)
                sys.stdout.buffer.flush()
            return
        path = self.outputs.path(item, self._suffix)
        if self.clip:
            _write_video(path, frames, fps, note)
        else:
            write_image(path, frames[0], texts)
        if self.show:
            self.console.picture(frames)
        self.console.result({"output": str(path), **record}, str(path))


def _write_video(
    path: Path, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], fps: float, note: str = ""
) -> None:
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], fps, note) as video:
        for frame in frames:
            video.write(frame)


class History:
    """The steps of one picture: what the network sees, what it predicts, and which tokens are filled, kept and erased."""

    def __init__(self, path: Path, pictures: Outputs, force: bool) -> None:
        """Raises UsageError where the animation cannot go to `path`."""

        self.path, self.piped = path, pictures.stdout
        self.outputs = Outputs(str(path), many=False, force=force)
        if path.suffix.lower() not in WRITE_CLIP_SUFFIXES:
            raise UsageError(f"--history {path}: is no animation; use one of {', '.join(WRITE_CLIP_SUFFIXES)}")
        if pictures.is_named(path):
            raise UsageError(f"--history {path}: is where the result goes; give them different names")
        pictures.leave(path)
        self.views: list[Any] = []

    def note(self, view: Any) -> None:
        self.views.append(view.cpu())

    def frames(self, pipeline: Pipeline) -> Iterator[NDArray[np.uint8]]:
        """State, prediction and token map of each step side by side, uint8 [t*H, 3W, 3]; a token's colour is the mean of its elements'.

        Of a clip, the last frame of each token is shown, one below the other.
        """
        step = pipeline.tokenizer.config.time_stride
        for view in self.views:
            shown = pipeline.pictures(pipeline.indices(torch.stack([view.state, view.prediction])))
            pictures = np.concatenate(list(shown), 2)[::step]
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
