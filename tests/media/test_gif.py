"""GIF: pictures laid over each other, times, damage."""

from pathlib import Path
from typing import Any

import pytest
from helpers.clips import numbers, write
from helpers.images import BLACK, BLUE, GREEN, RED, WHITE, Shown, gif, put

from grn.errors import BadInputError
from grn.media import open_media, read_image


def shown(data: bytes, folder: Path, **options: Any) -> list[list[list[int]]]:
    """The first row of each frame."""
    with open_media(put(folder / "a.gif", data), **options) as media:
        return [frame[0].tolist() for frame in media]


def test_what_no_picture_covers_is_transparent(tmp_path: Path) -> None:
    """Whatever colour the file names for it: no player shows that."""
    frames = [Shown((0, 0, 2, 2), 1), Shown((2, 0, 1, 2), 3)]
    expected = [[RED, RED, WHITE, WHITE], [RED, RED, BLUE, WHITE]]
    for background in (0, 2):
        assert shown(gif((4, 2), frames, background), tmp_path) == expected
        assert shown(gif((4, 2), frames[:1], background), tmp_path) == expected[:1]
        assert read_image(tmp_path / "a.gif")[0].tolist() == expected[0]
    assert shown(gif((4, 2), frames), tmp_path, background="black")[1] == [RED, RED, BLUE, BLACK]


def test_a_transparent_number_shows_what_is_below(tmp_path: Path) -> None:
    frames = [Shown((0, 0, 4, 2), 1), Shown((0, 0, 2, 2), 2, transparent=2), Shown((1, 0, 2, 2), 3, transparent=2)]
    assert shown(gif((4, 2), frames), tmp_path) == [[RED] * 4, [RED] * 4, [RED, BLUE, BLUE, RED]]


@pytest.mark.parametrize("transparent", [None, 2])
def test_disposal(tmp_path: Path, transparent: int | None) -> None:
    def frames(disposal: int) -> list[Shown]:
        first = Shown((0, 0, 4, 2), 1, transparent=transparent)
        second = Shown((0, 0, 2, 2), 3, disposal=disposal, transparent=transparent)
        return [first, second, Shown((3, 0, 1, 2), 0, transparent=transparent)]

    assert shown(gif((4, 2), frames(0)), tmp_path)[2] == [BLUE, BLUE, RED, BLACK]
    assert shown(gif((4, 2), frames(1)), tmp_path)[2] == [WHITE, WHITE, RED, BLACK]
    assert shown(gif((4, 2), frames(2)), tmp_path)[2] == [RED, RED, RED, BLACK]


def test_pictures_that_overhang_do_not_change_the_size(tmp_path: Path) -> None:
    frames = [Shown((0, 0, 4, 2), 1), Shown((3, 1, 4, 4), 3), Shown((9, 9, 2, 2), 2)]
    with open_media(put(tmp_path / "a.gif", gif((4, 2), frames))) as media:
        found = list(media)
    assert [frame.shape for frame in found] == [(2, 4, 3)] * 3
    assert found[2][1].tolist() == [RED, RED, RED, BLUE]
    # A screen too small for the first picture takes its size.
    assert read_image(put(tmp_path / "b.gif", gif((0, 0), frames[:1]))).shape == (2, 4, 3)


def test_times_of_a_hundredth_or_less_are_a_tenth(tmp_path: Path) -> None:
    for delay in (0, 1):
        data = gif((1, 1), [Shown((0, 0, 1, 1), index % 4, delay) for index in range(10)])
        with open_media(put(tmp_path / "a.gif", data)) as media:
            assert media.fps == 10
        assert shown(data, tmp_path, fps=10) == [[[BLACK, RED, GREEN, BLUE][index % 4]] for index in range(10)]
    with open_media(put(tmp_path / "a.gif", gif((1, 1), [Shown((0, 0, 1, 1), 0, 2)] * 10))) as media:
        assert media.fps == 50


def test_an_animation_cut_between_two_pictures_is_refused(tmp_path: Path) -> None:
    """Where the cut falls there, decoders see a shorter animation and no damage."""
    path = write(tmp_path / "a.gif", 10)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\x21\xf9\x04")])
    with pytest.raises(BadInputError, match="ends early"):
        numbers(path)


def test_pixels_that_end_early_are_refused(tmp_path: Path) -> None:
    data = gif((8, 8), [Shown((0, 0, 8, 8), 1), Shown((0, 0, 8, 8), 2)])
    # The second picture's blocks are whole, but hold half of its pixels.
    place = data.rindex(b"\x02", 0, -20)
    short = data[: place + 1] + bytes([6]) + data[place + 2 : place + 8] + b"\0;"
    with pytest.raises(BadInputError, match="damaged"), open_media(put(tmp_path / "a.gif", short)) as media:
        list(media)
