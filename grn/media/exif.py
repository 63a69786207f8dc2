"""EXIF data that hold one text, as JPEG and WebP take them."""

from PIL import Image

DESCRIPTION = 0x010E  # the tag of the image description


def exif_note(note: str) -> bytes:
    """EXIF data with nothing but an image description."""
    exif = Image.Exif()
    exif[DESCRIPTION] = note
    return exif.tobytes()
