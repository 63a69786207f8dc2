"""Still images: any mode that Pillow decodes -> upright opaque RGB, and back to a file.

Rules: transparency is laid over `background`; EXIF orientation is applied; an embedded colour profile is converted to
sRGB (a broken one is ignored); 16-bit grey is divided by 257; of a multi-page TIFF or an animation the first picture
counts; more pixels than Pillow's decompression bomb limit are refused before anything is allocated. A file that ends
early is refused, never filled up with grey.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageColor, PngImagePlugin

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.files import atomic_path, display
from grn.media.animation import Timeline, walk
from grn.media.sniff import IMAGE_SUFFIXES, Source, open_source
from grn.media.structure import check_png

Frame = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "GIF": {},
}


def read_image(source: Path | BinaryIO, background: str = "white") -> Frame:
    """Read an image file as uint8 [H, W, 3]: upright, RGB, transparency laid over `background` (any colour name or
    #rrggbb).

    Raises BadInputError where the file is no complete image, UsageError on an unknown colour.
    """
    colour = parse_colour(background)
    with open_source(source) as opened, open_image(opened) as found, decoding(found.name):
        return np.array(to_rgb(found.image, colour))


def read_image_text(path: Path) -> dict[str, str]:
    """The text entries of a PNG (tEXt, zTXt, iTXt) by key; empty for other images. Raises BadInputError as `read_image`
    does.
    """
    with open_source(path) as opened, open_image(opened) as found, decoding(found.name):
        found.image.load()  # text may stand after the pixels
        entries = found.image.text if isinstance(found.image, PngImagePlugin.PngImageFile) else {}
        return {str(key): str(value) for key, value in entries.items()}


def write_image(path: Path | BinaryIO, frame: Frame, text: dict[str, str] | None = None) -> None:
    """Write uint8 [H, W, 3] in the format that the suffix names (a stream gets PNG). WebP is lossless, JPEG has quality
    95 without subsampling.

    text: entries for a PNG, UTF-8 iTXt except `parameters`, which is a plain tEXt where Latin-1 can hold it, since that
    is where other tools look. The other formats have no place for them and drop them. Raises UsageError on an unknown
    suffix, EnvironmentFaultError where writing fails.
    """
    assert frame.dtype == np.uint8, f"a frame is uint8, not {frame.dtype}"
    assert frame.ndim == 3, f"a frame is [H, W, 3], not {frame.shape}"
    image = Image.fromarray(frame, "RGB")
    options = {"pnginfo": _png_text(text or {})}
    if not isinstance(path, Path):
        image.save(path, "PNG", **options)
        return
    form = format_of(path)
    if form != "PNG":
        options = _SAVE_OPTIONS[form]
    with atomic_path(path) as temporary:
        try:
            image.save(temporary, form, **options)
        except ValueError as error:
            raise EnvironmentFaultError(
                f"{display(path)}: cannot be written ({error}); choose PNG, which holds any size"
            ) from error


def format_of(path: Path) -> str:
    """Pillow's name of the image format that the suffix asks for; UsageError where it is none that grn writes."""
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise UsageError(f"{display(path)}: cannot write images as '{suffix}'; use one of {', '.join(IMAGE_SUFFIXES)}")
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())


def fit(frame: Frame, size: tuple[int, int] | None) -> Frame:
    """Scale so that the frame just covers size = (width, height), then crop the centre; proportions stay. None leaves
    the frame as it is.
    """
    if size is None or (frame.shape[1], frame.shape[0]) == size:
        return frame
    height, width = frame.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    # Cropping before scaling is the same picture for less work, and keeps the borders' fractions of a pixel.
    crop_w, crop_h = min(size[0] / scale, width), min(size[1] / scale, height)
    left, top = (width - crop_w) / 2, (height - crop_h) / 2
    box = (left, top, left + crop_w, top + crop_h)
    return np.array(Image.fromarray(frame, "RGB").resize(size, Image.Resampling.LANCZOS, box=box))


def parse_colour(colour: str) -> Colour:
    """RGB of a colour name, #rgb, #rrggbb or rgb(...); UsageError on anything else."""
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UsageError(
            f"background: '{colour}' is not a colour; use a name like white or a value like #ff8800"
        ) from error


@dataclass(frozen=True)
class OpenImage:
    """An image not decoded yet; `timeline` says when the pictures of an animated GIF or WebP appear."""

    image: Image.Image
    name: str
    timeline: Timeline | None


@contextlib.contextmanager
def open_image(source: Source) -> Iterator[OpenImage]:
    """Check the structure and the size that the header claims, before anything is decoded."""
    name, form = source.name, source.container.decoder
    if source.container.is_video:
        raise BadInputError(f"{name}: is a video (expected an image); take a frame from it first")
    with decoding(name):
        if form == "PNG":
            check_png(source.file)
        source.file.seek(0)
        timeline = walk(source.file, form)
        source.file.seek(0)
        image = Image.open(source.file, formats=[form])
    with image:
        if 0 in image.size:
            raise BadInputError(f"{name}: is {image.width}x{image.height}, a picture without pixels; give another file")
        yield OpenImage(image, name, timeline)


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one BadInputError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except NotImplementedError as error:
            raise BadInputError(f"{name}: {error}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = Image.MAX_IMAGE_PIXELS or 0
            raise BadInputError(
                f"{name}: is too large (at most {limit:,} pixels are read); make it smaller first"
            ) from error
        except MemoryError as error:
            raise EnvironmentFaultError(f"{name}: does not fit into memory; make the picture smaller first") from error
        except Exception as error:  # decoders raise a dozen kinds, from SyntaxError to struct.error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInputError(f"{name}: is damaged or cut off ({reason}); get a complete copy") from error


def to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """Decode, flatten and turn upright: mode RGB, the size as it is meant to be seen."""
    image.load()
    profile = image.info.get("icc_profile")
    alpha: Image.Image | None = None
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        image, alpha = _from_deep_grey(image)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image, alpha = Image.merge("RGB", rgba.split()[:3]), rgba.getchannel("A")
    rgb = _to_srgb(image, profile)
    if alpha is not None:
        canvas = Image.new("RGB", rgb.size, background)
        canvas.paste(rgb, mask=alpha)
        rgb = canvas
    return rgb if turn is None else rgb.transpose(turn)


def lay_over(frame: Frame, background: Colour) -> Frame:
    """RGBA [H, W, 4] over a plain background: RGB [H, W, 3]."""
    image = Image.fromarray(frame, "RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image)
    return np.array(canvas)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels, so the picture stays as it is stored
        return 1


def _from_deep_grey(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """16-bit grey -> 8 bits, with its transparent level as a mask. 32-bit and float samples have no agreed white and
    are refused.
    """
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")):
        raise NotImplementedError(
            f"{image.format} with {image.mode} samples has no defined white; save it with 8 or 16 bits"
        )
    levels = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((levels + 128) // 257).astype(np.uint8), "L")
    hidden = image.info.get("transparency")
    alpha = None if hidden is None else Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8), "L")
    return grey, alpha


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                assert converted is not None
                return converted
    return image.convert("RGB")


def _png_text(text: dict[str, str]) -> PngImagePlugin.PngInfo:
    entries = PngImagePlugin.PngInfo()
    for key, value in text.items():
        assert 1 <= len(key.encode("latin-1")) <= 79, f"PNG text keys have 1 to 79 Latin-1 characters, not {key!r}"
        if key == "parameters":
            entries.add_text(key, value)
        else:
            entries.add_itxt(key, value)
    return entries
