"""Rotary positions of both families: angles for each token, and the rotation itself.

Axes: N tokens, d channels of a head; angles are [N, d/2], one for each neighbouring pair of channels.
"""

import math

import torch
from torch import Tensor

BASE = 10000.0
RATIO_TIME = 512  # where on the time axis the token with the selection ratio stands
FRAME_TIME = 600  # and the first frame; text tokens count up from 0
AREA = 225 * 75  # rows times columns of the virtual grid that every picture is stretched over


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of neighbouring channels of x [..., N, d] by its angle, (cos, sin) of [N, d/2], in float32."""
    cos, sin = angles
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


def cos_sin(angles: Tensor) -> tuple[Tensor, Tensor]:
    return angles.cos(), angles.sin()


def frequencies(count: int) -> Tensor:
    """Frequency n of N: base^(-n/N)."""
    return BASE ** (-torch.arange(count, dtype=torch.float32) / count)


def axis_angles(time: Tensor, rows: Tensor, columns: Tensor, head_width: int) -> Tensor:
    """Angles [N, d/2] of tokens at (time, row, column).

    floor(d/6) frequencies are for time, as many for rows, the rest for columns.
    """
    third = head_width // 6
    parts = ((time, third), (rows, third), (columns, head_width // 2 - 2 * third))
    return torch.cat([position.float()[:, None] * frequencies(count) for position, count in parts if count], 1)


def text_angles(length: int, head_width: int) -> Tensor:
    """Text token j stands at time j."""
    zeros = torch.zeros(length)
    return axis_angles(torch.arange(length), zeros, zeros, head_width)


def ratio_angles(head_width: int) -> Tensor:
    zero = torch.zeros(1)
    return axis_angles(torch.tensor([RATIO_TIME]), zero, zero, head_width)


def visual_angles(shape: tuple[int, int, int], aspect: float, head_width: int, patch: int = 1) -> Tensor:
    """Angles of a token map [t, h, w] in frame, row, column order; with `patch` > 1, of the centres of its patches.

    aspect: height / width of the picture. Rows and columns are spread over a virtual grid of its shape, so pictures of
    any size share their positions.
    """
    frames, height, width = shape
    aspect = nearest_aspect(aspect)
    columns_all, rows_all = math.floor(math.sqrt(AREA / aspect)), math.floor(aspect * math.sqrt(AREA / aspect))
    centre = (patch - 1) / 2
    rows = torch.round((torch.arange(height // patch) * patch + centre).double() * rows_all / height)
    columns = torch.round((torch.arange(width // patch) * patch + centre).double() * columns_all / width)
    time = FRAME_TIME + torch.arange(frames)
    times, rows, columns = (axis.flatten() for axis in torch.meshgrid(time.double(), rows, columns, indexing="ij"))
    return axis_angles(times, rows, columns, head_width)


def nearest_aspect(aspect: float) -> float:
    """The height / width template nearest to `aspect`."""
    return min(ASPECTS, key=lambda template: abs(template - aspect))


def _cut(value: float) -> float:
    return math.floor(value * 1000) / 1000


_TALL = (3.0, 2.5, 2.0, 16 / 9, 1.5, 4 / 3, 1.16, 1.0)
ASPECTS = tuple(sorted({_cut(a) for a in _TALL} | {_cut(1 / a) for a in _TALL}))


def grid_angles(side: int, head_width: int) -> Tensor:
    """Angles [side^2, d/2] of the class-to-image network: half of the pairs for rows, then half for columns."""
    count = head_width // 4
    line = torch.arange(side, dtype=torch.float32)[:, None] * frequencies(count)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
