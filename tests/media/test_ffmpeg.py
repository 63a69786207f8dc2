"""The ffmpeg program: what it says, and when it says nothing."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.clips import numbers

from grn.errors import BadInputError
from grn.media import ffmpeg
from grn.media.decode import Cut, DecodeError, count_decoded, decode
from grn.media.probe import VideoInfo


def program(folder: Path, body: str) -> str:
    path = folder / "fake-ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg with a shell script")
def test_a_decoder_that_hangs_is_ended(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(ffmpeg, "executable", lambda: program(tmp_path, "exec sleep 30"))
    with pytest.raises(BadInputError, match="silent"):
        numbers(clip)
    info = VideoInfo(4, 4, Fraction(25), "yuv420p", None)
    with pytest.raises(DecodeError, match="silent"):
        list(decode(clip, "mov", info, Cut()))
    monkeypatch.setattr(ffmpeg, "executable", lambda: program(tmp_path, "while sleep 0.05; do echo frame=0; done"))
    with pytest.raises(DecodeError, match="silent"):
        count_decoded(clip, "mov", info, Cut())


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg with a shell script")
def test_the_first_complaint_is_kept_of_many(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "echo '[h264 @ 0x1] first' >&2; i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done"
    monkeypatch.setattr(ffmpeg, "executable", lambda: program(tmp_path, body))
    with pytest.raises(DecodeError, match=r"^first$"):
        list(decode(clip, "mov", VideoInfo(4, 4, Fraction(25), "yuv420p", None), Cut()))


def test_filters_and_decoders_are_known() -> None:
    assert ffmpeg.has("filter", "scale")
    assert ffmpeg.has("decoder", "h264")
    assert not ffmpeg.has("filter", "no-such-filter")
    assert not ffmpeg.has("decoder", "no-such-decoder")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "ffmpeg gives no reason"),
        ("[mov @ 0x1] moov atom not found\nmore\n", "moov atom not found"),
        ("[info] all is well\n[h264 @ 0x2] [error] bad\x1b[31m data\n", "bad[31m data"),
        ("[info] all is well\n", "ffmpeg gives no reason"),
    ],
)
def test_complaints(log: str, expected: str) -> None:
    assert ffmpeg.complaint(log) == expected
