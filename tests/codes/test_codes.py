"""Codes and their file: exact round trips, and one way to write them."""

import dataclasses
import io
import mmap
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.codes import FINGERPRINT, load_codes, make_codes, naive_load
from hypothesis import given
from hypothesis import strategies as st

from grn.codes import Codes, PackedCodes
from grn.errors import CodesError
from grn.hbq import PlanePacker

GOLDEN = Path(__file__).parents[1] / "assets" / "codes-v1.npz"


def facts(codes: Codes | PackedCodes) -> dict[str, Any]:
    """What codes say of themselves, besides the codes."""
    held = {"indices", "planes", "rounds", "shape"}
    return {field.name: getattr(codes, field.name) for field in dataclasses.fields(codes) if field.name not in held}


@given(st.tuples(*[st.integers(1, 5)] * 4), st.integers(1, 16), st.integers(0, 99))
def test_round_trip(shape: tuple[int, int, int, int], rounds: int, seed: int) -> None:
    before = make_codes(shape, rounds, seed)
    data = before.to_bytes()
    after = load_codes(data)
    assert np.array_equal(after.indices, before.indices)
    assert after.indices.dtype == np.uint16
    assert facts(after) == facts(before)
    assert after.to_bytes() == data


def test_path_and_stream_hold_the_same(tmp_path: Path) -> None:
    stream = io.BytesIO()
    make_codes().save(stream)
    make_codes().save(tmp_path / "codes.npz")
    assert (tmp_path / "codes.npz").read_bytes() == stream.getvalue()
    assert facts(Codes.load(str(tmp_path / "codes.npz"))) == facts(make_codes())


def test_numpy_alone_reads_it_and_the_zip_is_sound() -> None:
    data = make_codes((5, 3, 2, 7), rounds=5).to_bytes()
    assert np.array_equal(naive_load(data), make_codes((5, 3, 2, 7), rounds=5).indices)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@given(st.tuples(*[st.integers(1, 5)] * 4), st.integers(1, 16), st.integers(0, 99))
def test_packing_map_by_map_is_packing_the_whole(shape: tuple[int, int, int, int], rounds: int, seed: int) -> None:
    whole = make_codes(shape, rounds, seed)
    packer = PlanePacker(rounds)
    for one in whole.maps():
        packer.add(one)
    packed = PackedCodes(packer.planes(), shape, **facts(whole))
    assert b"".join(packed.content()) == whole.to_bytes()
    assert np.array_equal(np.stack(list(packed.maps())), whole.indices)
    assert np.array_equal(packed.unpack().indices, whole.indices)
    assert (packed.shape, packed.rounds, packed.bits_per_pixel) == (whole.shape, rounds, whole.bits_per_pixel)


def test_packed_codes_cannot_be_inconsistent() -> None:
    whole = make_codes().pack()
    with pytest.raises(AssertionError, match="planes of"):
        PackedCodes([*whole.planes[:3], b""], whole.shape, **facts(whole))
    with pytest.raises(AssertionError, match="an image has 2 frames"):
        PackedCodes(whole.planes, whole.shape, **(facts(whole) | {"frames": 2}))


def test_size_on_disk() -> None:
    data = make_codes().to_bytes()
    with np.load(io.BytesIO(data)) as arrays:
        assert arrays["codes"].nbytes == 2048
    assert len(data) <= 2048 + 700, len(data)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_cutting_planes_is_truncating(keep: int) -> None:
    whole = make_codes()
    with np.load(io.BytesIO(whole.to_bytes())) as arrays:
        planes = arrays["codes"].tobytes()
    coarse = whole.truncate(keep)
    assert b"".join(coarse.pack().planes) == planes[: len(planes) * keep // 4]
    packed = PackedCodes.load(io.BytesIO(whole.to_bytes())).truncate(keep)
    assert b"".join(packed.content()) == coarse.to_bytes()
    assert np.array_equal(coarse.indices, whole.indices >> (4 - keep))
    assert coarse.rounds == keep
    assert coarse.bits_per_pixel == whole.bits_per_pixel * keep / 4


def test_bits_per_pixel() -> None:
    assert make_codes().bits_per_pixel == 0.25
    assert make_codes((3, 4, 4, 16), frames=9).bits_per_pixel == 3 * 4 * 4 * 16 * 4 / (64 * 64 * 9)


def test_golden_file() -> None:
    """A file of version 1 as it was first written: it must read, and be written, like this forever."""
    golden = make_codes((3, 4, 5, 6), rounds=3, frames=9, height=61, width=77, fps=29.97)
    assert GOLDEN.read_bytes() == golden.to_bytes()
    assert np.array_equal(Codes.load(GOLDEN).indices, golden.indices)


def test_the_number_format_stays_with_the_codes() -> None:
    codes = load_codes(make_codes(dtype="bfloat16").to_bytes())
    found = [codes, codes.truncate(2), codes.pack(), codes.pack().truncate(1).unpack()]
    assert [one.dtype for one in found] == ["bfloat16"] * 4
    assert Codes.load(GOLDEN).dtype == ""  # written before files said it
    with pytest.raises(AssertionError, match="dtype is 'bf 16'"):
        make_codes(dtype="bf 16")


def test_a_codes_object_cannot_be_inconsistent() -> None:
    with pytest.raises(AssertionError, match="does not fit in 2 rounds"):
        Codes(np.full((1, 1, 1, 1), 4, np.uint16), 2, "image", 16, 16, 1, None, "emoji", FINGERPRINT)
    with pytest.raises(AssertionError, match="an image has 2 frames"):
        make_codes(frames=2)


def test_too_many_codes_for_one_file() -> None:
    plane = memoryview(mmap.mmap(-1, 2**29))  # no page of it is touched
    large = PackedCodes([plane] * 9, (1, 2**14, 2**14, 16), **(facts(make_codes()) | {"height": 2**18, "width": 2**18}))
    with pytest.raises(CodesError, match="take less of the clip"):
        large.content()


def test_messages_name_the_file(tmp_path: Path) -> None:
    half = tmp_path / "half.npz"
    half.write_bytes(make_codes().to_bytes()[:1000])
    text = tmp_path / "text.npz"
    text.write_text("hello " * 100)
    empty = tmp_path / "empty.npz"
    empty.touch()
    for path, message in {
        half: "is cut short (expected 2048 more bytes, found",
        text: "is not a codes file",
        empty: "is empty or not a codes file",
        tmp_path: "cannot be read (Is a directory)",
        tmp_path / "none.npz": "no such file; check the path",
        Path("nul\0.npz"): "cannot be read",
    }.items():
        with pytest.raises(CodesError, match="^" + re.escape(f"{path}: {message}")):
            Codes.load(path)
