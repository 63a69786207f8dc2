"""Video and animations: what is read, when, how large, how fast; what is written comes back."""

import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import COUNT, FPS, frame, number, numbers, run_ffmpeg, write, write_all
from PIL import Image

from grn.errors import BadInputError, UsageError
from grn.media import WRITE_CLIP_SUFFIXES, VideoWriter, from_pixels, open_media, to_pixels

# --- there and back ------------------------------------------------------------------------------------------------


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


def test_only_what_changes_is_stored_in_a_webp(tmp_path: Path) -> None:
    canvas = frame(0, 96, 96) // 2 + np.random.default_rng(0).integers(0, 40, (96, 96, 1), dtype=np.uint8)
    sizes = []
    for count in (1, 20):
        with VideoWriter(tmp_path / "a.webp", 96, 96, 10) as writer:
            for index in range(count):
                moved = canvas.copy()
                moved[41:51, 2 * index + 3 : 2 * index + 13] = 255
                writer.write(moved)
        sizes.append((tmp_path / "a.webp").stat().st_size)
    assert sizes[1] < 3 * sizes[0]
    with open_media(tmp_path / "a.webp") as media:
        last = list(media)[-1]
    assert (last[43:49, 43:49] > 230).all()
    # Where the square was, the background is back.
    assert np.abs(last[41:51, 3:13].astype(int) - canvas[41:51, 3:13]).mean() < 10


# --- the reading rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotation_is_applied(clip: Path, tmp_path: Path, degrees: int, turns: int) -> None:
    run_ffmpeg("-display_rotation", degrees, "-i", clip, "-c", "copy", tmp_path / "a.mp4")
    with open_media(clip) as media:
        upright = np.rot90(next(iter(media)), turns)
    with open_media(tmp_path / "a.mp4") as media:
        assert (media.height, media.width) == upright.shape[:2]
        assert np.abs(next(iter(media)).astype(int) - upright).mean() < 1


def test_containers_agree(copies: dict[str, Path]) -> None:
    for name, path in copies.items():
        assert numbers(path) == list(range(COUNT)), name
        with open_media(path) as media:
            assert media.fps == FPS, name


def test_start_and_duration(clip: Path, tmp_path: Path) -> None:
    assert numbers(clip, start=1.0) == list(range(25, 50))
    assert numbers(clip, start=0.4, duration=0.2) == list(range(10, 15))
    assert numbers(clip, duration=0.04) == [0]
    assert numbers(clip, start=0.5, duration=0.4, fps=5) == [13, 17]
    animation = write(tmp_path / "a.webp", 20, fps=10)
    assert numbers(animation, start=1.0, duration=0.5) == [10, 11, 12, 13, 14]
    for path in (clip, animation):
        with pytest.raises(BadInputError, match="no frame from 99 s"):
            numbers(path, start=99)


@pytest.mark.parametrize("fps", [5, 12.5, 10, 50])
def test_resampling_by_timestamp(clip: Path, tmp_path: Path, fps: float) -> None:
    for path in (clip, write(tmp_path / "a.webp", COUNT)):
        with open_media(path, fps=fps) as media:
            shown = [number(picture) for picture in media]
            assert media.fps == fps
        assert len(shown) == COUNT * fps / FPS
        for index, source in enumerate(shown):
            assert source == int(index * FPS / fps)  # the one on screen then


def test_variable_rate(clip: Path, tmp_path: Path) -> None:
    """Frames 0, 1, 4, 5, 8, 9, ...: 0.04 s and 0.12 s apart in turn."""
    path = tmp_path / "vfr.mp4"
    run_ffmpeg("-i", clip, "-vf", "select=lt(mod(n\\,4)\\,2)", "-fps_mode", "vfr", "-c:v", "libx264", "-crf", 10, path)
    stored = [index for index in range(COUNT) if index % 4 < 2]
    with open_media(path) as media:
        assert [number(picture) for picture in media] == stored
        assert media.fps == pytest.approx(12.5, rel=0.05)
    resampled = numbers(path, fps=25)
    assert resampled == [max(known for known in stored if known <= index) for index in range(len(resampled))]
    # The last stored frame begins at 1.96 s.
    assert len(resampled) == 50


def _webp_of(delays: list[int], path: Path) -> None:
    pictures = [Image.fromarray(frame(index)) for index in range(len(delays))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=delays, lossless=True)


def test_animations_with_times_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    _webp_of([100, 300, 100, 500], path)
    with open_media(path) as media:
        assert [number(picture) for picture in media] == [0, 1, 2, 3]
        assert media.fps == pytest.approx(4)
    assert numbers(path, fps=10) == [0, 1, 1, 1, 2, 3, 3, 3, 3, 3]
    assert numbers(path, fps=1) == [0]
    assert numbers(path, fps=4, start=0.4, duration=0.3) == [2, 3]
    _webp_of([0, 0, 0], path)
    with open_media(path) as media:
        assert media.fps == pytest.approx(10)


