"""Video and animations that are damaged or hostile are refused; what goes wrong while writing loses nothing."""

import logging
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import COUNT, FPS, HEIGHT, WIDTH, frame, number, numbers, run_ffmpeg, write, write_all
from PIL import Image

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.media import VideoWriter, ffmpeg, open_media, read_image
from grn.media.decode import Cut, DecodeError, decode
from grn.media.probe import VideoInfo

# --- damage --------------------------------------------------------------------------------------------------------


def refused(path: Path, match: str | None = None) -> str:
    with pytest.raises(BadInputError, match=match) as caught:
        numbers(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["faststart.mp4", "tail.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_videos_are_refused(copies: dict[str, Path], tmp_path: Path, name: str, share: float) -> None:
    data = copies[name].read_bytes()
    cut = int(len(data) * share)
    path = tmp_path / name
    path.write_bytes(data[: cut + (cut % 188 == 0)])
    refused(path)


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


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_animations_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path / f"a{suffix}", 10)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path)


def test_an_animation_cut_between_two_pictures_is_refused(tmp_path: Path) -> None:
    """Where the cut falls there, decoders see a shorter animation and no damage."""
    path = write(tmp_path / "a.gif", 10)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\x21\xf9\x04")])
    refused(path, "ends early")


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile 'clip.mp4'\n", "#EXTM3U\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n"]
)
def test_playlists_are_refused(clip: Path, text: str) -> None:
    path = clip.with_name("list.mp4")
    path.write_text(text)
    refused(path, "holds text")


def test_streams_without_pictures(clip: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
    refused(sound, "holds no video")
    write(tmp_path / "cover.mp4", 1)
    run_ffmpeg(
        "-i",
        clip,
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "copy",
        tmp_path / "both.mp4",
    )
    assert len(numbers(tmp_path / "both.mp4")) == COUNT
    run_ffmpeg("-i", clip, "-c", "copy", "-frames:v", 0, tmp_path / "none.mov")
    refused(tmp_path / "none.mov")
    for head in (b"\0\0\0\x18ftypmp42" + bytes(12), b"\x1aE\xdf\xa3" + bytes(40), b"RIFF\x10\0\0\0AVI " + bytes(20)):
        (tmp_path / "head.mp4").write_bytes(head)
        refused(tmp_path / "head.mp4")


def test_a_video_is_no_image(clip: Path) -> None:
    with pytest.raises(BadInputError, match="is a video"):
        read_image(clip)


def test_a_frame_of_too_many_pixels_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    refused(clip)


@pytest.mark.parametrize(("suffix", "count"), [(".mp4", 40), (".webm", 20), (".gif", 60), (".webp", 60)])
def test_bit_flips_give_frames_or_a_refusal(tmp_path: Path, suffix: str, count: int) -> None:
    path = write(tmp_path / f"a{suffix}", 6)
    data, random = path.read_bytes(), np.random.default_rng(0)
    messages, shapes = [], set()
    for place in random.integers(0, 8 * len(data), count):
        mutant = bytearray(data)
        mutant[place // 8] ^= 1 << (place % 8)
        path.write_bytes(mutant)
        try:
            with open_media(path) as media:
                shapes |= {picture.shape[2:] for picture in media}
        except BadInputError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
    assert shapes == {(3,)}


def _program(folder: Path, body: str) -> str:
    path = folder / "fake-ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg with a shell script")
def test_a_decoder_that_hangs_is_ended(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(ffmpeg, "executable", lambda: _program(tmp_path, "exec sleep 30"))
    refused(clip, "silent")
    info = VideoInfo(4, 4, Fraction(25), "yuv420p", None)
    with pytest.raises(DecodeError, match="silent"):
        list(decode(clip, "mov", info, Cut()))


# --- writing: what goes wrong --------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """A file that must still be there, alone in its folder, when writing over it has failed."""
    path = tmp_path / "out" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"old")
    yield path
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.mp4"]


def test_an_error_while_writing_leaves_the_old_file(old: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield frame(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_all(old, frames())


def test_nothing_written_is_an_error(old: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match="no frame to write"), VideoWriter(old, WIDTH, HEIGHT, FPS):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg with a shell script")
def test_an_encoder_that_fails_is_quoted(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ffmpeg, "executable", lambda: _program(tmp_path, "echo '[x @ 1] No space left on device' >&2; exit 1")
    )
    with pytest.raises(EnvironmentFaultError, match="No space left"):
        write(old, 50)


def test_an_encoder_that_loses_frames_is_caught(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.media.video_writer.count_packets", lambda *_: 4)
    with pytest.raises(EnvironmentFaultError, match=r"expected 5 frames .*, found 4"):
        write(old, 5)


@pytest.mark.parametrize(
    ("name", "size", "fps", "match"),
    [
        ("a.avi", (8, 8), 8, "use one of"),
        ("a.mp4", (0, 8), 8, "sides of 1"),
        ("a.webp", (16384, 8), 8, "16,383"),
        ("a.gif", (8, 8), 60, "expected 0.01 to 50"),
        ("a.mp4", (8, 8), 0, "out of range"),
        ("a.mp4", (8, 8), float("nan"), "out of range"),
    ],
)
def test_what_formats_cannot_hold(tmp_path: Path, name: str, size: tuple[int, int], fps: float, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        VideoWriter(tmp_path / name, *size, fps)
