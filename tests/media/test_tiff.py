"""TIFF: depths, white as zero, and what libtiff prints."""

import logging
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.images import noise, picture, put, refused, saved, tiff
from PIL import Image

from grn.media import read_image


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("big_endian", [False, True])
def test_grey_of_any_depth(tmp_path: Path, bits: int, inverted: bool, deflate: bool, big_endian: bool) -> None:
    top = (1 << bits) - 1
    levels = np.tile(np.array([0, top // 3, top, 0]), (2, 1))
    path = put(
        tmp_path / "a.tif", tiff(top - levels if inverted else levels, bits, int(not inverted), big_endian, deflate)
    )
    if bits == 12 and big_endian:
        refused(path, "of a kind of its format that is not read")
        return
    expected = (levels * 255 + top // 2) // top
    assert (read_image(path)[..., 0] == expected).all()


def test_one_level_in_sixteen_bits_where_white_is_zero(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tif", tiff(np.full((4, 4), 55 * 257), 16, 0))
    assert (read_image(path) == 200).all()


def test_grey_and_float_tiffs(tmp_path: Path) -> None:
    assert (read_image(saved(tmp_path / "a.tiff", Image.new("L", (2, 2), 9))) == 9).all()
    refused(saved(tmp_path / "f.tiff", Image.new("F", (2, 2), 0.5)), "no defined white")
    refused(saved(tmp_path / "i.tiff", Image.new("I", (2, 2), 70000)), "no defined white")


def test_pages_that_are_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    for name, more, warned in (("one", [], False), ("three", pages[1:], True)):
        caplog.clear()
        path = saved(tmp_path / f"{name}.tif", pages[0], save_all=True, append_images=more)
        assert (read_image(path) == picture()).all()
        assert ("only the first one is read" in caplog.text) == warned


def test_a_thumbnail_is_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = bytearray(tiff(np.full((2, 2), 9), 8, 1))
    data = bytes(first[:118]) + struct.pack("<I", len(first)) + bytes(first[122:])
    small = struct.pack("<HHHIHHI", 1, 254, 4, 1, 1, 0, 0)
    assert (read_image(put(tmp_path / "a.tif", data + small)) == 9).all()
    assert not caplog.text
    read_image(put(tmp_path / "a.tif", data + struct.pack("<HHHIHHI", 1, 254, 4, 1, 2, 0, 0)))
    assert "only the first one is read" in caplog.text


@pytest.mark.parametrize("bits", [10, 14])
def test_other_depths_are_refused_as_what_they_are(tmp_path: Path, bits: int) -> None:
    refused(put(tmp_path / "a.tif", tiff(np.zeros((4, 4), int), bits, 1)), "not read")


@pytest.mark.skipif(sys.platform == "win32", reason="libtiff is a part of Pillow there")
def test_nothing_is_printed_of_damage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by libtiff nor by Pillow, which logs; here nobody listens to logs, as pytest would."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    data = tiff(noise()[..., 0], 8, 1, deflate=True)
    middle, samples = len(data) // 2, data.index(struct.pack("<HHI", 277, 3, 1)) + 8
    broken = [data[:-300], data[:middle], data[:middle] + bytes(20) + data[middle + 20 :]]
    broken.append(data[:samples] + struct.pack("<H", 10_825) + data[samples + 2 :])
    for one in broken:
        refused(put(tmp_path / "a.tif", one))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_deep_samples_in_planes_are_refused_and_never_read_as_others(
    tmp_path: Path, bits: int, big_endian: bool
) -> None:
    levels, order = picture(6, 4), ">" if big_endian else "<"
    planes = (levels.astype(int) * (257 if bits == 16 else 1)).astype(f"{order}u{bits // 8}").transpose(2, 0, 1)
    size, start = planes.nbytes // 3, 8
    lists = struct.pack(order + "3H3I3I", *[bits] * 3, *(start + size * n for n in range(3)), *[size] * 3)
    lists_at = start + planes.nbytes
    tags = [
        (256, 1, 6), (257, 1, 4), (258, 3, lists_at), (259, 1, 1), (262, 1, 2), (273, -3, lists_at + 6), (277, 1, 3),
        (278, 1, 4), (279, -3, lists_at + 18), (284, 1, 2),
    ]  # fmt: skip
    entries = b"".join(
        struct.pack(order + "HHI", tag, 3 if number > 0 else 4, abs(number))
        + (struct.pack(order + "H2x", value) if number == 1 else struct.pack(order + "I", value))
        for tag, number, value in tags
    )
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4)
    head = (b"MM" if big_endian else b"II") + struct.pack(order + "HI", 42, lists_at + len(lists))
    path = put(tmp_path / "a.tif", head + planes.tobytes() + lists + directory)
    if bits == 8:
        assert (read_image(path) == levels).all()
    else:
        refused(path, "16 bits in planes is not read; save it with them interleaved")
