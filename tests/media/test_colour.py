"""Colours become sRGB: by what a profile does, by a PNG's gamma, primaries and code points."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import (
    WHITE,
    chunk,
    grey_profile,
    linear_profile,
    noise,
    png,
    put,
    saved,
    srgb_profile,
    swapped_profile,
)
from PIL import Image

from grn.media import read_image

GREY, LINEAR = (128, 64, 32), [188, 137, 99]


def one(path: Path) -> list[int]:
    return read_image(path)[0, 0].tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_profiles_are_judged_by_what_they_do(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    for name, profile, expected in (
        ("linear", linear_profile(), LINEAR),
        ("srgb", srgb_profile(), list(GREY)),
        ("broken", b"broken", list(GREY)),
        ("swapped", swapped_profile(), None),
    ):
        path = saved(tmp_path / f"{name}.{suffix}", Image.new("RGB", (16, 16), GREY), icc_profile=profile, **options)
        if expected is None:
            red, green, _ = one(path)
            assert green > red
        else:
            assert np.abs(np.array(one(path)) - expected).max() <= (2 if suffix == "jpg" else 1)


def test_srgb_leaves_every_level_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(noise()), icc_profile=srgb_profile())
    assert (read_image(path) == noise()).all()


def test_colour_profiles_are_converted(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    green = read_image(saved(tmp_path / "a.png", image, icc_profile=swapped_profile()))
    assert np.abs(green.astype(int) - [0, 255, 0]).max() <= 2
    rgba = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (read_image(saved(tmp_path / "d.png", rgba, icc_profile=swapped_profile())) == WHITE).all()


@pytest.mark.parametrize(("mode", "level"), [("L", 128), ("LA", (128, 255)), ("I;16", 128 * 257)])
def test_grey_with_a_profile(tmp_path: Path, mode: str, level: Any) -> None:
    """With one for grey, and with one for RGB, which is what some programs put into grey files."""
    grey = Image.new(mode, (4, 4), level)
    for name, profile in (("grey", grey_profile(1.0)), ("rgb", linear_profile())):
        assert abs(one(saved(tmp_path / f"{name}.png", grey, icc_profile=profile))[0] - 188) <= 1
    dark = saved(tmp_path / "dark.png", Image.new("L", (4, 4), 1), icc_profile=grey_profile(1.0))
    assert abs(one(dark)[0] - 13) <= 1
    plain = one(saved(tmp_path / "srgb.png", grey, icc_profile=srgb_profile()))
    assert plain == [128, 128, 128]


def test_grey_with_alpha_and_a_profile(tmp_path: Path) -> None:
    half = Image.new("LA", (4, 4), (128, 128))
    path = saved(tmp_path / "a.png", half, icc_profile=grey_profile(1.0))
    assert abs(one(path)[0] - (188 * 128 + 255 * 127) / 255) <= 1


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


@pytest.mark.parametrize(
    ("between", "level"),
    [
        (gama(100_000), 188),
        (gama(45_455), 128),
        (gama(45_000), 128),
        (gama(0), 128),
        (gama(100_000) + chunk(b"sRGB", b"\0"), 128),
        (gama(100_000) + chunk(b"cICP", bytes([1, 13, 0, 1])), 128),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), 188),  # linear
    ],
)
@pytest.mark.parametrize(("bits", "colour"), [(8, 2), (8, 0), (16, 0), (8, 6)])
def test_the_gamma_of_a_png(tmp_path: Path, between: bytes, level: int, bits: int, colour: int) -> None:
    grey = 128 * (257 if bits == 16 else 1)
    samples = [grey] * (3 if colour in (2, 6) else 1) + [255] * (colour == 6)
    assert one(put(tmp_path / "a.png", png(samples, bits, colour, between))) == [level] * 3


def test_dark_levels_of_linear_light_need_their_sixteen_bits(tmp_path: Path) -> None:
    levels = [0, 64, 128, 257, 600, 2000, 65_535]
    light = [level / 65_535 for level in levels]
    expected = [255 * (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055) for x in light]
    frame = read_image(put(tmp_path / "a.png", png(levels, 16, 0, gama(100_000))))
    assert np.abs(frame[0, :, 0] - expected).max() <= 1
    grey = Image.fromarray(np.array([levels], np.uint16))
    frame = read_image(saved(tmp_path / "b.png", grey, icc_profile=grey_profile(1.0)))
    assert np.abs(frame[0, :, 0] - expected).max() <= 1


def test_a_profile_comes_before_the_gamma(tmp_path: Path) -> None:
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile()))
    assert one(put(tmp_path / "a.png", png([128] * 3, between=gama(100_000) + profile))) == [128] * 3


def chrm(*numbers: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(one * 100_000) for one in numbers)))


SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def test_the_primaries_of_a_png(tmp_path: Path) -> None:
    swapped = (*SRGB[:2], *SRGB[4:6], *SRGB[2:4], *SRGB[6:])
    near = (one(put(tmp_path / "a.png", png([200, 100, 50], between=gama(45_455) + chrm(*x)))) for x in (SRGB, swapped))
    assert list(near) == [[200, 100, 50], [100, 200, 50]]
    white = (0.3457, 0.3585, *SRGB[2:])
    assert one(put(tmp_path / "a.png", png([255] * 3, between=chrm(*white)))) == WHITE
    for broken in ((0.0,) * 8, (*SRGB[:2], *SRGB[2:4] * 3)):
        assert one(put(tmp_path / "a.png", png([200, 100, 50], between=chrm(*broken)))) == [200, 100, 50]


def test_code_points_of_a_png(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Display P3's red is brighter than sRGB's can be; its greys are the same."""
    p3 = chunk(b"cICP", bytes([12, 13, 0, 1]))
    assert one(put(tmp_path / "a.png", png([99] * 3, between=p3))) == [99] * 3
    red, green, _ = one(put(tmp_path / "a.png", png([200, 0, 0], between=p3)))
    assert red > 210
    assert green == 0
    assert not caplog.text
    one(put(tmp_path / "a.png", png([200, 0, 0], between=chunk(b"cICP", bytes([9, 16, 0, 1])))))
    assert "HDR" in caplog.text


def test_a_large_picture_is_converted_in_parts(tmp_path: Path) -> None:
    levels = noise(1300, 1000)
    swapped = (*SRGB[:2], *SRGB[4:6], *SRGB[2:4], *SRGB[6:])
    data = io.BytesIO()
    Image.fromarray(levels).save(data, "PNG", compress_level=0)
    start = data.getvalue().index(b"IDAT") - 4
    path = put(tmp_path / "a.png", data.getvalue()[:start] + chrm(*swapped) + gama(45_455) + data.getvalue()[start:])
    assert np.abs(read_image(path).astype(int) - levels[..., [1, 0, 2]]).max() <= 1
