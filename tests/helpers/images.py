"""Image files for tests: pictures that show every wrong turn, and files put together byte by byte, as no library of ours
writes them.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from grn.errors import BadInputError
from grn.files import display
from grn.media import read_image

WHITE, BLACK, RED, GREEN, BLUE = [255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]
SUFFIXES = ("png", "jpg", "webp", "bmp", "tiff", "gif")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth and asymmetric, so that any format holds it well and any wrong turn shows."""
    y, x = np.mgrid[:height, :width]
    planes = [
        x * 255 // max(width - 1, 1),
        y * 255 // max(height - 1, 1),
        (x + y + 40 * seed) * 255 // (width + height + 40 * seed),
    ]
    return np.stack(planes, axis=2).astype(np.uint8)


def noise(width: int = 64, height: int = 48) -> np.ndarray:
    """What no format makes small."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    """The path, once the image is there."""
    image.save(path, **options)
    return path


def put(path: Path, data: bytes) -> Path:
    """The path, once the bytes are there."""
    path.write_bytes(data)
    return path


def refused(path: Path, match: str | None = None) -> str:
    """The message that a file is refused with: it names the file, in one line."""
    with pytest.raises(BadInputError, match=match) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(display(path))
    assert "\n" not in message
    return message


def encoded(suffix: str) -> bytes:
    """Noise in a format, without loss where it can be."""
    stream = io.BytesIO()
    form = {"jpg": "JPEG"}.get(suffix, suffix.upper())
    Image.fromarray(noise()).save(stream, form, **({"lossless": True} if suffix == "webp" else {}))
    return stream.getvalue()


# --- PNG -----------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """Signature and header. colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def packed(samples: Sequence[int], bits: int) -> bytes:
    """One row of samples, most significant bits first."""
    if bits == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    text = "".join(f"{sample:0{bits}b}" for sample in samples)
    return bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))


def png(samples: Sequence[int], bits: int = 8, colour: int = 2, between: bytes = b"") -> bytes:
    """A PNG of one row. between: chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = zlib.compress(b"\0" + packed(samples, bits))
    return png_header(len(samples) // channels, 1, bits, colour) + between + chunk(b"IDAT", data) + chunk(b"IEND")


@dataclass(frozen=True)
class Shown:
    """A picture of an animation: a rectangle (left, top, width, height) of one colour, RGBA in a PNG and a number of
    the palette in a GIF. delay: in hundredths of a second. disposal: 0 keep, 1 clear, 2 restore. transparent: of a GIF.
    """

    box: tuple[int, int, int, int]
    colour: tuple[int, int, int, int] | int
    delay: int = 10
    disposal: int = 0
    over: bool = True
    transparent: int | None = None


def apng(size: tuple[int, int], frames: Sequence[Shown], default: bytes | None = None, between: bytes = b"") -> bytes:
    """An animated PNG, RGBA. default: a still of the size for others than players, IDAT's data; else the first frame."""
    out = png_header(*size, colour=6) + between + chunk(b"acTL", struct.pack(">II", len(frames), 0))
    if default is not None:
        out += chunk(b"IDAT", default)
    number = 0
    for index, shown in enumerate(frames):
        left, top, width, height = shown.box
        timing = struct.pack(">HHBB", shown.delay, 100, shown.disposal, shown.over)
        out += chunk(b"fcTL", struct.pack(">IIIII", number, width, height, left, top) + timing)
        number += 1
        assert isinstance(shown.colour, tuple)
        data = zlib.compress((b"\0" + bytes(shown.colour) * width) * height)
        if index == 0 and default is None:
            out += chunk(b"IDAT", data)
        else:
            out += chunk(b"fdAT", struct.pack(">I", number) + data)
            number += 1
    return out + chunk(b"IEND")


# --- GIF -----------------------------------------------------------------------------------------------------------

PALETTE = (BLACK, RED, GREEN, BLUE)


def gif(screen: tuple[int, int], frames: Sequence[Shown], background: int = 0) -> bytes:
    """A GIF of four colours (PALETTE). background: the number of the colour that it names for what is not covered."""
    colours = bytes(level for colour in PALETTE for level in colour)
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF1, background, 0) + colours
    for shown in frames:
        left, top, width, height = shown.box
        clear, hidden = {0: 0, 1: 2, 2: 3}[shown.disposal], shown.transparent
        control = struct.pack("<BHB", clear << 2 | (hidden is not None), shown.delay, hidden or 0)
        assert isinstance(shown.colour, int)
        pixels = _lzw([shown.colour] * (width * height))
        out += b"\x21\xf9\x04" + control + b"\0\x2c" + struct.pack("<HHHHB", left, top, width, height, 0) + pixels
    return out + b";"


def _lzw(pixels: list[int]) -> bytes:
    """Codes of 3 bits for 2-bit pixels, cleared before they would grow."""
    bits = ""
    for i in range(0, len(pixels), 2):
        for code in (4, *pixels[i : i + 2]):
            bits = f"{code:03b}" + bits
    bits = f"{5:03b}" + bits
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


# --- TIFF ----------------------------------------------------------------------------------------------------------


def tiff(levels: np.ndarray, bits: int, photometric: int, big_endian: bool = False, deflate: bool = False) -> bytes:
    """A grey TIFF [H, W]. photometric: 0 white is zero, 1 black is zero."""
    order = ">" if big_endian else "<"
    whole = (
        levels.astype(f"{order}u2").tobytes() if bits == 16 else b"".join(packed(row, bits) for row in levels.tolist())
    )
    data = zlib.compress(whole) if deflate else whole
    height, width = levels.shape
    tags = [(256, width), (257, height), (258, bits), (259, 8 if deflate else 1), (262, photometric)]
    tags += [(273, 8 + 2 + 12 * 9 + 4), (277, 1), (278, height), (279, len(data))]
    # All values are short numbers, which stand first in their four bytes whatever the order.
    entries = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    start = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "IH", 8, len(tags))
    return start + entries + struct.pack(order + "I", 0) + data


# --- colour profiles -----------------------------------------------------------------------------------------------


def srgb_profile() -> bytes:
    """sRGB itself, as LittleCMS has it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB whose red and green primaries have changed places, still called sRGB."""
    data = bytearray(srgb_profile())
    places = _places(data)
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)


def linear_profile() -> bytes:
    """sRGB's primaries with levels that are proportional to light, still called sRGB."""
    data = bytearray(srgb_profile())
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        place = _places(data)[name]
        data[place + 4 : place + 12] = struct.pack(">II", len(data), 12)
    data += b"curv" + bytes(8)
    data[:4] = struct.pack(">I", len(data))
    return bytes(data)


def grey_profile(gamma: float) -> bytes:
    """A profile for one channel of grey whose light is the levels to the power of gamma."""
    white = b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"g\0" + bytes(78)
    bodies, start = [text, white, curve], 128 + 4 + 12 * 3
    table = struct.pack(">I", 3)
    for name, body in zip((b"desc", b"wtpt", b"kTRC"), bodies, strict=True):
        table += name + struct.pack(">II", start, len(body))
        start += len(body)
    header = bytearray(128)
    header[:4], header[8:12] = struct.pack(">I", start), b"\x02\x10\0\0"
    header[12:24], header[36:40] = b"mntrGRAYXYZ ", b"acsp"
    header[68:80] = white[8:]
    return bytes(header) + table + b"".join(bodies)


def _places(profile: bytearray) -> dict[bytes, int]:
    count = struct.unpack(">I", profile[128:132])[0]
    return {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
