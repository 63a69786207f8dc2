"""Samples of any mode and depth -> colours, and apart from them how opaque each pixel is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Colour = tuple[int, int, int]
# Deeper grey, or with fractions: no white is agreed on.
_DEEP = ("I", "F")


@dataclass(frozen=True)
class Depth:
    """bits: of a sample as stored. inverted: white is zero. low_bytes: gives mode RGB with the lower halves of 16-bit
    samples, whose upper halves are what Pillow decodes; None for others.
    """

    bits: int = 8
    inverted: bool = False
    low_bytes: Callable[[], Image.Image] | None = None


AS_DECODED = Depth()


def separate(image: Image.Image, depth: Depth) -> tuple[Image.Image, Image.Image | None]:
    """A decoded image as mode L, I;16 (white is 65,535), RGB or CMYK, and its opacity as mode L; None where all is
    opaque.

    Raises NotImplementedError for samples that have no agreed white.
    """
    hidden = image.info.get("transparency")
    if image.mode.startswith(_DEEP):
        return _from_deep_grey(image, depth, hidden)
    if image.mode in ("LA", "La"):
        grey, alpha = image.convert("LA").split()
        return grey, alpha
    if image.mode in ("1", "L") and isinstance(hidden, int):
        # A level is given in samples as they are stored; decoded ones fill the byte.
        grey, top = image.convert("L"), (1 << (1 if image.mode == "1" else min(depth.bits, 8))) - 1
        return grey, _opaque(np.asarray(grey) != min(hidden, top) * 255 // top)
    if image.mode == "RGB" and depth.low_bytes and isinstance(hidden, tuple):
        samples = np.asarray(image).astype(np.uint16) << 8 | np.asarray(depth.low_bytes())
        return image, _opaque((samples != np.array(hidden)).any(2))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def lay_over(colours: Image.Image, alpha: Image.Image | None, background: Colour) -> Image.Image:
    """Lay a picture over a plain background; returns mode RGB."""
    if alpha is None:
        return colours
    canvas = Image.new("RGB", colours.size, background)
    canvas.paste(colours, mask=alpha)
    return canvas


def _from_deep_grey(image: Image.Image, depth: Depth, hidden: object) -> tuple[Image.Image, Image.Image | None]:
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")):
        raise NotImplementedError(
            f"{image.format} with {image.mode} samples has no defined white; save it with 8 or 16 bits"
        )
    levels, top = np.asarray(image).astype(np.uint32), (1 << (depth.bits if depth.bits > 8 else 16)) - 1
    grey = ((levels.clip(0, top) * 65_535 + top // 2) // top).astype(np.uint16)
    shown = Image.fromarray(65_535 - grey if depth.inverted else grey)
    return shown, None if hidden is None else _opaque(levels != hidden)


def _opaque(where: npt.NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * 255, "L")
