"""Whether a file is as long as its own structure says.

ffmpeg decodes a file cut in half without an error status, and says nothing where the cut falls between two frames.
Containers state the length of their parts, so the end of the last part must be the end of the file.
"""

import struct
import zlib
from typing import BinaryIO

from grn.media.sniff import TS_PACKET

_EBML_SEGMENT = b"\x18\x53\x80\x67"


def missing_end(file: BinaryIO, demuxer: str) -> str | None:
    """What is missing, for a message; None where the file is as long as it claims, or makes no claim (streamed WebM,
    MPEG-TS cut between packets).
    """
    length = file.seek(0, 2)
    file.seek(0)
    try:
        claimed = {"mov": _mov, "matroska": _matroska, "avi": _avi, "mpegts": _mpegts}[demuxer](file, length)
    except (struct.error, IndexError):
        return "its structure breaks off"
    if claimed is None or claimed <= length:
        return None
    return f"{claimed - length:,} of {claimed:,} bytes are missing"


def check_png(file: BinaryIO) -> None:
    """Walk the chunks of a PNG to its end. Raises ValueError where it is cut, or where a chunk that matters is not what
    was written.
    """
    end = file.seek(0, 2)
    file.seek(8)
    while True:
        header = file.read(8)
        length, name = struct.unpack(">I4s", header) if len(header) == 8 else (0, b"")
        # Asked first, since a claim of 4 GiB would be allocated before it is found wanting.
        if not name or file.tell() + length + 4 > end:
            raise ValueError("the file ends early")
        body, checksum = file.read(length), file.read(4)
        # Lower case marks chunks that a picture can do without; some tools get their checksums wrong.
        if name[:1].isupper() and zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
            raise ValueError(f"chunk {name.decode('ascii', 'replace')} does not match its checksum")
        if name == b"IEND":
            return


def _mov(file: BinaryIO, length: int) -> int:
    position = 0
    while position < length:
        file.seek(position)
        header = file.read(16)
        (size,) = struct.unpack(">I", header[:4])
        if size == 1:
            (size,) = struct.unpack(">8xQ", header)
        if size == 0:  # reaches to the end, wherever that is
            return length
        if size < 8:
            # Bytes after the last box, padding mostly, belong to nothing.
            return length
        position += size
    return position


def _matroska(file: BinaryIO, length: int) -> int | None:
    position = 0
    while position < length:
        file.seek(position)
        header = file.read(12)
        size, width = _ebml_size(header, 4)
        if size is None:
            return None
        position += 4 + width + size
        if header[:4] == _EBML_SEGMENT:
            return position
    return position


def _ebml_size(header: bytes, at: int) -> tuple[int | None, int]:
    """An EBML length and how many bytes it takes; None: not known when the file was written."""
    width = 9 - header[at].bit_length()
    mask = (1 << (7 * width)) - 1
    value = int.from_bytes(header[at : at + width], "big") & mask
    return (None if value == mask else value), width


def _avi(file: BinaryIO, length: int) -> int:
    (size,) = struct.unpack("<4xI", file.read(8))
    # 0 stands in files of a recorder that never finished; larger ones go on in further RIFF chunks.
    return 8 + size if size else length


def _mpegts(file: BinaryIO, length: int) -> int:
    return -(-length // TS_PACKET) * TS_PACKET
