"""Colours of any kind -> sRGB: embedded ICC profiles, or the gamma, primaries and code points that a PNG names.

A profile is judged by what it does: one that changes no colour by more than a rounding is left aside, whatever it is
called, so that pictures in sRGB keep their very levels.
"""

import functools
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_SRGB_GAMMA = 0.45455
_CLOSE = 0.005  # gammas this near are the same
_SAME_LEVELS = 3  # a profile that moves no level further than this is sRGB, as rounded by whoever wrote it
# x and y of white, red, green and blue, as a PNG's cHRM holds them.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_PRIMARIES = {
    1: _SRGB,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # DCI-P3
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
_GREYS = np.arange(256, dtype=np.uint8)
_BAND_PIXELS = 1 << 20
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_GAMMAS = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}  # by the number of a transfer; the others are as sRGB or near it
# How eyes that are used to one white see another (Bradford).
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Space:
    """What levels mean where there is no profile. gamma: the power that light was raised to, None as sRGB has it.
    primaries: x and y of white, red, green and blue.
    """

    gamma: float | None = None
    primaries: tuple[float, ...] = _SRGB

    @property
    def is_srgb(self) -> bool:
        return self.gamma is None and np.allclose(self.primaries, _SRGB, atol=2e-3)


AS_SRGB = Space()


def png_space(image: Image.Image, cicp: tuple[int, ...] | None) -> Space:
    """What a PNG says of its colours: its code points before sRGB before gamma and primaries."""
    if cicp is not None:
        return Space(_GAMMAS.get(cicp[1]), _PRIMARIES.get(cicp[0], _SRGB))
    if "srgb" in image.info:
        return AS_SRGB
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity", _SRGB)
    if not gamma or not 0.01 < gamma < 10 or abs(gamma - _SRGB_GAMMA) < _CLOSE:
        gamma = None
    if not all(0 < number < 1 for number in primaries) or abs(np.linalg.det(_chromaticities(primaries)[:, 1:])) < 0.01:
        primaries = _SRGB  # no colours, or all on one line
    return Space(gamma, tuple(primaries))


def to_srgb(image: Image.Image, profile: bytes | None, space: Space) -> Image.Image:
    """Mode RGB in sRGB, from L, I;16, RGB or CMYK. A profile that is broken or made for other channels says nothing."""
    if image.mode in ("L", "I;16"):
        return _by_curve(image, _curve(profile, space))
    if profile:
        found = _transform(profile, image.mode)
        return image.convert("RGB") if found is None or found.same else found.icc.apply(image)
    rgb = image.convert("RGB")
    return rgb if space.is_srgb else _from_space(rgb, space)


def _curve(profile: bytes | None, space: Space) -> npt.NDArray[np.uint8]:
    """What the 256 greys become, [256, 3]."""
    greys = _probe("L")
    found = _transform(profile, "L") if profile else None
    if found is not None:
        return np.asarray(greys.convert("RGB") if found.same else found.icc.apply(greys))[0]
    # Some programs put profiles for RGB into grey files.
    return np.asarray(to_srgb(greys.convert("RGB"), profile, space))[0]


def _by_curve(grey: Image.Image, curve: npt.NDArray[np.uint8]) -> Image.Image:
    if grey.mode == "L":
        return Image.merge("RGB", [grey.point(channel.tolist()) for channel in curve.T])
    # Between two of the 256 in proportion: dark levels of linear light need all 16 bits.
    levels = np.asarray(grey) / 257
    channels = [np.interp(levels, _GREYS, channel).round().astype(np.uint8) for channel in curve.T]
    return Image.fromarray(np.stack(channels, 2), "RGB")


@dataclass(frozen=True)
class _Transform:
    """same: it changes nothing."""

    icc: ImageCms.ImageCmsTransform
    same: bool


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> _Transform | None:
    """What turns pictures of a mode to sRGB; None where the profile is of no use."""
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        # Shortened to a table of a few entries, dark greys of linear light would be wrong by ten levels.
        exact = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=exact)
        probe = _probe(mode)
        moved = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return _Transform(transform, mode != "CMYK" and int(np.abs(moved).max()) <= _SAME_LEVELS)


def _probe(mode: str) -> Image.Image:
    """All greys, and colours from all over the cube."""
    if mode == "L":
        return Image.fromarray(_GREYS[None], "L")
    steps = np.linspace(0, 255, 17).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    greys = _GREYS[None, :, None].repeat(3, 2)
    return Image.fromarray(np.concatenate([cube, greys], 1), "RGB").convert(mode)


def _from_space(rgb: Image.Image, space: Space) -> Image.Image:
    levels = _GREYS / 255
    light = levels ** (1 / space.gamma) if space.gamma else _srgb_light(levels)
    if np.allclose(space.primaries, _SRGB, atol=2e-3):
        curve = _srgb_levels(light)
        return rgb.point([int(level) for level in curve] * 3)
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _adapted(space.primaries) @ _to_xyz(space.primaries)
    # Numbers take eight times the memory of levels, so they are made for a part of the rows at a time.
    bands = np.array_split(np.asarray(rgb), -(-rgb.height * rgb.width // _BAND_PIXELS))
    return Image.fromarray(np.concatenate([_srgb_levels(light[band] @ matrix.T) for band in bands]), "RGB")


def _srgb_light(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _srgb_levels(light: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    light = light.clip(0, 1)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (levels * 255).round().astype(np.uint8)


def _chromaticities(primaries: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """XYZ of white, red, green and blue at Y = 1, a column each."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    return np.stack([x / y, np.ones(4), (1 - x - y) / y])


def _to_xyz(primaries: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """The matrix from linear RGB: the primaries, so weighted that they add up to white."""
    columns = _chromaticities(primaries)
    return columns[:, 1:] * np.linalg.solve(columns[:, 1:], columns[:, 0])


def _adapted(primaries: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """The matrix from XYZ under the white of these primaries to XYZ under sRGB's."""
    ours, theirs = (_CONES @ _to_xyz(p).sum(1) for p in (_SRGB, primaries))
    return np.linalg.inv(_CONES) @ np.diag(ours / theirs) @ _CONES
