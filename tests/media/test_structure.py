"""Videos that end before their own structure says."""

import logging
import struct
from pathlib import Path

import pytest
from helpers.clips import COUNT, FPS, HEIGHT, WIDTH, number, numbers, run_ffmpeg
from helpers.images import put

from grn.errors import BadInputError
from grn.media import open_media


@pytest.fixture(scope="module")
def more(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Streams of camcorders and discs."""
    folder = tmp_path_factory.mktemp("more")
    run_ffmpeg("-i", clip, "-c", "copy", "-f", "mpegts", "-mpegts_m2ts_mode", 1, folder / "a.m2ts")
    run_ffmpeg("-i", clip, "-c:v", "mpeg2video", "-bf", 2, "-q:v", 2, "-f", "vob", folder / "a.mpg")
    run_ffmpeg("-i", clip, "-c:v", "mpeg1video", "-q:v", 2, "-f", "mpeg", folder / "mpeg1.mpg")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.m2ts", "a.mpg", "mpeg1.mpg"])
def test_streams_of_camcorders_and_discs(more: dict[str, Path], name: str) -> None:
    with open_media(more[name]) as media:
        assert (media.width, media.height, media.fps) == (WIDTH, HEIGHT, FPS)
        assert len(list(media)) == COUNT


def refused_video(path: Path, match: str | None = None) -> None:
    with pytest.raises(BadInputError, match=match) as caught:
        numbers(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["faststart.mp4", "tail.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_videos_are_refused(copies: dict[str, Path], tmp_path: Path, name: str, share: float) -> None:
    data = copies[name].read_bytes()
    cut = int(len(data) * share)
    path = tmp_path / name
    path.write_bytes(data[: cut + (cut % 188 == 0)])
    refused_video(path)


@pytest.mark.parametrize("name", ["a.m2ts", "a.mpg", "mpeg1.mpg"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_streams_are_refused(more: dict[str, Path], tmp_path: Path, name: str, share: float) -> None:
    data = more[name].read_bytes()
    cut = int(len(data) * share)
    refused_video(put(tmp_path / name, data[: cut + (cut % 192 == 0)]))


@pytest.mark.parametrize("name", ["faststart.mp4", "a.mkv", "a.ts"])
def test_partial_videos_on_request(
    copies: dict[str, Path], tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    data = copies[name].read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10 + 1])
    with caplog.at_level(logging.WARNING), open_media(path, allow_partial=True) as media:
        shown = [number(picture) for picture in media]
        assert 5 < len(shown) < COUNT
        assert media.damage is not None
    assert f"used the {len(shown)} frames" in caplog.text


def test_an_avi_of_several_parts_is_cut_in_the_second(copies: dict[str, Path], tmp_path: Path) -> None:
    whole = copies["a.avi"].read_bytes()
    part = b"RIFF" + struct.pack("<I", 1000) + b"AVIX" + b"JUNK" + struct.pack("<I", 988) + bytes(988)
    assert numbers(put(tmp_path / "a.avi", whole + part)) == list(range(COUNT))
    refused_video(put(tmp_path / "b.avi", whole + part[:-1]), "1 of .* bytes are missing")


def test_a_lost_frame_of_an_avi_is_said(
    copies: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = copies["a.avi"].read_bytes()
    assert numbers(put(tmp_path / "a.avi", data)) == list(range(COUNT))
    assert not caplog.text
    last = data.rindex(b"00dc", 0, data.index(b"idx1"))
    with caplog.at_level(logging.WARNING):
        numbers(put(tmp_path / "a.avi", data[:last] + b"\x1f" + data[last + 1 :]))
    assert r"a part called \x1f0dc among its frames is left out" in caplog.text
