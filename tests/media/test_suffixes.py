"""Which names are looked at and which can be written."""

from pathlib import Path

import pytest

from grn.media import (
    READ_CLIP_SUFFIXES,
    READ_IMAGE_SUFFIXES,
    READ_SUFFIXES,
    WRITE_CLIP_SUFFIXES,
    WRITE_IMAGE_SUFFIXES,
    suffix_of,
)


def test_whatever_is_written_is_read() -> None:
    assert set(WRITE_IMAGE_SUFFIXES) < set(READ_IMAGE_SUFFIXES)
    assert set(WRITE_CLIP_SUFFIXES) < set(READ_CLIP_SUFFIXES)
    assert set(READ_SUFFIXES) == {*READ_IMAGE_SUFFIXES, *READ_CLIP_SUFFIXES}
    assert len(READ_SUFFIXES) == len(set(READ_SUFFIXES))


@pytest.mark.parametrize(
    "name", ["a.JFIF", "a.b.Jpg", "x/y.z/A.M2TS", "a.Ts", "a.apng", "a.MPG", "a.m4v", "A.MKV", "a.avi"]
)
def test_case_does_not_matter(name: str) -> None:
    assert suffix_of(name) in READ_SUFFIXES
    assert suffix_of(Path(name)) in READ_SUFFIXES


@pytest.mark.parametrize("name", ["png", ".png", "a", "a.txt", "a.png.part"])
def test_other_names_are_left_out(name: str) -> None:
    assert suffix_of(name) not in READ_SUFFIXES
