"""Opening what is to be read: a file by its path, or a binary stream."""

import contextlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from grn.errors import BadInputError, EnvironmentFaultError
from grn.files import display
from grn.media.sniff import HEAD_BYTES, Container, sniff

FileInput = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True)
class Source:
    """An input opened for reading.

    name: for messages, "-" for a stream. path: where a decoder that needs a path finds it; videos always have one.
    """

    name: str
    container: Container
    file: BinaryIO
    path: Path | None


@contextlib.contextmanager
def open_source(source: FileInput) -> Iterator[Source]:
    """Open a file or a stream, told apart by its first bytes. A stream is read to its end: an image into memory, a
    video into a temporary file.

    Raises BadInputError where there is nothing to open or where it holds no known kind of image or video.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | os.PathLike):
            path, name = Path(source), display(Path(source))
            file = stack.enter_context(_open(path, name))
            yield Source(name, sniff(_head(file), name), file, path)
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
                f"-: does not fit into the folder for temporary files, {folder.parent} ({error.strerror}); "
                "free some space there, or name another one in TMPDIR"
            ) from error
        yield Source("-", container, stack.enter_context(spooled.open("rb")), spooled)


def _open(path: Path, name: str) -> BinaryIO:
    try:
        # Opening a pipe would wait for a writer, and a device never ends.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise BadInputError(f"{name}: is a pipe or a device (expected a file); give the bytes as a stream")
        return path.open("rb")
    except FileNotFoundError as error:
        raise BadInputError(f"{name}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise BadInputError(f"{name}: is a folder (expected an image or a video); name a file in it") from error
    except PermissionError as error:
        raise BadInputError(f"{name}: may not be read; check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{name}: cannot be opened ({reason}); check the name and the disk") from error


def _head(file: BinaryIO) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (more := file.read(HEAD_BYTES - len(head))):
        head += more
    return head
