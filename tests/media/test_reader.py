"""Media: one stream of frames, whatever it is of."""

import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clips import COUNT, FPS, HEIGHT, WIDTH, frame, number, numbers, run_ffmpeg, write
from PIL import Image

from grn.errors import BadInputError, UsageError
from grn.media import open_media


def test_containers_agree(copies: dict[str, Path]) -> None:
    for name, path in copies.items():
        assert numbers(path) == list(range(COUNT)), name
        with open_media(path) as media:
            assert media.fps == FPS, name


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


def test_size_covers_and_crops(clip: Path, tmp_path: Path) -> None:
    for path in (clip, write(tmp_path / "a.webp", 3)):
        with open_media(path, size=24) as media:
            assert (media.width, media.height) == (24, 24)
            assert next(iter(media)).shape == (24, 24, 3)
        with open_media(path, size=(40, 12)) as media:
            assert next(iter(media)).shape == (12, 40, 3)


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


@pytest.mark.parametrize("fps", [None, 10])
@pytest.mark.parametrize("suffix", ["mp4", "gif", "webp"])
def test_parts_are_what_iterating_gives(tmp_path: Path, suffix: str, fps: float | None) -> None:
    path = write(tmp_path / f"a.{suffix}", 30)
    with open_media(path, fps=fps, start=0.2) as media:
        whole = [number(one) for one in media]
        assert media.count_frames() == len(whole)
        assert [number(one) for one in media.part(3, 4)] == whole[3:7]
        assert [number(one) for one in media.part(len(whole) - 2, 5)] == whole[-2:]
        assert [number(one) for one in media.part(1, None)] == whole[1:]
        # As often as wanted.
        assert [number(one) for one in media] == whole


def test_a_long_clip_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=320x180:r=25:d=40", "-c:v", "libx264", "-preset", "ultrafast", path)
    tracemalloc.start()
    with open_media(path) as media:
        assert media.count_frames() == 1000
        assert len(list(media.part(900, 5))) == 5
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 320 * 180 * 3


def test_clips_in_memory() -> None:
    frames = np.stack([frame(index) for index in range(5)])
    for given in (frames, [Image.fromarray(one) for one in frames]):
        with open_media(given) as media:
            assert (media.kind, media.width, media.height, media.fps) == ("video", WIDTH, HEIGHT, None)
            assert media.count_frames() == media.expected_frames == 5
            assert [number(one) for one in media] == list(range(5))
            assert [number(one) for one in media.part(2, 2)] == [2, 3]
        with open_media(given, size=16) as media:
            assert next(iter(media)).shape == (16, 16, 3)
    with pytest.raises(UsageError, match="no frames"):
        open_media([])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fps": 0}, "fps"),
        ({"fps": 1e-9}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"fps": 1e9}, "fps"),
        ({"start": -1}, "start"),
        ({"start": 1e300}, "start"),
        ({"start": float("inf")}, "start"),
        ({"duration": 0}, "duration"),
        ({"duration": 1e-300}, "duration"),
        ({"duration": 1e300}, "duration"),
        ({"size": 0}, "size"),
        ({"size": (10**6, 10**6)}, "size"),
    ],
)
def test_options_out_of_range(clip: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named}: .*out of range"):
        open_media(clip, **options)


@pytest.mark.parametrize(
    "options", [{"fps": 0.001}, {"start": 1e9}, {"duration": 1e9}, {"duration": 1e-6}, {"fps": 1000, "duration": 0.01}]
)
def test_options_at_their_ends(clip: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    for path in (clip, write(tmp_path / "a.webp", COUNT)):
        if options.get("start"):
            with pytest.raises(BadInputError, match="has no frame from"):
                numbers(path, **options)
        else:
            assert numbers(path, **options)[0] == 0


@pytest.mark.parametrize(("suffix", "count"), [(".mp4", 24), (".webm", 12), (".gif", 40), (".webp", 40)])
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
