"""The index of an MP4 or MOV: what it hides is said, and where it disagrees with itself it is refused."""

import logging
import struct
from pathlib import Path

import pytest
from helpers.clips import COUNT, FPS, numbers, run_ffmpeg
from helpers.images import put

from grn.errors import BadInputError
from grn.media import open_media


@pytest.fixture(scope="module")
def reordered(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip whose frames are stored in another order than they are shown in."""
    path = tmp_path_factory.mktemp("mov") / "a.mp4"
    run_ffmpeg("-i", clip, "-c:v", "libx264", "-qp", 4, "-bf", 2, "-x264-params", "b-adapt=0", path)
    return path.read_bytes()


def changed(data: bytes, box: bytes, at: int, bit: int) -> bytes:
    """One bit of a box flipped, of the byte so many behind its name."""
    place = data.index(box) + 4 + at
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("box", "at", "bit", "said"),
    [
        (b"stsz", 11, 2, "index holds"),  # fewer frames
        (b"stts", 11, 0, "index holds"),  # another number of durations
        (b"stts", 12, 6, "makes it last"),  # one of them longer than the clip
        (b"ctts", 11, 1, "index holds"),
        (b"stss", 11, 6, "names a frame"),  # that there is not
        (b"mdia", -1, 0, "structure breaks off"),  # a track without tables
    ],
)
def test_an_index_that_disagrees_with_itself_is_refused(
    reordered: bytes, tmp_path: Path, box: bytes, at: int, bit: int, said: str
) -> None:
    path = put(tmp_path / "a.mp4", changed(reordered, box, at, bit))
    with pytest.raises(BadInputError, match=said):
        open_media(path)


@pytest.mark.parametrize(("box", "at", "bit"), [(b"mvhd", 13, 0), (b"elst", 10, 1), (b"elst", 14, 6)])
def test_an_index_that_hides_frames_is_said(
    reordered: bytes, tmp_path: Path, box: bytes, at: int, bit: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert numbers(put(tmp_path / "whole.mp4", reordered)) == list(range(COUNT))
    assert not caplog.text
    path = put(tmp_path / "a.mp4", changed(reordered, box, at, bit))
    with caplog.at_level(logging.WARNING), open_media(path) as media:
        assert len(list(media)) < COUNT
    assert f"of its {COUNT} frames are left out by its edit list" in caplog.text


def test_an_index_without_a_first_key_frame_is_said(
    reordered: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_media(put(tmp_path / "a.mp4", changed(reordered, b"stss", 11, 3))).close()
    assert "its first 8 frames need others that are not there" in caplog.text


def test_a_trimmed_clip_says_so(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cut without encoding anew: what is before the cut stays in the file, since the rest refers to it."""
    path = tmp_path / "trimmed.mov"
    run_ffmpeg("-ss", 3 / FPS, "-i", clip, "-c", "copy", path)
    with caplog.at_level(logging.WARNING):
        assert numbers(path) == list(range(3, COUNT))
    assert f"3 of its {COUNT} frames" in caplog.text


def test_a_track_may_be_longer_than_it_says_to_know(reordered: bytes, tmp_path: Path) -> None:
    """Recorders leave its duration out, or say that it is unknown."""
    place = reordered.index(b"mdhd") + 4 + 16
    for length in (0, 0xFFFF_FFFF):
        data = reordered[:place] + struct.pack(">I", length) + reordered[place + 4 :]
        assert numbers(put(tmp_path / "a.mp4", data)) == list(range(COUNT))
