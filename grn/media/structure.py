"""Whether a video file is as long as its own structure says, and its index agrees with itself.

ffmpeg decodes a file cut in half without an error status, and says nothing where the cut falls between two frames.
Containers state the length of their parts, so the end of the last part must be the end of the file.
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from grn.media.mov import read_index
from grn.media.sniff import HEAD_BYTES, ts_packet

_EBML_SEGMENT = b"\x18\x53\x80\x67"
# Among the frames of an AVI: a stream's number and what it has there, indices, and what fills gaps.
_AVI_PART = re.compile(rb"\d\d\w\w|ix\d\d|idx1|JUNK|\0{4}")
_DEEPEST = 4  # lists in lists
# MPEG program streams: start codes of what has a length of its own.
_PACK, _PROGRAM_END = 0xBA, 0xB9


def missing_end(file: BinaryIO, demuxer: str) -> str | None:
    """What is missing or contradicts itself, for a message; None where the file is as long as it claims, or makes no
    claim (streamed WebM, MPEG-TS and MPEG-PS cut between packets).
    """
    length = file.seek(0, 2)
    file.seek(0)
    walks = {"mov": _mov, "matroska": _matroska, "avi": _avi, "mpegts": _mpegts, "mpeg": _mpeg}
    try:
        claimed = walks[demuxer](file, length)
        if claimed is not None and claimed > length:
            return f"{claimed - length:,} of {claimed:,} bytes are missing"
        index = read_index(file) if demuxer == "mov" else None
    except (struct.error, IndexError, ValueError):
        return "its structure breaks off"
    return index.disagreement() if index else None


def doubtful(file: BinaryIO, demuxer: str) -> str | None:
    """What is odd about a file without `missing_end`, for a message: frames that it holds and does not show."""
    if demuxer == "avi":
        strange = (name for name in _avi_frames(file, 12, file.seek(0, 2)) if not _AVI_PART.fullmatch(name))
        found = next(strange, None)
        return f"a part called {ascii(found)[2:-1]} among its frames is left out; it is damaged" if found else None
    index = read_index(file) if demuxer == "mov" else None
    warning = index.warning() if index else None
    return f"{warning}; the file was trimmed, or its index is damaged" if warning else None


def _avi_frames(file: BinaryIO, position: int, end: int, inside: bool = False, depth: int = 0) -> Iterator[bytes]:
    """The names of the parts that lie among the frames. inside: whether the place is there already."""
    while position + 8 <= end:
        file.seek(position)
        name, size, kind = struct.unpack("<4sI4s", file.read(12).ljust(12))
        if name in (b"LIST", b"RIFF") and depth < _DEEPEST:
            if inside or kind in (b"movi", b"AVIX"):
                stop = min(end, position + 8 + size)
                yield from _avi_frames(file, position + 12, stop, inside or kind == b"movi", depth + 1)
        elif inside:
            yield name
        position += 8 + size + size % 2


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
    position = 0
    # What is too long for one RIFF chunk goes on in the next.
    while position < length:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        # 0 stands in files of a recorder that never finished; what follows the last chunk belongs to nothing.
        if name != b"RIFF" or not size:
            return length
        position += 8 + size + size % 2 * (position + 8 + size < length)
    return position


def _mpegts(file: BinaryIO, length: int) -> int:
    packet = ts_packet(file.read(HEAD_BYTES)) or 1
    return -(-length // packet) * packet


def _mpeg(file: BinaryIO, length: int) -> int:
    position = 0
    while position < length:
        file.seek(position)
        header = file.read(14)
        if not header.startswith(b"\0\0\1") or header[3] < _PROGRAM_END:
            return length  # something else follows, which makes no claim
        if header[3] == _PROGRAM_END:
            position += 4
        elif header[3] == _PACK:
            # MPEG-2 packs end in stuffing bytes, MPEG-1 packs are of one length.
            position += 14 + (header[13] & 7) if header[4] >> 6 == 1 else 12
        else:
            position += 6 + struct.unpack(">4xH", header[:6])[0]
    return position
