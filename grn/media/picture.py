"""Pictures of any kind -> upright opaque RGB.

Rules: transparency is laid over `background`; EXIF orientation is applied; colours become sRGB (`colour`); 16-bit grey
is divided by 257; of a multi-page TIFF the first picture counts, of an animation the one that stands for it; more
pixels than Pillow's decompression bomb limit are refused before anything is allocated.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, PngImagePlugin

from grn.errors import UsageError
from grn.media.colour import AS_SRGB, to_srgb
from grn.media.image_file import decoding, open_image, upright
from grn.media.samples import AS_DECODED, Colour, lay_over, separate
from grn.media.source import FileInput, open_source

Frame = npt.NDArray[np.uint8]
ImageInput = FileInput | Frame | Image.Image


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
    with open_source(source) as opened, open_image(opened) as found:
        if not isinstance(found.image, PngImagePlugin.PngImageFile):
            found.still((0, 0, 0))
            return {}
        with decoding(found.name):
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
        picture.load()
        colours, alpha = separate(picture, AS_DECODED)
        rgb = to_srgb(colours, picture.info.get("icc_profile"), AS_SRGB)
        return np.array(upright(lay_over(rgb, alpha, background), picture))


def parse_colour(colour: str) -> Colour:
    """RGB of a colour name, #rgb, #rrggbb or rgb(...); UsageError on anything else."""
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UsageError(
            f"background: '{colour}' is not a colour; use a name like white or a value like #ff8800"
        ) from error
