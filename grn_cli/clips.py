"""The size and length that are asked for, and generated clips as files."""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from grn_cli.paths import Item, Outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grn.pipeline import Pipeline

    Frames = Iterable[NDArray[np.uint8]]


def size_of(aspect: str | None, area: str | None, pipeline: "Pipeline") -> tuple[int, int]:
    """(height, width) of --aspect and --area in the model's steps; what is None is the model's own."""
    from grn import shapes

    side = shapes.side_of(area) if area else pipeline.size
    return shapes.size_of(side, shapes.aspect_of(aspect) if aspect else 1.0, pipeline.step)


def frames_of(seconds: float | None, pipeline: "Pipeline") -> int | None:
    """Frames of --seconds, None for as many as the model draws. Raises UsageError where it draws pictures."""
    from grn import shapes
    from grn.errors import UsageError

    if seconds is None:
        return None
    if pipeline.fps is None:
        raise UsageError(f"--seconds: {pipeline.name} draws still pictures; leave it out")
    return shapes.frames_of(seconds, pipeline.fps)


def write_clip(frames: "Frames", fps: float, item: Item, outputs: Outputs) -> Path | None:
    """Write frames uint8 [H, W, 3], .mp4 if no name says otherwise; the path, None for standard output."""
    if not outputs.stdout:
        path = outputs.path(item, ".mp4")
        _write(frames, fps, path)
        return path
    # A video file is finished by going back to its beginning, which a pipe cannot.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        _write(frames, fps, path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return None


def _write(frames: "Frames", fps: float, path: Path) -> None:
    from grn.media import VideoWriter

    held = list(frames)
    height, width = held[0].shape[:2]
    with VideoWriter(path, width, height, fps) as video:
        for frame in held:
            video.write(frame)
