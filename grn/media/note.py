"""A text that a file carries of how it was made, where its format has a place for one.

PNG: the entry "grn". JPEG and WebP: the image description of the EXIF data. GIF: a comment. MP4, MOV and WebM: the comment.
"""

import os
import re
from pathlib import Path

from PIL import Image

from grn.errors import BadInputError
from grn.files import display
from grn.media import ffmpeg
from grn.media.exif import DESCRIPTION
from grn.media.picture import read_image_text
from grn.media.sniff import HEAD_BYTES, sniff

_COMMENT = b"\x21\xfe"
_BLOCK = 255


def put_gif_comment(path: Path, note: str) -> None:
    """Add a comment before the first picture of a GIF."""
    data = path.read_bytes()
    place = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    text = note.encode()
    blocks = b"".join(bytes([len(text[i : i + _BLOCK])]) + text[i : i + _BLOCK] for i in range(0, len(text), _BLOCK))
    path.write_bytes(data[:place] + _COMMENT + blocks + b"\0" + data[place:])


def read_note(source: str | os.PathLike[str]) -> str:
    """What a picture or clip says of how it was made; "" where it has none. Raises BadInputError where the file cannot be read."""
    path = Path(source)
    try:
        with path.open("rb") as file:
            kind = sniff(file.read(HEAD_BYTES), display(path))
    except OSError as error:
        raise BadInputError(f"{display(path)}: {(error.strerror or str(error)).lower()}; check the path") from error
    if kind.is_video:
        return _container_note(path, kind.decoder)
    if text := read_image_text(path).get("grn"):
        return text
    with Image.open(path) as image:
        comment = image.info.get("comment", b"") if image.format == "GIF" else image.getexif().get(DESCRIPTION, "")
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)


def _container_note(path: Path, demuxer: str) -> str:
    arguments = ["-loglevel", "error", *ffmpeg.input_arguments(path, demuxer), "-f", "ffmetadata", "pipe:2"]
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)", ffmpeg.run(arguments, display(path)), re.I | re.M | re.S)
    return re.sub(r"\\(.)", r"\1", found[1], flags=re.S) if found else ""
