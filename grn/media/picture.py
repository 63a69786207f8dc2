"""Image files -> upright opaque RGB.

Rules: transparency is laid over `background`; EXIF orientation is applied; colours become sRGB (`colour`); 16-bit grey
is divided by 257; of a multi-page TIFF or an animation the first picture counts; more pixels than Pillow's
decompression bomb limit are refused before anything is allocated. A file that ends early is refused, never filled up
with grey.
"""

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, PngImagePlugin, UnidentifiedImageError

from grn.errors import BadInputError, EnvironmentFaultError, UsageError
from grn.media.animation import Animation
from grn.media.canvas import compose
from grn.media.colour import HDR_TRANSFERS, Space, png_space, to_srgb
from grn.media.gif import read_gif
from grn.media.png import Png, read_png
from grn.media.samples import Colour, Depth, lay_over, separate
from grn.media.source import FileInput, Source, open_source
from grn.media.tiff import read_tiff
from grn.media.webp import read_webp

Frame = npt.NDArray[np.uint8]
ImageInput = FileInput | Frame | Image.Image
Separated = tuple[Image.Image, Image.Image | None]  # colours in sRGB and opacity
logger = logging.getLogger("grn.media")

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


def read_image(source: ImageInput, background: str = "white") -> Frame:
    """Read an image as uint8 [H, W, 3]: upright, RGB, transparency laid over `background` (a colour name or #rrggbb).

    source: a path, a binary stream, a PIL image, or an array uint8 [H, W], [H, W, 3] or [H, W, 4]. Raises BadInputError
    where a file is no complete image, UsageError on an unknown colour or another array.
    """
    colour = parse_colour(background)
    if isinstance(source, np.ndarray | Image.Image):
        return as_frame(source, colour)
    with open_source(source) as opened, open_image(opened) as found:
        return found.still(colour)


def read_image_text(source: FileInput) -> dict[str, str]:
    """The text entries of a PNG (tEXt, zTXt, iTXt) by key; empty for other images. Raises BadInputError as `read_image`
    does.
    """
    with open_source(source) as opened, open_image(opened) as found, decoding(found.name):
        if not isinstance(found.image, PngImagePlugin.PngImageFile):
            found.still((0, 0, 0))
            return {}
        found.image.load()  # text may stand after the pixels
        return {str(key): str(value) for key, value in found.image.text.items()}


