"""Pictures and shards that the tests of the data pipeline make for themselves."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def png(value: int, width: int = 8, height: int = 8) -> bytes:
    """A picture of one grey, with a white first column."""
    frame = np.full((height, width, 3), value, np.uint8)
    frame[:, 0] = 255
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def pack(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A shard with these files in this order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpack(folder: Path, files: dict[str, bytes]) -> Path:
    """The same files in a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def clip(values: Iterable[int], width: int = 8, height: int = 8, milliseconds: int = 100) -> bytes:
    """A lossless animated WebP whose frames are of one grey each, with a white first column."""
    frames = []
    for value in values:
        frame = np.full((height, width, 3), value, np.uint8)
        frame[:, 0] = 255
        frames.append(Image.fromarray(frame))
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=milliseconds, lossless=True)
    return file.getvalue()
