"""Sizes of pictures: areas by name, shapes by the ratio of their sides.

Sizes are (height, width) in pixels.
"""

import math
import re

from grn.errors import UsageError
from grn.networks.rope import nearest_aspect

AREAS = {"0.06M": 256, "0.25M": 512, "0.41M": 640, "0.92M": 960, "1M": 1024, "2M": 1440}
"""Names of areas -> the side, in pixels, of a square of that area."""
_SIDE = r"([0-9]{1,3}(?:\.[0-9]{1,3})?)"
_ASPECT = re.compile(f"{_SIDE}:{_SIDE}")


def side_of(area: str) -> int:
    """Return the side of the square of an area known by name. Raises UsageError, which lists the names."""
    if area not in AREAS:
        raise UsageError(f"area {area}: is none of {', '.join(AREAS)}; use one of them, or give the size in pixels")
    return AREAS[area]


def aspect_of(text: str) -> float:
    """Height over width of "16:9", which is width to height; a template's own number where it is one. Raises UsageError."""
    match = _ASPECT.fullmatch(text)
    if not match or not float(match[1]) or not float(match[2]):
        raise UsageError(f"aspect {text}: expected WIDTH:HEIGHT, such as 16:9")
    aspect = float(match[2]) / float(match[1])
    template = nearest_aspect(aspect)
    # The published templates are cut to three decimals, and some sizes come out a step larger or smaller for it.
    return template if abs(template - aspect) < 1e-3 else aspect


def size_of(side: int, aspect: float, step: int) -> tuple[int, int]:
    """Return the size nearest to that shape (height over width) with about side^2 pixels, in whole steps."""
    root = math.sqrt(aspect)
    return max(1, round(side * root / step)) * step, max(1, round(side / root / step)) * step