def test_transparent_animations_lie_on_the_background(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (8, 8), (255, 0, 0, 0)) for _ in range(3)]
    for index, picture in enumerate(pictures):
        picture.paste((0, 0, 255, 255), (index, 0, index + 2, 8))
    for suffix in ("webp", "gif"):
        path = tmp_path / f"a.{suffix}"
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {"disposal": 2}
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, **options)
        with open_media(path, background="#00ff00") as media:
            for index, picture in enumerate(media):
                blue = (picture == [0, 0, 255]).all(axis=2)
                assert blue[:, index : index + 2].all()
                assert (picture[~blue] == [0, 255, 0]).all()


def test_transparent_video_lies_on_the_background(tmp_path: Path) -> None:
    raw = np.zeros((2, 16, 16, 4), np.uint8)
    raw[..., 0], raw[:, :, 8:, 3] = 255, 255
    (tmp_path / "raw").write_bytes(raw.tobytes())
    source = ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", "16x16", "-r", "8", "-i", tmp_path / "raw"]
    run_ffmpeg(*source, "-c:v", "qtrle", tmp_path / "a.mov")
    with open_media(tmp_path / "a.mov", background="blue") as media:
        picture = next(iter(media))
    assert (picture[:, :8] == [0, 0, 255]).all()
    assert (picture[:, 8:] == [255, 0, 0]).all()


def test_size_covers_and_crops(clip: Path, tmp_path: Path) -> None:
    for path in (clip, write(tmp_path / "a.webp", 3)):
        with open_media(path, size=24) as media:
            assert (media.width, media.height) == (24, 24)
            assert next(iter(media)).shape == (24, 24, 3)
        with open_media(path, size=(40, 12)) as media:
            assert next(iter(media)).shape == (12, 40, 3)


def test_resolution_that_changes_midway_keeps_the_first(tmp_path: Path) -> None:
    for name, size in (("a", "64:48"), ("b", "32:24")):
        write(tmp_path / f"{name}.mp4", 5)
        run_ffmpeg("-i", tmp_path / f"{name}.mp4", "-vf", f"scale={size}", "-f", "mpegts", tmp_path / f"{name}.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_media(joined) as media:
        shapes = {picture.shape for picture in media}
    assert shapes == {(48, 64, 3)}


def test_video_from_a_stream_leaves_no_copy(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_media(io.BytesIO(clip.read_bytes())) as media:
        assert [number(picture) for picture in media] == list(range(COUNT))
    assert list(tmp_path.iterdir()) == []


def test_frames_are_streamed(clip: Path, tmp_path: Path) -> None:
    """Stopping early ends the decoder, and frames may be changed and kept."""
    with open_media(clip) as media:
        frames = iter(media)
        first, second = next(frames), next(frames)
        first[:] = 0
        assert number(second) == 1
    if sys.platform == "linux":
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        names = [Path(f"/proc/{child}/comm").read_text() for child in children if Path(f"/proc/{child}/comm").exists()]
        assert not any("ffmpeg" in name for name in names)


@pytest.mark.parametrize("name", ["-x.mp4", "http:a.mp4", "a b'%03d.mp4", "a\nb.mp4", "ünï.mp4", "pipe:0.mp4"])
def test_odd_names(tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert len(numbers(Path(name))) == COUNT
    write(Path(f"out{name}"), 2)
    assert len(numbers(Path(f"out{name}"))) == 2


@pytest.mark.parametrize(
    "options",
    [{"fps": 0}, {"fps": float("nan")}, {"start": -1}, {"duration": 0}, {"size": 0}, {"size": (10**6, 10**6)}],
)
def test_options_out_of_range(clip: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        open_media(clip, **options)


def test_webp_structure(tmp_path: Path) -> None:
    """What other readers rely on: lengths, canvas and times in the file itself."""
    data = write(tmp_path / "a.webp", 3, 33, 21, 16).read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (33, 21)
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        durations = []
        for index in range(3):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
    assert sum(durations) == 188
    assert set(durations) <= {62, 63}


# --- pixels --------------------------------------------------------------------------------------------------------


def test_pixels_round_trip_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8)
    frames = np.stack([levels, levels[::-1], np.roll(levels, 7)], axis=1).reshape(1, 16, 16, 3).repeat(2, axis=0)
    frames[1] = frames[1, ::-1]
    pixels = to_pixels(frames)
    assert pixels.shape == (1, 3, 2, 16, 16)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert pixels[0, 2, 1, 3, 5].item() == pytest.approx(frames[1, 3, 5, 2] / 127.5 - 1, abs=1e-6)
    assert (from_pixels(pixels) == frames).all()
    assert (from_pixels(torch.tensor([-7.0, 7.0, -1.0]).view(1, 3, 1, 1, 1)) == [0, 255, 0]).all()


def test_pixels_take_read_only_frames_and_low_precision() -> None:
    frames = np.frombuffer(bytes(range(48)), np.uint8).reshape(1, 4, 4, 3)
    assert (from_pixels(to_pixels(frames)) == frames).all()
    assert np.abs(from_pixels(to_pixels(frames).bfloat16()).astype(int) - frames).max() <= 1
