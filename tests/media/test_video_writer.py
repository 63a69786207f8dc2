"""Clips: what is written comes back, and what goes wrong loses nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import FPS, HEIGHT, WIDTH, frame, numbers, write, write_all
from PIL import Image

from grn.errors import EnvironmentFaultError, UsageError
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, ffmpeg, open_media


@pytest.mark.parametrize("suffix", WRITE_CLIP_SUFFIXES)
@pytest.mark.parametrize(("size", "fps"), [((64, 48), 16), ((33, 21), 30000 / 1001), ((1, 1), 25), ((2, 301), 8)])
def test_size_count_and_rate_come_back(tmp_path: Path, suffix: str, size: tuple[int, int], fps: float) -> None:
    path = write(tmp_path / f"a{suffix}", 9, *size, fps)
    with open_media(path) as media:
        assert (media.kind, media.width, media.height, media.expected_frames) == ("video", *size, 9)
        # A GIF counts in hundredths of a second, a WebP in thousandths.
        assert media.fps == pytest.approx(fps, rel={".gif": 0.02, ".webp": 0.002}.get(suffix, 1e-6))
        frames = list(media)
    assert len(frames) == 9
    limit = {".gif": 30, ".mp4": 4, ".mov": 4}.get(suffix, 8)
    for index, picture in enumerate(frames):
        assert picture.shape == (size[1], size[0], 3)
        assert np.abs(picture.astype(int) - frame(index, *size)).mean() < limit


@pytest.mark.parametrize("suffix", WRITE_CLIP_SUFFIXES)
def test_one_frame_and_still_frames(tmp_path: Path, suffix: str) -> None:
    one = write(tmp_path / f"one{suffix}", 1)
    with open_media(one) as media:
        assert media.kind == ("image" if suffix in (".gif", ".webp") else "video")
        assert len(list(media)) == 1
    # Encoders like to merge frames that are the same.
    assert numbers(write_all(tmp_path / f"still{suffix}", (frame(3) for _ in range(7)))) == [3] * 7


@pytest.mark.parametrize("suffix", WRITE_CLIP_SUFFIXES)
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = write(tmp_path / f"a{suffix}", 5), write(tmp_path / f"b{suffix}", 5)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_colours_survive(tmp_path: Path, suffix: str, colour: tuple[int, int, int]) -> None:
    with VideoWriter(tmp_path / f"a{suffix}", 32, 32, 8) as writer:
        writer.write(np.broadcast_to(np.array(colour, np.uint8), (32, 32, 3)))
    with open_media(tmp_path / f"a{suffix}") as media:
        assert np.abs(next(iter(media)).astype(int) - colour).max() <= 3


def test_a_still_region_of_a_gif_stays_as_it_is(tmp_path: Path) -> None:
    """Each frame has a palette of its own, so that nothing of an earlier one can be kept."""
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = []
    for index in range(12):
        moved = blocks.copy()
        moved[:, 64:] = 255
        moved[20 + index : 60 + index, 70:100] = [index * 20, 255 - index * 20, 40]
        frames.append(moved)
    write_all(tmp_path / "a.gif", iter(frames), 128, 128, 10)
    with open_media(tmp_path / "a.gif") as media:
        for found, expected in zip(media, frames, strict=True):
            wrong = np.abs(found[:, :64].astype(int) - expected[:, :64]).mean(2) > 40
            assert wrong.mean() < 0.02


def test_paths_and_pictures_of_other_kinds(tmp_path: Path) -> None:
    with VideoWriter(str(tmp_path / "a.mp4"), WIDTH, HEIGHT, FPS) as writer:
        for index in range(3):
            writer.write(Image.fromarray(frame(index)))
    assert numbers(tmp_path / "a.mp4") == [0, 1, 2]


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
    program = tmp_path / "fake-ffmpeg"
    program.write_text("#!/bin/sh\necho '[x @ 1] No space left on device' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "executable", lambda: str(program))
    with pytest.raises(EnvironmentFaultError, match="No space left"):
        write(old, 50)


def test_an_encoder_that_loses_frames_is_caught(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.media.video_writer.count_packets", lambda *_: 4)
    with pytest.raises(EnvironmentFaultError, match=r"expected 5 frames .*, found 4"):
        write(old, 5)


def test_a_file_that_lost_its_end_is_caught(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.media.video_writer.missing_end", lambda *_: "3 of 10 bytes are missing")
    with pytest.raises(EnvironmentFaultError, match="3 of 10 bytes are missing"):
        write(old, 5)


@pytest.mark.parametrize(
    ("name", "size", "fps", "match"),
    [
        ("a.avi", (8, 8), 8, "use one of"),
        ("a.mp4", (0, 8), 8, "sides of 1"),
        ("a.webp", (16384, 8), 8, "16,383"),
        ("a.gif", (8, 8), 60, "expected 0.01 to 50"),
        ("a.webp", (8, 8), 100, "expected 0.01 to 90"),
        ("a.mp4", (8, 8), 0, "out of range"),
        ("a.mp4", (8, 8), float("nan"), "out of range"),
    ],
)
def test_what_formats_cannot_hold(tmp_path: Path, name: str, size: tuple[int, int], fps: float, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        VideoWriter(tmp_path / name, *size, fps)
