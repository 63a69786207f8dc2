"""An image file, opened: its structure is checked at once, its pictures are decoded when they are asked for.

Pillow decodes. What it gets wrong by our tests is done around it: the structure of PNG, GIF and WebP is walked, so that
a file that ends early is refused and never filled up with grey; GIFs and animated PNGs are laid over each other here;
deep samples and their transparency are read by what the file says of them.
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
from PIL import Image, UnidentifiedImageError

from grn.errors import BadInputError, EnvironmentFaultError
from grn.media.animation import Animation
from grn.media.canvas import compose
from grn.media.colour import AS_SRGB, HDR_TRANSFERS, Space, png_space, to_srgb
from grn.media.gif import read_gif
from grn.media.png import read_png
from grn.media.samples import AS_DECODED, Colour, Depth, lay_over, separate
from grn.media.source import Source
from grn.media.tiff import read_tiff
from grn.media.webp import read_webp

Frame = npt.NDArray[np.uint8]
Separated = tuple[Image.Image, Image.Image | None]  # colours in sRGB, and how opaque they are
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


@dataclass(frozen=True)
class ImageFile:
    """image: as Pillow opened it; None for a GIF, whose pictures are opened one by one. depth, space: of its samples.
    animation: the pictures of a GIF, and of an animated WebP or PNG; None for other files.
    """

    name: str
    file: BinaryIO
    image: Image.Image | None
    depth: Depth = AS_DECODED
    space: Space = AS_SRGB
    animation: Animation | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        if self.image is not None:
            return self.image.size
        return self.animation.size if self.animation else (0, 0)

    def still(self, background: Colour) -> Frame:
        """The picture that stands for the file, uint8 [H, W, 3]: a PNG's own, else the first. Raises BadInputError."""
        with decoding(self.name):
            if self.image is None:
                return self._frame(next(self._composed(range(1))), background)
            return self._frame(self._colours(self.image), background)

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
        flat = lay_over(*picture, background)
        return np.array(flat if self.image is None else upright(flat, self.image))

    def _colours(self, image: Image.Image) -> Separated:
        image.load()
        colours, alpha = separate(image, self.depth)
        return to_srgb(colours, image.info.get("icc_profile"), self.space), alpha

    def _sought(self, chosen: range) -> Iterator[Separated]:
        """Pictures that Pillow lays over each other."""
        assert self.image is not None, "Pillow opens what it lays over each other"
        for index in chosen:
            self.image.seek(index)
            yield self._colours(self.image)

    def _composed(self, chosen: range) -> Iterator[Separated]:
        """Pictures that are laid over each other here."""
        assert self.animation is not None, "only animations have layers"
        layers = self.animation.layers[: chosen[-1] + 1]
        for index, canvas in enumerate(compose(self.file, self.animation.size, layers, self._layer)):
            if index in chosen:
                yield canvas.convert("RGB"), canvas.getchannel("A")

    def _layer(self, data: bytes) -> Image.Image:
        """One picture in a file of its own -> RGBA."""
        depth = Depth(
            self.depth.bits, low_bytes=self.depth.low_bytes and functools.partial(_low_bytes, io.BytesIO(data))
        )
        with Image.open(io.BytesIO(data), formats=["PNG" if self.image else "GIF"]) as image:
            colours, alpha = ImageFile(self.name, self.file, image, depth, self.space)._colours(image)
        layer = colours.convert("RGBA")
        if alpha is not None:
            layer.putalpha(alpha)
        return layer


@contextlib.contextmanager
def open_image(source: Source) -> Iterator[ImageFile]:
    """Check the structure and the size that the header claims, before anything is decoded. Raises BadInputError."""
    if source.container.is_video:
        raise BadInputError(f"{source.name}: is a video (expected an image); take a frame from it first")
    with contextlib.ExitStack() as stack:
        with decoding(source.name):
            found = _opened(source, stack)
        if 0 in found.size:
            size = f"{found.size[0]}x{found.size[1]}"
            raise BadInputError(f"{source.name}: is {size}, a picture without pixels; give another file")
        if Image.MAX_IMAGE_PIXELS and found.size[0] * found.size[1] > Image.MAX_IMAGE_PIXELS:
            raise _too_large(source.name)
        yield found


def _opened(source: Source, stack: contextlib.ExitStack) -> ImageFile:
    form, file, name = source.container.decoder, source.file, source.name

    def pillow(file: BinaryIO) -> Image.Image:
        file.seek(0)
        return stack.enter_context(Image.open(file, formats=[form]))

    file.seek(0)
    if form == "GIF":
        return ImageFile(name, file, None, animation=read_gif(file))
    if form == "WEBP":
        animation = read_webp(file)
        return ImageFile(name, file, pillow(file), animation=animation)
    if form == "TIFF":
        tiff = read_tiff(file)
        if tiff.more_pages:
            logger.warning(f"{name}: has several pages; only the first one is read")
        return ImageFile(name, tiff.file, pillow(tiff.file), Depth(tiff.bits, tiff.inverted))
    if form == "PNG":
        png = read_png(file)
        if png.cicp and png.cicp[1] in HDR_TRANSFERS:
            kind = HDR_TRANSFERS[png.cicp[1]]
            logger.warning(
                f"{name}: is an HDR picture ({kind}) and read without tone mapping; its colours will look dull"
            )
        image = pillow(file)
        low_bytes = functools.partial(_low_bytes, file) if png.bits == 16 and png.colour == 2 else None
        return ImageFile(
            name, file, image, Depth(png.bits, low_bytes=low_bytes), png_space(image, png.cicp), png.animation
        )
    return ImageFile(name, file, pillow(file))


def upright(image: Image.Image, tagged: Image.Image) -> Image.Image:
    """The image turned as the EXIF data of another one says, which may be itself."""
    try:
        turn = _UPRIGHT.get(int(tagged.getexif().get(_ORIENTATION, 1)))
    except Exception:  # a broken EXIF block says nothing about the pixels, so the picture stays as it is stored
        return image
    return image if turn is None else image.transpose(turn)


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


def _low_bytes(file: BinaryIO) -> Image.Image:
    """The lower halves of the samples of a 16-bit PNG, decoded as if they stood first."""
    file.seek(0)
    image = Image.open(file, formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image
