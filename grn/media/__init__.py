"""Pixels <-> image and video files, streamed.

Axes
    frame   uint8 [H, W, 3], RGB, upright, opaque: what every reader yields and every writer takes
    frames  uint8 [T, H, W, 3]
    pixels  float32 [1, 3, T, H, W] in [-1, 1]: what networks take

Reading: PNG, JPEG, WebP, BMP, TIFF, GIF, animated GIF, WebP and PNG, MP4, MOV, WebM, MKV, AVI, MPEG-TS and MPEG-PS,
told apart by their first bytes and never by their names. Rotation (EXIF or video) is applied, transparency laid over a
background, colours are converted to sRGB, pixels made square. Writing: PNG, JPEG, WebP, BMP, TIFF, GIF; MP4, MOV, WebM,
animated GIF and WebP. Files appear whole or not at all.
"""

from grn.media.image_writer import format_of, write_image
from grn.media.note import read_note
from grn.media.picture import read_image, read_image_text
from grn.media.pixels import from_batch, from_pixels, to_batch, to_levels, to_pixels, to_unit
from grn.media.reader import FrameStream, Media, MediaInput, open_media, opened
from grn.media.resize import centre_crop, cover, fit, resize_short_side, square
from grn.media.sheet import contact_sheet
from grn.media.suffixes import (
    READ_CLIP_SUFFIXES,
    READ_IMAGE_SUFFIXES,
    READ_SUFFIXES,
    WRITE_CLIP_SUFFIXES,
    WRITE_IMAGE_SUFFIXES,
    suffix_of,
)
from grn.media.video_writer import VideoWriter, clip_suffix_of

READER_VERSION = 3
"""Counts up whenever files are read to other pixels than before: what is kept of read files has it in its key."""

__all__ = [
    "READER_VERSION",
    "READ_CLIP_SUFFIXES",
    "READ_IMAGE_SUFFIXES",
    "READ_SUFFIXES",
    "WRITE_CLIP_SUFFIXES",
    "WRITE_IMAGE_SUFFIXES",
    "FrameStream",
    "Media",
    "MediaInput",
    "VideoWriter",
    "centre_crop",
    "clip_suffix_of",
    "contact_sheet",
    "cover",
    "fit",
    "format_of",
    "from_batch",
    "from_pixels",
    "open_media",
    "opened",
    "read_image",
    "read_image_text",
    "read_note",
    "resize_short_side",
    "square",
    "suffix_of",
    "to_batch",
    "to_levels",
    "to_pixels",
    "to_unit",
    "write_image",
]
