"""Stills: formats, text, nothing else, and whole files or none."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import SUFFIXES, WHITE, noise, picture
from PIL import Image

from grn.errors import EnvironmentFaultError, UsageError
from grn.media import read_image, read_image_text, write_image


@pytest.mark.parametrize(("suffix", "limit"), [("jpg", 2.0), ("gif", 12.0)])
def test_lossy_formats_are_close(tmp_path: Path, suffix: str, limit: float) -> None:
    write_image(tmp_path / f"a.{suffix}", picture())
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - picture()).mean() < limit


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


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use one of"):
        write_image(tmp_path / "a.xyz", picture())
    with pytest.raises(EnvironmentFaultError, match="choose PNG"):
        write_image(tmp_path / "a.webp", picture(20000, 1))
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_names_the_format_whatever_the_path_is(tmp_path: Path) -> None:
    for suffix, start in (("jpg", b"\xff\xd8"), ("PNG", b"\x89PNG"), ("gif", b"GIF8"), ("bmp", b"BM"), ("tif", b"II*")):
        for target in (str(tmp_path / f"a.{suffix}"), tmp_path / f"b.{suffix}"):
            write_image(target, picture())
            assert Path(target).read_bytes().startswith(start)


def test_pil_images_and_grey_are_written(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Image.new("RGBA", (2, 2), (0, 0, 0, 0)))
    assert (read_image(tmp_path / "a.png") == WHITE).all()
    write_image(tmp_path / "b.png", np.full((2, 2), 9, np.uint8))
    assert (read_image(tmp_path / "b.png") == 9).all()
    with pytest.raises(UsageError, match="expected uint8"):
        write_image(tmp_path / "c.png", np.zeros((2, 2, 3), np.float32))
    assert not (tmp_path / "c.png").exists()


class Narrow(io.RawIOBase):
    """A stream that takes few bytes at a time, and after so many none."""

    def __init__(self, room: int) -> None:
        self.taken, self.room = bytearray(), room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)[: min(100, self.room - len(self.taken))]
        self.taken += part
        return len(part)


def test_streams_take_all_or_it_is_an_error() -> None:
    stream = Narrow(1 << 20)
    write_image(stream, noise())  # type: ignore[arg-type]
    assert (read_image(io.BytesIO(stream.taken)) == noise()).all()
    with pytest.raises(OSError, match="were not taken"):
        write_image(Narrow(1000), noise())  # type: ignore[arg-type]
