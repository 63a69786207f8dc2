"""Modes and depths of stills: golden colours, transparency."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import BLUE, RED, WHITE, chunk, png, put, saved
from PIL import Image

from grn.errors import UsageError
from grn.media import read_image


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, WHITE),
        ("1", 0, [0, 0, 0]),
        ("L", 77, [77, 77, 77]),
        ("LA", (77, 255), [77, 77, 77]),
        ("LA", (0, 0), WHITE),
        ("LA", (0, 51), [204, 204, 204]),
        ("RGB", (12, 34, 56), [12, 34, 56]),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 51), [255, 204, 204]),
        ("I;16", 65535, WHITE),
        ("I;16", 257 * 77, [77, 77, 77]),
    ],
)
def test_golden_colours_of_png_modes(tmp_path: Path, mode: str, value: Any, expected: list[int]) -> None:
    frame = read_image(saved(tmp_path / "a.png", Image.new(mode, (3, 2), value)))
    assert frame.shape == (2, 3, 3)
    assert frame.dtype == np.uint8
    assert (frame == expected).all()


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 16).reshape(16, 256).astype(np.uint16)
    for name in ("ramp.png", "ramp.tiff"):
        frame = read_image(saved(tmp_path / name, Image.fromarray(ramp)))
        assert abs(frame.mean() - 127.5) < 1.3
        assert (frame == 255).mean() < 0.01
        assert np.abs(frame[:, :, 0].astype(float) - ramp / 257).max() <= 0.5


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert read_image(saved(tmp_path / "a.png", image))[0].tolist() == [RED, BLUE]
    # The colour hidden under full transparency must not come through.
    assert read_image(saved(tmp_path / "b.png", image, transparency=0))[0].tolist() == [WHITE, BLUE]
    assert read_image(saved(tmp_path / "c.gif", image, transparency=0))[0].tolist() == [WHITE, BLUE]
    half = saved(tmp_path / "d.png", image, transparency=bytes([51, 255]))
    assert read_image(half)[0].tolist() == [[255, 204, 204], BLUE]


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    frame = read_image(saved(tmp_path / name, Image.new("CMYK", (8, 8), (0, 255, 255, 0))))
    assert np.abs(frame.astype(int) - RED).max() <= 3


@pytest.mark.parametrize(("background", "expected"), [("black", [0, 0, 0]), ("#ff0000", RED), ("rgb(0, 0, 255)", BLUE)])
def test_background(tmp_path: Path, background: str, expected: list[int]) -> None:
    path = saved(tmp_path / "a.webp", Image.new("RGBA", (2, 2), (9, 9, 9, 0)), lossless=True)
    assert (read_image(path, background) == expected).all()
    with pytest.raises(UsageError, match="not a colour"):
        read_image(path, "no such colour")


def trns(*samples: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_level_at_any_depth(tmp_path: Path, bits: int) -> None:
    top = (1 << bits) - 1
    samples = [0, top, min(1, top), max(0, top - 1)]
    shown = [(sample * 255 + top // 2) // top for sample in samples]
    for hidden in sorted(set(samples)):
        frame = read_image(put(tmp_path / "a.png", png(samples, bits, 0, trns(hidden))), "red")
        assert frame[0].tolist() == [RED if s == hidden else [g] * 3 for s, g in zip(samples, shown, strict=True)]


def test_a_transparent_colour(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", png([1, 2, 3, 1, 2, 4], 8, 2, trns(1, 2, 3)))
    assert read_image(path, "blue")[0].tolist() == [BLUE, [1, 2, 4]]


def test_a_transparent_colour_of_sixteen_bits_is_compared_whole(tmp_path: Path) -> None:
    """The two colours are alike in what is left of them in 8 bits."""
    path = put(
        tmp_path / "a.png", png([0x1234, 0xABCD, 0x8001, 0x12FF, 0xAB00, 0x80FE], 16, 2, trns(0x1234, 0xABCD, 0x8001))
    )
    assert read_image(path)[0].tolist() == [WHITE, [18, 171, 128]]
