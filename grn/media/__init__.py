"""Pixels <-> image and video files, streamed.

Axes
    frame   uint8 [H, W, 3], RGB, upright, opaque: what every reader yields and every writer takes
    frames  uint8 [T, H, W, 3]
    pixels  float32 [1, 3, T, H, W] in [-1, 1]: what networks take

Reading: PNG, JPEG, WebP, BMP, TIFF, GIF, animated GIF and WebP, MP4, MOV, WebM, MKV, AVI and MPEG-TS, told apart by
their first bytes and never by their names. Rotation (EXIF or video) is applied, transparency laid over a background,
colour profiles converted to sRGB. Writing: PNG, JPEG, WebP, BMP, TIFF, GIF; MP4, MOV, WebM, animated GIF and WebP.
Files appear whole or not at all.
"""

from grn.media.picture import fit, read_image, read_image_text, write_image
from grn.media.pixels import from_pixels, to_pixels
from grn.media.reader import Media, open_media
from grn.media.sniff import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from grn.media.writer import VideoWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Media",
    "VideoWriter",
    "fit",
    "from_pixels",
    "open_media",
    "read_image",
    "read_image_text",
    "to_pixels",
    "write_image",
]
