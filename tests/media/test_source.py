"""Opening files and streams; what is no image or video is refused by its bytes."""

import io
import os
import sys
from pathlib import Path

import pytest
from helpers.clips import COUNT, number, numbers, write
from helpers.images import picture, refused, saved
from PIL import Image

from grn.errors import BadInputError
from grn.media import open_media, read_image, read_image_text, write_image


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"just some text\n", "holds text"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "not an image or video"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
        (b"\xff\xd8\xff\xe0", "damaged or cut off"),
        (b"GIF89a", "damaged or cut off"),
        (b"RIFF\x10\0\0\0WEBP", "damaged or cut off"),
        (b"BM", "damaged or cut off"),
        (b"II*\0", "damaged or cut off"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "holds text"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "HEIF"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refused(path, match)
    with pytest.raises(BadInputError, match=match):
        open_media(path)


def test_paths_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing.png", "no such file")
    refused(tmp_path / "a\nb\x1b.png", "no such file")
    refused(tmp_path / "nul\0.png", "cannot be opened")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.png")
        refused(tmp_path / "pipe.png", "pipe or a device")
    path = saved(tmp_path / "a.png", Image.new("L", (1, 1)))

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    refused(path, "may not be read")


def test_streams(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_image(stream, picture(), {"grn": "x"})
    stream.seek(0)
    assert (read_image(stream) == picture()).all()
    stream.seek(0)
    with open_media(stream) as media:
        assert media.kind == "image"
        assert (next(iter(media)) == picture()).all()
    with pytest.raises(BadInputError, match=r"^-: is empty"):
        read_image(io.BytesIO())


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile 'clip.mp4'\n", "#EXTM3U\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n"]
)
def test_playlists_are_refused(clip: Path, text: str) -> None:
    path = clip.with_name("list.mp4")
    path.write_text(text)
    refused(path, "holds text")


def test_video_from_a_stream_leaves_no_copy(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_media(io.BytesIO(clip.read_bytes())) as media:
        assert [number(picture) for picture in media] == list(range(COUNT))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["-x.mp4", "http:a.mp4", "a b'%03d.mp4", "a\nb.mp4", "ünï.mp4", "pipe:0.mp4"])
def test_odd_names(tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert len(numbers(Path(name))) == COUNT
    write(Path(f"out{name}"), 2)
    assert len(numbers(Path(f"out{name}"))) == 2


def test_paths_may_be_text(tmp_path: Path, clip: Path) -> None:
    write_image(str(tmp_path / "a.png"), picture())
    assert (read_image(str(tmp_path / "a.png")) == picture()).all()
    assert len(numbers(str(clip))) == COUNT  # type: ignore[arg-type]
    assert read_image_text(os.fspath(tmp_path / "a.png")) == {}


def test_messages_do_not_speak_of_a_command_line(tmp_path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.png")
        assert "standard input" not in refused(tmp_path / "pipe.png")
    assert " --" not in refused(tmp_path / "missing.png")
