"""What comes out of a pipeline: a picture or clip that knows how it was made.

Axes: frames are uint8 [T, H, W, 3], RGB.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grn.errors import UsageError
from grn.files import display
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, suffix_of, write_image
from grn.refine.config import SamplerConfig


@dataclass(frozen=True)
class Made:
    """What all results of a call have in common.

    model: as it was asked for. dtype, device: what the generator computed in, and where. tokenizer_dtype: what the
    tokenizer did, where it is something else.
    """

    model: str
    negative_prompt: str
    sampling: SamplerConfig
    dtype: str
    device: str
    preset: str | None = None
    tokenizer_dtype: str | None = None


@dataclass(frozen=True)
class Result:
    """One picture or clip and how it came about.

    frames: uint8 [T, H, W, 3]. fps: of a clip, None for a picture. seed: what decided its randomness. entropy: H of
    equation 8, None if the run was shorter than the warm-up.
    """

    frames: NDArray[np.uint8] = field(repr=False)
    prompt: str | int
    seed: int
    steps: int
    entropy: float | None
    fps: float | None
    made: Made = field(repr=False)

    @property
    def image(self) -> Image.Image:
        """The picture; of a clip, its first frame."""
        return Image.fromarray(self.frames[0])

    @property
    def images(self) -> list[Image.Image]:
        """Every frame as a picture."""
        return [Image.fromarray(frame) for frame in self.frames]

    @property
    def record(self) -> dict[str, Any]:
        """Everything that it takes to make it again, as JSON."""
        frames, height, width = self.frames.shape[:3]
        return {
            "prompt": self.prompt,
            "negative_prompt": self.made.negative_prompt,
            **({"preset": self.made.preset} if self.made.preset else {}),
            "seed": self.seed,
            "model": self.made.model,
            "width": width,
            "height": height,
            **({} if self.fps is None else {"frames": frames, "fps": self.fps}),
            "steps": self.steps,
            "entropy": self.entropy,
            "dtype": self.made.dtype,
            **({"tokenizer_dtype": self.made.tokenizer_dtype} if self.made.tokenizer_dtype else {}),
            "device": self.made.device,
            "sampling": self.made.sampling.model_dump(mode="json"),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it in the format that the suffix names; it carries the record where the format has a place for it.

        Raises UsageError for a format that cannot hold it, EnvironmentFaultError where writing fails.
        """
        suffix = suffix_of(Path(path))
        if self.fps is None:
            write_image(path, self.frames[0], png_texts(self.record))
            return
        if suffix not in WRITE_CLIP_SUFFIXES:
            raise UsageError(
                f"{display(Path(path))}: a clip of {len(self.frames)} frames cannot be written as {suffix or 'a file without suffix'} "
                f"(expected one of {', '.join(WRITE_CLIP_SUFFIXES)})"
            )
        with VideoWriter(path, self.frames.shape[2], self.frames.shape[1], self.fps, json.dumps(self.record)) as video:
            for frame in self.frames:
                video.write(frame)


def png_texts(record: Mapping[str, Any]) -> dict[str, str]:
    """What a PNG says of itself: JSON for programs, one line for people and galleries."""
    sampling = record["sampling"]
    line = (
        f"{record['prompt']}\nNegative prompt: {record['negative_prompt']}\n"
        f"Steps: {record['steps']}, Sampler: GRN, CFG scale: {sampling['guidance']}, Seed: {record['seed']}, "
        f"Size: {record['width']}x{record['height']}, Model: {record['model']}"
    )
    return {"grn": json.dumps(record), "parameters": line}