def as_frame(picture: Frame | Image.Image, background: Colour) -> Frame:
    """A PIL image or an array uint8 [H, W], [H, W, 3] or [H, W, 4] as uint8 [H, W, 3], a copy. UsageError on others."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))):
            raise UsageError(
                f"picture: is {picture.dtype} {list(picture.shape)} (expected uint8 [H, W], [H, W, 3] or [H, W, 4])"
            )
        picture = Image.fromarray(picture)
    with decoding("picture"):
        turn = _UPRIGHT.get(_orientation(picture))
        return np.array(_upright(lay_over(*_flat(picture, Depth(), Space(), None), background), turn))


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
    """An image file not decoded yet. image: None for a GIF, whose pictures are decoded one by one. animation: the
    pictures of a GIF, and of an animated WebP or PNG.
    """

    name: str
    file: BinaryIO
    image: Image.Image | None
    depth: Depth
    space: Space
    animation: Animation | None

    def still(self, background: Colour) -> Frame:
        """The picture that stands for the file, uint8 [H, W, 3]. Raises BadInputError."""
        with decoding(self.name):
            if self.image is None:
                return self._frame(next(self._composed(range(1))), background)
            return self._frame(self._decoded(self.image), background)

    def frames(self, background: Colour, chosen: range) -> Iterator[Frame]:
        """Yield the pictures of an animation with these numbers, uint8 [H, W, 3], a new array each. Raises
        BadInputError.
        """
        assert self.animation is not None, "only animations have frames"
        pictures = self._composed(chosen) if self.animation.layers else self._sought(chosen)
        while True:
            with decoding(self.name):
                found = next(pictures, None)
                frame = None if found is None else self._frame(found, background)
            if frame is None:
                return
            yield frame

    def _frame(self, picture: Separated, background: Colour) -> Frame:
        turn = _UPRIGHT.get(_orientation(self.image)) if self.image is not None else None
        return np.array(_upright(lay_over(*picture, background), turn))

    def _composed(self, chosen: range) -> Iterator[Separated]:
        assert self.animation is not None, "only animations have layers"
        layers = self.animation.layers[: chosen[-1] + 1]
        for index, canvas in enumerate(compose(self.file, self.animation.size, layers, self._layer)):
            if index in chosen:
                yield canvas.convert("RGB"), canvas.getchannel("A")

    def _sought(self, chosen: range) -> Iterator[Separated]:
        assert self.image is not None, "what Pillow composes it has opened"
        for index in chosen:
            self.image.seek(index)
            yield self._decoded(self.image)

    def _decoded(self, image: Image.Image) -> Separated:
        return _flat(image, self.depth, self.space, image.info.get("icc_profile"))

    def _layer(self, data: bytes) -> Image.Image:
        still = io.BytesIO(data)
        with Image.open(still, formats=["GIF" if self.image is None else "PNG"]) as image:
            low_bytes = functools.partial(_low_bytes, still) if self.depth.low_bytes else None
            colours, alpha = _flat(
                image, Depth(self.depth.bits, low_bytes=low_bytes), self.space, image.info.get("icc_profile")
            )
        layer = colours.convert("RGBA")
        if alpha is not None:
            layer.putalpha(alpha)
        return layer


@contextlib.contextmanager
def open_image(source: Source) -> Iterator[OpenImage]:
    """Check the structure and the size that the header claims, before anything is decoded."""
    name, form, file = source.name, source.container.decoder, source.file
    if source.container.is_video:
        raise BadInputError(f"{name}: is a video (expected an image); take a frame from it first")
    with contextlib.ExitStack() as stack:
        depth, space, animation, image = Depth(), Space(), None, None
        with decoding(name):
            file.seek(0)
            if form == "GIF":
                animation = read_gif(file)
            elif form == "TIFF":
                tiff = read_tiff(file)
                depth, file = Depth(tiff.bits, tiff.inverted), tiff.file
                if tiff.more_pages:
                    logger.warning(f"{name}: has several pages; only the first one is read")
            elif form == "WEBP":
                animation = read_webp(file)
            png = read_png(file) if form == "PNG" else None
            file.seek(0)
            if form != "GIF":
                image = stack.enter_context(Image.open(file, formats=[form]))
            if png is not None and image is not None:
                depth, space, animation = _png_facts(png, image, file, name)
        size = (
            animation.size if image is None and animation is not None else image.size if image is not None else (0, 0)
        )
        if 0 in size:
            raise BadInputError(f"{name}: is {size[0]}x{size[1]}, a picture without pixels; give another file")
        if Image.MAX_IMAGE_PIXELS and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
            raise _too_large(name)
        yield OpenImage(name, file, image, depth, space, animation)


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one BadInputError."""
    _hear_pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except NotImplementedError as error:
            raise BadInputError(f"{name}: {error}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _too_large(name) from error
        except UnidentifiedImageError as error:
            raise BadInputError(
                f"{name}: is damaged or cut off, or of a kind of its format that is not read; save it anew"
            ) from error
        except MemoryError as error:
            raise EnvironmentFaultError(f"{name}: does not fit into memory; make the picture smaller first") from error
        except Exception as error:  # decoders raise a dozen kinds, from SyntaxError to struct.error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadInputError(f"{name}: is damaged or cut off ({reason}); get a complete copy") from error


@functools.cache
def _hear_pillow() -> None:
    """What Pillow logs of damage, beside raising an error, is printed only where someone has asked for logs."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _too_large(name: str) -> BadInputError:
    limit = Image.MAX_IMAGE_PIXELS or 0
    return BadInputError(f"{name}: is too large (at most {limit:,} pixels are read); make it smaller first")


def _png_facts(png: Png, image: Image.Image, file: BinaryIO, name: str) -> tuple[Depth, Space, Animation | None]:
    if png.cicp and png.cicp[1] in HDR_TRANSFERS:
        kind = HDR_TRANSFERS[png.cicp[1]]
        logger.warning(f"{name}: is an HDR picture ({kind}) and is read without tone mapping; its colours will be dull")
    low_bytes = functools.partial(_low_bytes, file) if png.bits == 16 and png.colour == 2 else None
    return Depth(png.bits, low_bytes=low_bytes), png_space(image, png.cicp), png.animation


def _low_bytes(file: BinaryIO) -> Image.Image:
    """The lower halves of the samples of a 16-bit PNG, decoded as if they stood first."""
    file.seek(0)
    image = Image.open(file, formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image


def _flat(image: Image.Image, depth: Depth, space: Space, profile: bytes | None) -> Separated:
    """Decode: colours in sRGB, and opacity."""
    image.load()
    colours, alpha = separate(image, depth)
    return to_srgb(colours, profile, space), alpha


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels, so the picture stays as it is stored
        return 1
