"""`grn generate --show`, and what a terminal is shown."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from grn_cli.preview import preview


def shown(frames: np.ndarray, columns: int = 100) -> list[list[tuple[int, ...]]]:
    """The lines of a preview: the colours of each character's upper half."""
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system="truecolor")
    preview(frames, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    found = [re.findall(r"38;2;(\d+);(\d+);(\d+)", line) for line in lines]
    return [[tuple(map(int, colour)) for colour in line] for line in found if line]


def test_a_picture_has_two_pixels_a_character() -> None:
    picture = np.zeros((1, 128, 128, 3), np.uint8)
    picture[:, :, 64:] = (255, 128, 0)
    lines = shown(picture)
    assert len(lines) == 32
    assert {len(line) for line in lines} == {64}
    assert lines[7][:20] == [(0, 0, 0)] * 20
    assert lines[7][-20:] == [(255, 128, 0)] * 20


@pytest.mark.parametrize(
    ("shape", "columns", "wanted"),
    [
        ((9, 64, 64), 300, (32, 256)),
        ((9, 64, 64), 80, (10, 80)),
        ((1, 256, 1024), 120, (15, 120)),
        ((1, 1, 1), 80, (1, 1)),
    ],
    ids=["clip", "narrow", "sheet", "pixel"],
)
def test_shapes(shape: tuple[int, int, int], columns: int, wanted: tuple[int, int]) -> None:
    lines = shown(np.full((*shape, 3), 9, np.uint8), columns)
    assert (len(lines), len(lines[0])) == wanted


def test_frames_of_a_clip_stand_side_by_side() -> None:
    clip = np.repeat(np.arange(13, dtype=np.uint8), 8 * 8 * 3).reshape(13, 8, 8, 3)
    assert [colour[0] for colour in shown(clip)[0][4::8]] == [0, 4, 8, 12]


def test_without_a_terminal_it_is_refused(grn, words) -> None:
    outcome = grn("generate", "cat", "-m", words, "--show")
    assert outcome.code == 2
    assert outcome.err.startswith("grn: error: --show: there is no terminal")
