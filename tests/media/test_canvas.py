"""Layers of an animation laid over each other."""

import io
from typing import Any

import numpy as np
from PIL import Image

from grn.media.canvas import Layer, compose


def layer(left: int, disposal: Any, over: bool, *pixels: tuple[int, int, int, int]) -> Layer:
    return Layer(left, 0, disposal, over, lambda _: bytes(level for pixel in pixels for level in pixel))


def rows(*layers: Layer) -> list[list[tuple[int, ...]]]:
    def decode(data: bytes) -> Image.Image:
        return Image.frombytes("RGBA", (len(data) // 4, 1), data)

    pictures = compose(io.BytesIO(), (3, 1), layers, decode)
    return [[tuple(pixel) for pixel in np.asarray(picture)[0].tolist()] for picture in pictures]


def test_layers_blend_or_replace_and_are_disposed_of() -> None:
    red, half, none = (255, 0, 0, 255), (0, 0, 255, 128), (0, 0, 0, 0)
    assert rows(layer(1, "keep", True, red))[0] == [none, red, none]
    blended = (127, 0, 128, 255)
    assert rows(layer(0, "keep", True, red), layer(0, "keep", True, half, half)) == [
        [red, none, none],
        [blended, half, none],
    ]
    assert rows(layer(0, "keep", True, red), layer(0, "keep", False, half))[1] == [half, none, none]
    assert rows(layer(0, "clear", True, red, red), layer(2, "keep", True, red))[1] == [none, none, red]
    kept, over, after = layer(0, "keep", True, red), layer(0, "restore", True, half, half), layer(2, "keep", True, red)
    assert rows(kept, over, after)[2] == [red, none, red]


def test_what_overhangs_is_cut_off() -> None:
    red = (255, 0, 0, 255)
    assert rows(layer(2, "clear", True, red, red), layer(5, "clear", True, red)) == [
        [(0, 0, 0, 0), (0, 0, 0, 0), red],
        [(0, 0, 0, 0)] * 3,
    ]
