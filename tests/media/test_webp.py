"""Animated WebP, written here and read."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import frame, number, numbers, write
from PIL import Image

from grn.errors import BadInputError
from grn.media import VideoWriter, open_media


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


def webp_of(delays: list[int], path: Path) -> Path:
    pictures = [Image.fromarray(frame(index)) for index in range(len(delays))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=delays, lossless=True)
    return path


def test_animations_with_times_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    webp_of([100, 300, 100, 500], path)
    with open_media(path) as media:
        assert [number(picture) for picture in media] == [0, 1, 2, 3]
        assert media.fps == pytest.approx(4)
    assert numbers(path, fps=10) == [0, 1, 1, 1, 2, 3, 3, 3, 3, 3]
    assert numbers(path, fps=1) == [0]
    assert numbers(path, fps=4, start=0.4, duration=0.3) == [2, 3]
    webp_of([0, 0, 0], path)
    with open_media(path) as media:
        assert media.fps == pytest.approx(10)


def test_times_of_a_hundredth_or_less_are_a_tenth(tmp_path: Path) -> None:
    with open_media(webp_of([10] * 10, tmp_path / "a.webp")) as media:
        assert media.fps == 10
    with open_media(webp_of([11] * 10, tmp_path / "b.webp")) as media:
        assert media.fps == 91


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_animations_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path / f"a{suffix}", 10)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInputError):
        numbers(path)


def test_a_lost_picture_of_an_animation_is_noticed(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (40 * index, 0, 0)) for index in range(5)]
    path = tmp_path / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, exif=b"Exif\0\0", xmp=b"<x/>")
    data = path.read_bytes()
    with open_media(path) as media:
        assert len(list(media)) == 5
    for at in (data.index(b"ANMF"), data.rindex(b"ANMF")):
        path.write_bytes(data[:at] + b"AN\x0dF" + data[at + 4 :])
        with pytest.raises(BadInputError, match=r"a part called AN\\rF among its pictures"):
            open_media(path)
