"""Which frames of a video come, and what damage is said of it."""

from pathlib import Path
from typing import Any

import pytest
from helpers.clips import COUNT, FPS, number, numbers, run_ffmpeg, write
from helpers.images import put

from grn.errors import BadInputError
from grn.media import open_media


@pytest.fixture(scope="module")
def tangled(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clip with frames that refer to later ones, a keyframe every 12, in containers that time them in their own ways."""
    folder = tmp_path_factory.mktemp("tangled")
    h264 = ["-c:v", "libx264", "-bf", 3, "-crf", 8, "-g", 12]
    for name in ("a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts"):
        run_ffmpeg("-i", clip, *h264, folder / name)
    run_ffmpeg("-i", clip, *h264, "-f", "mpegts", "-mpegts_m2ts_mode", 1, folder / "a.m2ts")
    run_ffmpeg("-i", clip, *h264, "-x264-params", "open-gop=1", folder / "open.mkv")
    run_ffmpeg("-i", clip, "-c:v", "mpeg2video", "-bf", 2, "-q:v", 1, "-g", 12, "-f", "vob", folder / "a.mpg")
    run_ffmpeg(
        "-itsoffset", 0.3, "-i", clip, "-f", "lavfi", "-i", "sine=d=3", *h264, "-map", 0, "-map", 1, folder / "late.mkv"
    )
    return {path.name: path for path in folder.iterdir()}


NAMES = ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.m2ts", "open.mkv", "a.mpg", "late.mkv"]


@pytest.mark.parametrize("name", NAMES)
def test_times_are_the_same_in_every_container(tangled: dict[str, Path], name: str) -> None:
    def close(found: list[int], expected: list[int]) -> bool:
        return len(found) == len(expected) and all(
            abs(a - b) <= (name == "a.mpg") for a, b in zip(found, expected, strict=True)
        )

    path = tangled[name]
    assert close(numbers(path), list(range(COUNT)))
    assert close(numbers(path, start=0.4, duration=0.2), [10, 11, 12, 13, 14])
    assert close(numbers(path, start=1.0), list(range(25, COUNT)))
    assert close(numbers(path, duration=0.12), [0, 1, 2])
    assert close(numbers(path, fps=5), list(range(0, COUNT, 5)))
    assert close(numbers(path, start=0.5, duration=0.4, fps=5), [13, 17])
    assert close(numbers(path, fps=50, duration=0.1), [0, 0, 1, 1, 2])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
@pytest.mark.parametrize("options", [{}, {"start": 0.04}, {"start": 1.6}, {"start": 0.04, "fps": 5}, {"fps": 5}])
def test_damage_is_noticed_wherever_the_part_begins(
    tangled: dict[str, Path], tmp_path: Path, name: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(tangled[name].read_bytes())
    middle = len(data) * 2 // 5
    data[middle : middle + 1500] = b"Z" * 1500
    path = put(tmp_path / name, data)
    with pytest.raises(BadInputError, match="damaged or cut off"):
        numbers(path, **options)
    with open_media(path, allow_partial=True, **options) as media:
        if name == "a.avi" and options.get("start", 0) > 1:  # there is nothing to be had behind the damage
            with pytest.raises(BadInputError, match="has no frame there"):
                list(media)
        else:
            assert list(media)
            assert media.damage is not None
            assert "could be read" in caplog.text
    # The same file without the damage has nothing to say.
    caplog.clear()
    assert numbers(tangled[name], **options)
    assert not caplog.text


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


def test_frames_closer_than_the_average_rate_are_no_damage(clip: Path, tmp_path: Path) -> None:
    """A Matroska file may claim the average as its rate; rounded to that, the times of a burst fall together, of which
    ffmpeg complains.
    """
    timed, burst = tmp_path / "timed.mp4", tmp_path / "burst.mkv"
    times = "setpts='if(lt(N,10),N,10+3*(N-10))/25/TB'"
    run_ffmpeg("-i", clip, "-vf", times, "-fps_mode", "vfr", "-frames:v", 20, "-c:v", "libx264", "-crf", 1, timed)
    run_ffmpeg("-i", timed, "-c", "copy", burst)
    assert numbers(burst) == list(range(20))
    with open_media(burst) as media:
        assert media.count_frames() == 20
    assert numbers(burst, start=0.08, duration=0.1) == [2, 3, 4]


def test_resolution_that_changes_midway_keeps_the_first(tmp_path: Path) -> None:
    for name, size in (("a", "64:48"), ("b", "32:24")):
        write(tmp_path / f"{name}.mp4", 5)
        run_ffmpeg("-i", tmp_path / f"{name}.mp4", "-vf", f"scale={size}", "-f", "mpegts", tmp_path / f"{name}.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_media(joined) as media:
        shapes = {picture.shape for picture in media}
    assert shapes == {(48, 64, 3)}


def test_a_part_begins_at_its_number_though_the_resolution_changes(tmp_path: Path) -> None:
    for name, size in (("a", "64:48"), ("b", "32:24")):
        write(tmp_path / f"{name}.mp4", 5)
        run_ffmpeg("-i", tmp_path / f"{name}.mp4", "-vf", f"scale={size}", "-f", "mpegts", tmp_path / f"{name}.ts")
    joined = put(tmp_path / "joined.ts", (tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_media(joined) as media:
        whole = [number(one) for one in media]
        assert media.count_frames() == len(whole)
        assert [number(one) for one in media.part(6, 2)] == whole[6:8]


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_parts_of_a_slow_clip_are_not_rounded_to_frames(tmp_path: Path, suffix: str) -> None:
    """An AVI's clock counts frames."""
    path = tmp_path / f"a.{suffix}"
    run_ffmpeg("-i", write(tmp_path / "a.mp4", 8, fps=2), "-c", "copy", path)
    assert numbers(path, duration=0.1) == [0]
    assert numbers(path, duration=0.7) == [0, 1]
    assert numbers(path, start=0.1) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(path, start=0.9, duration=0.2) == [2]
    assert numbers(path, start=0.9, duration=0.7) == [2, 3]
