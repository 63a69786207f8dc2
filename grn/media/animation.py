"""What an animated file holds, learned from its structure before anything is decoded."""

from dataclasses import dataclass
from typing import BinaryIO

from grn.media.canvas import Layer
from grn.media.timeline import Timeline

# A length field can claim 4 GiB, which would be allocated before anything is read.
_LONGEST = 1 << 28


@dataclass(frozen=True)
class Animation:
    """Pictures and their times. size: (width, height) of the canvas. layers: empty where the format's own decoder lays
    the pictures over each other (WebP).
    """

    size: tuple[int, int]
    layers: tuple[Layer, ...]
    timeline: Timeline


def take(file: BinaryIO, length: int) -> bytes:
    """The next bytes, all of them. Raises ValueError where the file ends before."""
    data = file.read(min(length, _LONGEST))
    if len(data) < length:
        raise ValueError("the file ends early")
    return data
