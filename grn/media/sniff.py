"""What a file holds, by its first bytes.

Each kind names the one decoder that may read it, so a playlist called clip.mp4 is text here and never sends a decoder
to other files.
"""

import contextlib
import io
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import display

HEAD_BYTES = 1024
TS_PACKET = 188

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".gif", ".webp")

_READABLE = "PNG, JPEG, WebP, BMP, TIFF, GIF, MP4, MOV, WebM, MKV, AVI or MPEG-TS"
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}


@dataclass(frozen=True)
class Container:
    """`decoder` is Pillow's format name for images, ffmpeg's demuxer for videos."""

    decoder: str
    is_video: bool


def sniff(head: bytes, name: str) -> Container:
    """The container that `head`, a file's first bytes, begins. Raises BadInputError, naming `name`, on anything that is
    not read here.
    """
    image = _image(head)
    if image:
        return Container(image, is_video=False)
    video = _video(head)
    if video:
        return Container(video, is_video=True)
    raise BadInputError(f"{name}: {_describe(head)} (expected {_READABLE}); convert it first or give another file")


@dataclass(frozen=True)
class Source:
    """An input opened for reading. `name` is for messages; `path` is where a decoder that needs a path finds it (videos
    always have one).
    """

    name: str
    container: Container
    file: BinaryIO
    path: Path | None


@contextlib.contextmanager
def open_source(source: Path | BinaryIO) -> Iterator[Source]:
    """Open a file or a stream, told apart by its first bytes. A stream is read to its end: an image into memory, a
    video into a temporary file.

    Raises BadInputError where there is nothing to open or where it holds no known kind of image or video.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            name = display(source)
            file = stack.enter_context(_open(source, name))
            yield Source(name, sniff(_head(file), name), file, source)
            return
        head = _head(source)
        container = sniff(head, "-")
        if not container.is_video:
            yield Source("-", container, io.BytesIO(head + source.read()), None)
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grn-")))
        spooled = folder / "input"
        try:
            with spooled.open("wb") as copy:
                copy.write(head)
                shutil.copyfileobj(source, copy)
        except OSError as error:
            raise EnvironmentFaultError(
                f"-: does not fit into {folder} ({error.strerror}); free some space, or set TMPDIR"
            ) from error
        yield Source("-", container, stack.enter_context(spooled.open("rb")), spooled)


def _open(path: Path, name: str) -> BinaryIO:
    try:
        # Opening a pipe would wait for a writer, and a device never ends.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise BadInputError(
                f"{name}: is a pipe or a device (expected a file); send it through standard input as '-'"
            )
        return path.open("rb")
    except FileNotFoundError as error:
        raise BadInputError(f"{name}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise BadInputError(f"{name}: is a folder (expected an image or a video); name a file in it") from error
    except PermissionError as error:
        raise BadInputError(f"{name}: may not be read; check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BadInputError(f"{name}: cannot be opened ({error}); check the name and the disk") from error


def _head(file: BinaryIO) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (more := file.read(HEAD_BYTES - len(head))):
        head += more
    return head


def _image(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:2] == b"BM":
        return "BMP"
    return None


def _video(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _HEIF_BRANDS else "mov"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:1] == b"G" and head[TS_PACKET : TS_PACKET + 1] == b"G" and head[2 * TS_PACKET : 2 * TS_PACKET + 1] == b"G":
        return "mpegts"
    return None


def _describe(head: bytes) -> str:
    if not head:
        return "is empty"
    if head[4:8] == b"ftyp":
        return "is a HEIF or AVIF picture"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "holds text, no picture"
    return "is not an image or video known here"
