"""Still images: golden colours for each mode, rotation, sizes, text, damage."""

import io
import itertools
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.files import display
from grn.media import fit, open_media, read_image, read_image_text, write_image

WHITE, RED, BLUE = [255, 255, 255], [255, 0, 0], [0, 0, 255]
SUFFIXES = ("png", "jpg", "webp", "bmp", "tiff", "gif")


def picture(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth and asymmetric, so that any format holds it well and any wrong turn shows."""
    y, x = np.mgrid[:height, :width]
    planes = [
        x * 255 // max(width - 1, 1),
        y * 255 // max(height - 1, 1),
        (x + y + 40 * seed) * 255 // (width + height + 40 * seed),
    ]
    return np.stack(planes, axis=2).astype(np.uint8)


def noise(width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def refused(path: Path, match: str | None = None) -> str:
    with pytest.raises(BadInputError, match=match) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(display(path))
    assert "\n" not in message
    return message


# --- colours -------------------------------------------------------------------------------------------------------


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


def test_sixteen_bit_grey_with_a_transparent_level(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.array([[0, 1000, 65535]], np.uint16)))
    data = path.read_bytes()
    body = b"tRNS" + struct.pack(">H", 1000)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + chunk + data[at:])
    assert read_image(path, "red")[0].tolist() == [[0, 0, 0], RED, WHITE]


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


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert read_image(path, "blue")[0].tolist() == [BLUE]


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    frame = read_image(saved(tmp_path / name, Image.new("CMYK", (8, 8), (0, 255, 255, 0))))
    assert np.abs(frame.astype(int) - RED).max() <= 3


def test_grey_and_float_tiffs(tmp_path: Path) -> None:
    assert (read_image(saved(tmp_path / "a.tiff", Image.new("L", (2, 2), 9))) == 9).all()
    refused(saved(tmp_path / "f.tiff", Image.new("F", (2, 2), 0.5)), "no defined white")
    refused(saved(tmp_path / "i.tiff", Image.new("I", (2, 2), 70000)), "no defined white")


def _swapped_profile() -> bytes:
    """An RGB profile whose red and green primaries have changed places, so that converting it is visible."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green, name = entries[b"rXYZ"], entries[b"gXYZ"], entries[b"desc"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    offset, size = struct.unpack(">II", data[name + 4 : name + 12])
    data[offset + 8 : offset + size] = (
        bytes(data[offset + 8 : offset + size]).replace(b"s\0R\0G\0B", b"X\0X\0X\0X").replace(b"sRGB", b"XXXX")
    )
    return bytes(data)


def test_colour_profiles_are_converted(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    green = read_image(saved(tmp_path / "a.png", image, icc_profile=_swapped_profile()))
    assert np.abs(green.astype(int) - [0, 255, 0]).max() <= 2
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (read_image(saved(tmp_path / "b.png", image, icc_profile=srgb)) == RED).all()
    assert (read_image(saved(tmp_path / "c.png", image, icc_profile=b"broken")) == RED).all()
    rgba = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (read_image(saved(tmp_path / "d.png", rgba, icc_profile=_swapped_profile())) == WHITE).all()


@pytest.mark.parametrize(("background", "expected"), [("black", [0, 0, 0]), ("#ff0000", RED), ("rgb(0, 0, 255)", BLUE)])
def test_background(tmp_path: Path, background: str, expected: list[int]) -> None:
    path = saved(tmp_path / "a.webp", Image.new("RGBA", (2, 2), (9, 9, 9, 0)), lossless=True)
    assert (read_image(path, background) == expected).all()
    with pytest.raises(UsageError, match="not a colour"):
        read_image(path, "no such colour")


# --- rotation and size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = picture(40, 24)
    # How a camera would have stored it: the inverse of what the reader must do, spelt out with numpy.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        path, exif=exif, **({"lossless": True} if suffix == "webp" else {"quality": 100})
    )
    frame = read_image(path)
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 2
    with open_media(path) as media:
        assert (media.width, media.height) == (40, 24)


def test_broken_exif_leaves_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(picture()), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert (read_image(path) == picture()).all()


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (321, 241), (7, 5)])
def test_any_size_round_trips(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    frame = noise(*size)
    write_image(tmp_path / f"a.{suffix}", frame)
    assert (read_image(tmp_path / f"a.{suffix}") == frame).all()


@pytest.mark.parametrize(("suffix", "limit"), [("jpg", 2.0), ("gif", 12.0)])
def test_lossy_formats_are_close(tmp_path: Path, suffix: str, limit: float) -> None:
    write_image(tmp_path / f"a.{suffix}", picture())
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - picture()).mean() < limit


