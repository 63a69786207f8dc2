"""Image files: rotation, any size, pictures in memory, damage."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import SUFFIXES, WHITE, encoded, noise, picture, refused, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from grn.errors import BadInputError, UsageError
from grn.media import open_media, read_image, write_image


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_files_are_refused(tmp_path: Path, suffix: str) -> None:
    data = encoded(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    assert read_image(path).shape == (48, 64, 3)
    for share in (0.1, 0.5, 0.9, 0.99, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 4), [9, 9, 9, 0], np.uint8), WHITE),
        (Image.new("RGB", (3, 2), (1, 2, 3)), [1, 2, 3]),
        (Image.new("RGBA", (3, 2), (1, 2, 3, 0)), WHITE),
        (Image.new("L", (3, 2), 7), [7, 7, 7]),
        (Image.new("1", (3, 2), 1), WHITE),
    ],
)
def test_pictures_in_memory(given: Any, expected: list[int]) -> None:
    frame = read_image(given)
    assert frame.shape == (2, 3, 3)
    assert (frame == expected).all()
    with open_media(given) as media:
        assert (media.kind, media.width, media.height, media.fps) == ("image", 3, 2, None)
        assert (next(iter(media)) == expected).all()


def test_pictures_in_memory_are_copied_and_turned_upright(tmp_path: Path) -> None:
    levels = picture()
    read_image(levels)[:] = 0
    assert (levels == picture()).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", Image.fromarray(picture()), exif=exif)
    with Image.open(path) as image:
        assert (read_image(image) == read_image(path)).all()


@pytest.mark.parametrize(
    "given", [np.zeros((2, 3, 3), np.float32), np.zeros((2, 3, 5), np.uint8), np.zeros(4, np.uint8)]
)
def test_other_arrays_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="expected uint8"):
        read_image(given)


ENCODED = {suffix: encoded(suffix) for suffix in SUFFIXES}


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


def test_a_video_is_no_image(clip: Path) -> None:
    with pytest.raises(BadInputError, match="is a video"):
        read_image(clip)
