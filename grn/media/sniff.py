"""What a file holds, by its first bytes.

Each kind names the one decoder that may read it, so a playlist called clip.mp4 is text here and never sends a decoder
to other files.
"""

from dataclasses import dataclass

from grn.errors import BadInputError

HEAD_BYTES = 1024
# MPEG-TS: length of a packet -> bytes before its sync byte. Camcorders and Blu-ray put a time of 4 bytes before each
# packet, broadcasters 16 check bytes behind it.
TS_PACKETS = {188: 0, 192: 4, 204: 0}
_TS_SYNC = 0x47
_TS_PACKETS_SEEN = 3  # so many sync bytes in their places are no accident

_READABLE = "PNG, JPEG, WebP, BMP, TIFF, GIF, MP4, MOV, WebM, MKV, AVI, MPEG-TS or MPEG-PS"
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


def ts_packet(head: bytes) -> int | None:
    """Length of the packets of the MPEG-TS that `head` begins; None where it begins none."""
    for length, before in TS_PACKETS.items():
        if all(
            head[before + n * length : before + n * length + 1] == bytes([_TS_SYNC]) for n in range(_TS_PACKETS_SEEN)
        ):
            return length
    return None


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
    if head.startswith(b"\0\0\1\xba"):
        return "mpeg"
    return "mpegts" if ts_packet(head) else None


def _describe(head: bytes) -> str:
    if not head:
        return "is empty"
    if head[4:8] == b"ftyp":
        return "is a HEIF or AVIF picture"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "holds text, no picture"
    return "is not an image or video known here"