def test_fit_covers_and_crops_the_centre() -> None:
    frame = picture(90, 30)
    square = fit(frame, (30, 30))
    assert (square == frame[:, 30:60]).all()
    assert fit(frame, None) is frame
    small = fit(frame, (20, 10))
    assert small.shape == (10, 20, 3)
    # Proportions stay: a 20x10 window out of 30x10, so 2/3 of the width.
    assert abs(int(small[5, 0, 0]) - 255 / 6) < 8
    assert abs(int(small[5, -1, 0]) - 255 * 5 / 6) < 8
    assert fit(picture(1, 300), (16, 16)).shape == (16, 16, 3)


# --- writing -------------------------------------------------------------------------------------------------------


def test_png_text(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    text = {"grn": '{"prompt": "eine Katze 🐱\\n"}', "parameters": "a cat\nSteps: 50, Seed: 7"}
    write_image(path, picture(), text)
    assert read_image_text(path) == text
    data = path.read_bytes()
    assert b"iTXtgrn\0" in data
    assert b"tEXtparameters\0" in data
    write_image(path, picture(), {"parameters": "猫"})
    assert read_image_text(path) == {"parameters": "猫"}
    write_image(tmp_path / "a.jpg", picture(), text)
    assert read_image_text(tmp_path / "a.jpg") == {}


def test_outputs_carry_nothing_but_pixels(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write_image(tmp_path / f"a.{suffix}", picture())
        first = (tmp_path / f"a.{suffix}").read_bytes()
        write_image(tmp_path / f"a.{suffix}", picture())
        assert (tmp_path / f"a.{suffix}").read_bytes() == first
        with Image.open(tmp_path / f"a.{suffix}") as image:
            assert not set(image.info) & {"exif", "icc_profile", "xmp"}


def test_streams(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_image(stream, picture(), {"grn": "x"})
    stream.seek(0)
    assert (read_image(stream) == picture()).all()
    stream.seek(0)
    with open_media(stream) as media:
        assert media.kind == "image"
        assert (next(iter(media)) == picture()).all()
    with pytest.raises(BadInputError, match=r"^-: is empty"):
        read_image(io.BytesIO())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use one of"):
        write_image(tmp_path / "a.xyz", picture())
    with pytest.raises(EnvironmentFaultError, match="choose PNG"):
        write_image(tmp_path / "a.webp", picture(20000, 1))
    assert list(tmp_path.iterdir()) == []


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"just some text\n", "holds text"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "not an image or video"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
        (b"\xff\xd8\xff\xe0", "damaged or cut off"),
        (b"GIF89a", "damaged or cut off"),
        (b"RIFF\x10\0\0\0WEBP", "damaged or cut off"),
        (b"BM", "damaged or cut off"),
        (b"II*\0", "damaged or cut off"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "holds text"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "HEIF"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refused(path, match)
    with pytest.raises(BadInputError, match=match):
        open_media(path)


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing.png", "no such file")
    refused(tmp_path / "a\nb\x1b.png", "no such file")
    refused(tmp_path / "nul\0.png", "cannot be opened")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.png")
        refused(tmp_path / "pipe.png", "pipe or a device")
    path = saved(tmp_path / "a.png", Image.new("L", (1, 1)))

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    refused(path, "may not be read")


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    form = {"jpg": "JPEG"}.get(suffix, suffix.upper())
    Image.fromarray(noise()).save(stream, form, **({"lossless": True} if suffix == "webp" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_files_are_refused(tmp_path: Path, suffix: str) -> None:
    data = encoded(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (48, 64, 3)
    for share in (0.1, 0.5, 0.9, 0.99, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)


def _claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(bytes(1000))
    return (
        start
        + struct.pack(">I", len(data) - 4)
        + data
        + struct.pack(">I", zlib.crc32(data))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10_000, 13_400, 30_000])
def test_decompression_bombs_are_refused_before_they_unfold(tmp_path: Path, side: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_claiming(side, side))
    tracemalloc.start()
    refused(path, "too large")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_pictures_without_pixels_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_claiming(*size))
    refused(path)
    path.write_bytes(encoded("bmp")[:18] + struct.pack("<ii", *size) + encoded("bmp")[26:])
    refused(path)


@settings(max_examples=100, deadline=1000)
@given(st.sampled_from(SUFFIXES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_bit_flips_give_a_picture_or_a_refusal(suffix: str, place: float, bit: int) -> None:
    data = bytearray(ENCODED[suffix])
    data[int(place * len(data))] ^= 1 << bit
    try:
        frame = read_image(io.BytesIO(bytes(data)))
    except BadInputError as error:
        frame, message = None, str(error)
    assert frame is not None or "\n" not in message
    assert frame is None or (frame.ndim, frame.dtype) == (3, np.uint8)


ENCODED = {suffix: encoded(suffix) for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_header_bit(suffix: str) -> None:
    """Headers hold what decoders trust most, so each of their first bits is flipped, not a sample."""
    data = ENCODED[suffix]
    for position, bit in itertools.product(range(48), (0, 3, 7)):
        mutant = bytearray(data)
        mutant[position] ^= 1 << bit
        try:
            read_image(io.BytesIO(bytes(mutant)))
        except BadInputError:
            continue
