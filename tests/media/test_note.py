"""What files say of how they were made, in every format that has a place for it."""

from pathlib import Path

import numpy as np
import pytest

from grn.errors import BadInputError
from grn.media import VideoWriter, open_media, read_image, read_note, write_image

NOTE = '{"prompt": "a \\u00e9 = ; # \\\\ \\"cat\\"", "long": "' + "x" * 700 + '"}'
FRAMES = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a.{suffix}", FRAMES[0], {"grn": NOTE})
    write_image(tmp_path / f"b.{suffix}", FRAMES[0])
    assert read_note(tmp_path / f"a.{suffix}") == NOTE
    assert read_note(tmp_path / f"b.{suffix}") == ""
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), read_image(tmp_path / f"b.{suffix}"))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "gif", "webp"])
def test_clips(tmp_path: Path, suffix: str) -> None:
    for name, note in (("a", NOTE), ("b", "")):
        with VideoWriter(tmp_path / f"{name}.{suffix}", 16, 16, 10, note) as video:
            for frame in FRAMES:
                video.write(frame)
    assert read_note(tmp_path / f"a.{suffix}") == NOTE
    assert read_note(tmp_path / f"b.{suffix}") == ""
    with open_media(tmp_path / f"a.{suffix}") as first, open_media(tmp_path / f"b.{suffix}") as second:
        assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.png: "):
        read_note(tmp_path / "a.png")
