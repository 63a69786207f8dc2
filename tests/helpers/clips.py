"""Clips that the tests of video make for themselves: frames that tell their number, written and read back."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from grn.media import VideoWriter, ffmpeg, open_media

WIDTH, HEIGHT, FPS, COUNT = 64, 48, 25, 50


def frame(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Red tells the frame's number (4 levels apart), green and blue where is up and left."""
    y, x = np.mgrid[:height, :width]
    planes = [np.full_like(x, 20 + 4 * index), x * 200 // max(width, 64), y * 200 // max(height, 64)]
    return np.stack(planes, axis=2).astype(np.uint8)


def number(picture: np.ndarray) -> int:
    return round((float(picture[..., 0].mean()) - 20) / 4)


def numbers(path: Path, **options: Any) -> list[int]:
    with open_media(path, **options) as media:
        return [number(picture) for picture in media]


def write(path: Path, count: int = COUNT, width: int = WIDTH, height: int = HEIGHT, fps: float = FPS) -> Path:
    return write_all(path, (frame(index, width, height) for index in range(count)), width, height, fps)


def write_all(
    path: Path, frames: Iterator[np.ndarray], width: int = WIDTH, height: int = HEIGHT, fps: float = FPS
) -> Path:
    with VideoWriter(path, width, height, fps) as writer:
        for picture in frames:
            writer.write(picture)
    return path


def run_ffmpeg(*arguments: object) -> None:
    command = [ffmpeg.executable(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)
