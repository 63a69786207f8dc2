"""PNG: damage behind the pixels, and animations."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from helpers.images import GREEN, RED, WHITE, Shown, apng, chunk, encoded, png_header, put, refused

from grn.media import open_media, read_image


def claiming(width: int, height: int) -> bytes:
    """A header that promises more than the file holds."""
    return png_header(width, height) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [10_000, 13_400, 30_000])
def test_decompression_bombs_are_refused_before_they_unfold(tmp_path: Path, side: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(claiming(side, side))
    tracemalloc.start()
    refused(path, "too large")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_pictures_without_pixels_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(claiming(*size))
    refused(path)
    path.write_bytes(encoded("bmp")[:18] + struct.pack("<ii", *size) + encoded("bmp")[26:])
    refused(path)


def test_chunks_that_matter_are_checked(tmp_path: Path) -> None:
    data = encoded("png")
    damaged = bytearray(data)
    damaged[data.index(b"IDAT") + 20] ^= 1
    refused(put(tmp_path / "a.png", damaged), "IDAT does not match its checksum")
    refused(put(tmp_path / "b.png", data[:-4]), "ends early")
    comment = bytearray(chunk(b"tEXt", b"key\0value"))
    comment[-1] ^= 1
    assert read_image(put(tmp_path / "c.png", data[:-12] + comment + data[-12:])).shape == (48, 64, 3)


ANIMATION = [
    Shown((0, 0, 4, 2), (255, 0, 0, 255), 10),
    Shown((0, 0, 2, 2), (0, 0, 255, 128), 20, disposal=1),
    Shown((2, 0, 2, 1), (0, 255, 0, 255), 30, disposal=2),
    Shown((2, 1, 2, 1), (0, 0, 0, 0), 40, over=False),
]


def test_animations(tmp_path: Path) -> None:
    path = put(tmp_path / "a.apng", apng((4, 2), ANIMATION))
    with open_media(path) as media:
        assert (media.kind, media.width, media.height, media.expected_frames) == ("video", 4, 2, 4)
        assert media.fps == pytest.approx(4)
        frames = [frame.tolist() for frame in media]
    mixed = [127, 0, 128]
    assert frames[0] == [[RED] * 4] * 2
    assert frames[1] == [[mixed, mixed, RED, RED]] * 2
    # What was cleared is transparent, and lies on white.
    assert frames[2] == [[WHITE, WHITE, GREEN, GREEN], [WHITE, WHITE, RED, RED]]
    assert frames[3] == [[WHITE, WHITE, RED, RED], [WHITE] * 4]
    with open_media(path, fps=10) as media:
        assert [frame[1, 3].tolist() for frame in media] == [RED] * 6 + [WHITE] * 4


def test_a_still_beside_the_animation_is_no_part_of_it(tmp_path: Path) -> None:
    still = zlib.compress((b"\0" + bytes([9, 9, 9, 255]) * 4) * 2)
    path = put(tmp_path / "a.apng", apng((4, 2), ANIMATION, default=still))
    assert read_image(path)[0, 0].tolist() == [9, 9, 9]
    with open_media(path) as media:
        assert [frame[0, 0].tolist() for frame in media] == [RED, [127, 0, 128], WHITE, WHITE]
    with open_media(path, duration=0.05) as media:
        assert [frame[0, 0].tolist() for frame in media] == [RED]


def test_an_animation_keeps_its_colours(tmp_path: Path) -> None:
    frames = [Shown((0, 0, 2, 1), (128, 128, 128, 255)), Shown((0, 0, 1, 1), (64, 64, 64, 255))]
    path = put(tmp_path / "a.apng", apng((2, 1), frames, between=chunk(b"gAMA", struct.pack(">I", 100_000))))
    with open_media(path) as media:
        assert [frame[0, :, 0].tolist() for frame in media] == [[188, 188], [137, 188]]


def test_an_animation_called_png_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = apng((4, 2), ANIMATION)
    for name, warned in (("a.apng", False), ("a.png", True)):
        caplog.clear()
        with open_media(put(tmp_path / name, data)) as media:
            assert len(list(media)) == 4
        assert ("4 pictures" in caplog.text) == warned


@pytest.mark.parametrize("what", ["picture", "order", "checksum", "cut"])
def test_damaged_animations_are_refused(tmp_path: Path, what: str) -> None:
    data = bytearray(apng((4, 2), ANIMATION))
    last = data.rindex(b"fdAT") - 4
    if what == "picture":
        del data[last:-12]
    elif what == "order":
        data[last:-12] = chunk(b"fdAT", struct.pack(">I", 9) + data[last + 12 : -16])
    elif what == "checksum":
        data[last + 14] ^= 1
    else:
        del data[last + 20 :]
    refused(put(tmp_path / "a.png", data))
