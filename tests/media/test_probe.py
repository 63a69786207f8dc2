"""What a video says of itself: size, rate, shape of pixels, colours, transparency."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clips import COUNT, HEIGHT, WIDTH, number, numbers, run_ffmpeg, write
from helpers.images import BLACK, BLUE, RED, WHITE, put
from PIL import Image

from grn.errors import BadInputError
from grn.media import ffmpeg, open_media


def refused_video(path: Path, match: str | None = None) -> None:
    with pytest.raises(BadInputError, match=match):
        numbers(path)


def colours(path: Path, **options: Any) -> tuple[list[int], list[int]]:
    """Of the first frame, in the middle of its left and of its right half."""
    with open_media(path, **options) as media:
        frame = next(iter(media))
    height, width = frame.shape[:2]
    return frame[height // 2, width // 4].tolist(), frame[height // 2, 3 * width // 4].tolist()


def near(found: list[int], expected: list[int], by: int = 3) -> bool:
    return bool(np.abs(np.array(found) - expected).max() <= by)


def plain(size: str, colour: str, *filters: str) -> list[str]:
    """Arguments for 3 frames of one colour."""
    chain = ",".join([f"color={colour}:s={size}:r=10:d=0.3", "format=gbrp", *filters])
    return ["-f", "lavfi", "-i", chain]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotation_is_applied(clip: Path, tmp_path: Path, degrees: int, turns: int) -> None:
    run_ffmpeg("-display_rotation", degrees, "-i", clip, "-c", "copy", tmp_path / "a.mp4")
    with open_media(clip) as media:
        upright = np.rot90(next(iter(media)), turns)
    with open_media(tmp_path / "a.mp4") as media:
        assert (media.height, media.width) == upright.shape[:2]
        assert np.abs(next(iter(media)).astype(int) - upright).mean() < 1


def test_streams_without_pictures(clip: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
    refused_video(sound, "holds no video")
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
    refused_video(tmp_path / "none.mov")
    for head in (b"\0\0\0\x18ftypmp42" + bytes(12), b"\x1aE\xdf\xa3" + bytes(40), b"RIFF\x10\0\0\0AVI " + bytes(20)):
        (tmp_path / "head.mp4").write_bytes(head)
        refused_video(tmp_path / "head.mp4")


def test_a_frame_of_too_many_pixels_is_refused_video(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
    refused_video(clip)


@pytest.mark.parametrize("encoder", ["libvpx-vp9", "libvpx"])
@pytest.mark.parametrize("suffix", ["webm", "mkv"])
def test_webm_keeps_its_transparency(tmp_path: Path, encoder: str, suffix: str) -> None:
    raw = np.zeros((3, 32, 32, 4), np.uint8)
    raw[..., 0], raw[:, :, :16, 3] = 255, 255
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgba",
        "-s",
        "32x32",
        "-r",
        "10",
        "-i",
        put(tmp_path / "raw", raw.tobytes()),
    ]
    path = tmp_path / f"a.{suffix}"
    run_ffmpeg(*source, "-c:v", encoder, "-auto-alt-ref", 0, "-pix_fmt", "yuva420p", path)
    for background, shown in (("white", WHITE), ("blue", BLUE)):
        left, right = colours(path, background=background)
        assert near(left, RED)
        assert near(right, shown)


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


@pytest.mark.parametrize(
    ("size", "matrix"),
    [("1280x720", "bt709"), ("720x1280", "bt709"), ("640x480", "smpte170m"), ("720x576", "smpte170m")],
)
def test_untagged_video_is_taken_as_players_take_it(tmp_path: Path, size: str, matrix: str) -> None:
    """The matrix of HD from 1280 columns or 577 lines on; upright or not."""
    filters = [f"scale=out_color_matrix={matrix}:out_range=tv", "format=yuv420p", "setparams=colorspace=unknown"]
    path = tmp_path / "a.mkv"
    run_ffmpeg(*plain(size, "red", *filters), "-c:v", "libx264", "-crf", 1, path)
    assert near(colours(path)[0], RED)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
def test_tagged_video_is_taken_by_its_tag(tmp_path: Path, matrix: str) -> None:
    filters = [f"scale=out_color_matrix={matrix}:out_range=tv", "format=yuv420p", f"setparams=colorspace={matrix}"]
    path = tmp_path / "a.mkv"
    run_ffmpeg(*plain("1280x720", "red", *filters), "-c:v", "libx264", "-crf", 1, path)
    assert near(colours(path)[0], RED)


@pytest.mark.parametrize(("transfer", "level"), [("smpte2084", 0.58), ("arib-std-b67", 0.75)])
def test_white_paper_of_hdr_is_nearly_white(tmp_path: Path, transfer: str, level: float) -> None:
    """203 nits: 58 % of PQ, 75 % of HLG."""
    colour = "0x" + f"{round(level * 255):02x}" * 3
    tags = f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}:range=tv"
    filters = ["scale=out_color_matrix=bt2020nc:out_range=tv", "format=yuv420p10le", tags]
    path = tmp_path / "a.mkv"
    run_ffmpeg(*plain("64x64", colour, *filters), "-c:v", "ffv1", path)
    (red, green, blue), _ = colours(path)
    assert 230 <= red <= 255
    assert max(red, green, blue) - min(red, green, blue) <= 2
    run_ffmpeg(*plain("64x64", "black", *filters), "-c:v", "ffv1", path)
    assert near(colours(path)[0], BLACK, 1)


def test_hdr_without_the_filter_for_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tags = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv"
    path = tmp_path / "a.mkv"
    run_ffmpeg(*plain("64x64", "gray", "format=yuv420p10le", tags), "-c:v", "ffv1", path)
    monkeypatch.setattr(ffmpeg, "has", lambda *_: False)
    with open_media(path) as media:
        assert len(list(media)) == 3
    assert "HDR" in caplog.text


def test_wide_primaries_are_converted(tmp_path: Path) -> None:
    tags = "setparams=colorspace=bt709:color_primaries=smpte432:color_trc=bt709:range=tv"
    filters = ["scale=out_color_matrix=bt709:out_range=tv", "format=yuv444p", tags]
    path = tmp_path / "a.mkv"
    run_ffmpeg(*plain("64x64", "0xC80000", *filters), "-c:v", "ffv1", path)
    (red, green, _), _ = colours(path)
    assert red > 210
    assert green < 8
    run_ffmpeg(*plain("64x64", "0x646464", *filters), "-c:v", "ffv1", path)
    assert near(colours(path)[0], [100, 100, 100], 1)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("1/1", (64, 48)),
        ("2/1", (128, 48)),
        ("1/2", (64, 96)),
        ("8/9", (64, 54)),
        ("32/27", (76, 48)),
        ("1000/1", (64, 48)),
    ],
)
def test_pixels_become_square(clip: Path, tmp_path: Path, shape: str, size: tuple[int, int]) -> None:
    path = tmp_path / "a.mkv"
    run_ffmpeg("-i", clip, "-vf", f"setsar={shape}", "-c:v", "libx264", "-crf", 10, path)
    with open_media(path) as media:
        assert (media.width, media.height) == size
        frames = list(media)
    assert frames[0].shape == (size[1], size[0], 3)
    assert [number(one) for one in frames] == list(range(COUNT))


def test_turned_pixels_become_square(clip: Path, tmp_path: Path) -> None:
    run_ffmpeg("-i", clip, "-vf", "setsar=2/1", "-c:v", "libx264", tmp_path / "a.mp4")
    run_ffmpeg("-display_rotation", 90, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    with open_media(tmp_path / "b.mp4") as media:
        assert (media.width, media.height) == (48, 128)
