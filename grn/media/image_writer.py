"""Still images -> files and streams.

A picture is encoded in memory, written in one piece and read again: Pillow writes JPEG, BMP and TIFF past Python's file
object and misses where a full disk takes only a part.
"""

import functools
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from grn.errors import EnvironmentFaultError, UsageError
from grn.files import atomic_path, display
from grn.media.exif import exif_note
from grn.media.picture import as_frame
from grn.media.suffixes import WRITE_IMAGE_SUFFIXES, suffix_of

Frame = npt.NDArray[np.uint8]

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "GIF": {},
}


def write_image(
    target: str | os.PathLike[str] | BinaryIO, picture: Frame | Image.Image, text: dict[str, str] | None = None
) -> None:
    """Write an image in the format that the suffix names; a stream gets PNG. WebP is lossless, JPEG has quality 95
    without subsampling.

    picture: uint8 [H, W, 3], or what `read_image` takes as a picture, transparency laid over white. text: entries for a
    PNG, UTF-8 iTXt except `parameters`, which is a plain tEXt where Latin-1 can hold it, since that is where other
    tools look. JPEG and WebP keep the entry "grn" (`read_note`), the other formats none. Raises UsageError on an unknown suffix or
    another array, EnvironmentFaultError where writing fails; then no file appears and an older one stays.
    """
    is_frame = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,)
    image = Image.fromarray(picture if is_frame else as_frame(picture, (255, 255, 255)), "RGB")
    if not isinstance(target, str | os.PathLike):
        _put(target, _encoded(image, "PNG", text, "-"))
        return
    path = Path(target)
    data = _encoded(image, format_of(path), text, display(path))
    with atomic_path(path, functools.partial(_compare, data)) as temporary:
        temporary.write_bytes(data)


def format_of(path: str | os.PathLike[str]) -> str:
    """Pillow's name of the image format that the suffix asks for; UsageError where it is none that grn writes."""
    suffix = suffix_of(Path(path))
    if suffix not in WRITE_IMAGE_SUFFIXES:
        raise UsageError(
            f"{display(Path(path))}: cannot write images as '{suffix}'; use one of {', '.join(WRITE_IMAGE_SUFFIXES)}"
        )
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())


def _compare(data: bytes, path: Path) -> None:
    """Raise OSError where the disk does not hold what was written."""
    if path.read_bytes() != data:
        raise OSError(None, "reads otherwise than it was written")


def _encoded(image: Image.Image, form: str, text: dict[str, str] | None, name: str) -> bytes:
    options: dict[str, Any] = {"pnginfo": _png_text(text or {})} if form == "PNG" else dict(_SAVE_OPTIONS[form])
    if text and "grn" in text and form in ("JPEG", "WEBP"):
        options["exif"] = exif_note(text["grn"])
    held = io.BytesIO()
    try:
        image.save(held, form, **options)
    except (ValueError, OSError) as error:  # a side longer than the format can say
        raise EnvironmentFaultError(f"{name}: cannot be written ({error}); choose PNG, which holds any size") from error
    return held.getvalue()


def _put(file: BinaryIO, data: bytes) -> None:
    """Write all of the data. Raises OSError where less is taken (streams without a buffer take what there is room for)."""
    rest = memoryview(data)
    while rest:
        taken = file.write(rest)
        if not taken:
            raise OSError(None, f"{len(rest):,} of {len(data):,} bytes were not taken")
        rest = rest[taken:]
    file.flush()


def _png_text(text: dict[str, str]) -> PngImagePlugin.PngInfo:
    entries = PngImagePlugin.PngInfo()
    for key, value in text.items():
        assert 1 <= len(key.encode("latin-1")) <= 79, f"PNG text keys have 1 to 79 Latin-1 characters, not {key!r}"
        if key == "parameters":
            entries.add_text(key, value)
        else:
            entries.add_itxt(key, value)
    return entries
