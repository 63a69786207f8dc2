"""Rotary positions of both families: angles for each token, and the rotation itself.

Axes: N tokens, d channels of a head; angles are [N, d/2], one for each neighbouring pair of channels.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

BASE = 10000.0
RATIO_TIME = 512  # where on the time axis the token with the selection ratio stands
FRAME_TIME = 600  # and the first frame; text tokens count up from 0
AREA = 225 * 75  # rows times columns of the virtual grid that every picture is stretched over

_KEPT = 64  # shapes whose turns are kept, each at most a few MB
_Key = ParamSpec("_Key")


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels of x [..., N, d] by its angle, in float32 or wider.

    turns: (cos, sin) of [N, d/2] angles, float32 [N, d/2, 2]. The product of complex numbers that this is runs as one
    operation; a compiler is given its real parts, which it joins with what stands before and behind.
    """
    pairs = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (even, odd), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.view_as_complex(turns))
    return turned.flatten(-2).to(x.dtype)


def turns_of(angles: Tensor) -> Tensor:
    """Angles [N, d/2] -> (cos, sin), [N, d/2, 2]."""
    return torch.stack([angles.cos(), angles.sin()], -1)


def kept(make: Callable[_Key, Tensor]) -> Callable[_Key, Tensor]:
    """Keep the results of a function of a shape and a device; nobody may write to them.

    A compiler sees the arithmetic instead, which holds for any shape, where a kept tensor would hold for one.
    """

    once: Any = functools.lru_cache(maxsize=_KEPT)(make)

    @functools.wraps(make)
    def found(*key: _Key.args, **named: _Key.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return make(*key, **named)
        with torch.inference_mode(False), torch.no_grad():  # they serve training as well
            result: Tensor = once(*key, **named)
        return result

    return found


@kept
def text_turns(length: int, head_width: int, device: torch.device) -> Tensor:
    """Return the turns of a text's tokens."""
    return turns_of(text_angles(length, head_width, device))


@kept
def visual_turns(
    shape: tuple[int, int, int], aspect: float | None, head_width: int, patch: int, device: torch.device
) -> Tensor:
    """Turns of a token map's tokens and of the token with the ratio behind them. aspect: None is the map's own."""
    visual = visual_angles(shape, aspect, head_width, patch, device)
    return turns_of(torch.cat([visual, ratio_angles(head_width, device)]))


@kept
def grid_turns(side: int, head_width: int, context: int, device: torch.device) -> Tensor:
    """Turns of the class-to-image network's tokens, behind those of `context` tokens that have no place and do not turn."""
    angles = grid_angles(side, head_width, device)
    return turns_of(torch.cat([angles.new_zeros(context, angles.shape[1]), angles]))


def frequencies(count: int, device: torch.device | None = None) -> Tensor:
    """Return N frequencies, number n being base^(-n/N)."""
    return BASE ** (-torch.arange(count, dtype=torch.float32, device=device) / count)


def axis_angles(time: Tensor, rows: Tensor, columns: Tensor, head_width: int) -> Tensor:
    """Angles [N, d/2] of tokens at (time, row, column).

    floor(d/6) frequencies are for time, as many for rows, the rest for columns.
    """
    third = head_width // 6
    parts = ((time, third), (rows, third), (columns, head_width // 2 - 2 * third))
    waves = [position.float()[:, None] * frequencies(count, time.device) for position, count in parts if count]
    return torch.cat(waves, 1)


def text_angles(length: int, head_width: int, device: torch.device | None = None) -> Tensor:
    """Return the angles of text tokens; token j stands at time j."""
    zeros = torch.zeros(length, device=device)
    return axis_angles(torch.arange(length, device=device), zeros, zeros, head_width)


def ratio_angles(head_width: int, device: torch.device | None = None) -> Tensor:
    """Angles [1, d/2] of the token that carries the selection ratio."""
    zero = torch.zeros(1, device=device)
    return axis_angles(zero + RATIO_TIME, zero, zero, head_width)


def visual_angles(
    shape: tuple[int, int, int],
    aspect: float | None,
    head_width: int,
    patch: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """Angles of a token map [t, h, w] in frame, row, column order; with `patch` > 1, of the centres of its patches.

    aspect: height / width of the picture, None for the map's. Rows and columns are spread over a virtual grid of the
    nearest template's shape, so pictures of any size share their positions.
    """
    frames, height, width = shape
    # In tensors throughout: a compiled network must not depend on which template it is.
    wanted = torch.full((1,), height if aspect is None else aspect, dtype=torch.float64, device=device)
    if aspect is None:
        wanted = wanted / width
    templates = torch.tensor(ASPECTS, dtype=torch.float64, device=device)
    nearest = (templates - wanted).abs().argmin()
    rows_all, columns_all = torch.tensor(_GRIDS, dtype=torch.float64, device=device).index_select(0, nearest[None])[0]
    centre = (patch - 1) / 2
    rows = torch.round((torch.arange(height // patch, device=device) * patch + centre).double() * rows_all / height)
    columns = torch.round((torch.arange(width // patch, device=device) * patch + centre).double() * columns_all / width)
    time = FRAME_TIME + torch.arange(frames, device=device)
    times, rows, columns = (axis.flatten() for axis in torch.meshgrid(time.double(), rows, columns, indexing="ij"))
    return axis_angles(times, rows, columns, head_width)


def nearest_aspect(aspect: float) -> float:
    """Find the height / width template nearest to `aspect`."""
    return min(ASPECTS, key=lambda template: abs(template - aspect))


def _cut(value: float) -> float:
    return math.floor(value * 1000) / 1000


_TALL = (3.0, 2.5, 2.0, 16 / 9, 1.5, 4 / 3, 1.16, 1.0)
ASPECTS = tuple(sorted({_cut(a) for a in _TALL} | {_cut(1 / a) for a in _TALL}))


# Rows and columns of each template's virtual grid.
_GRIDS = tuple((math.floor(a * math.sqrt(AREA / a)), math.floor(math.sqrt(AREA / a))) for a in ASPECTS)


def grid_angles(side: int, head_width: int, device: torch.device | None = None) -> Tensor:
    """Angles [side^2, d/2] of the class-to-image network: half of the pairs for rows, then half for columns."""
    count = head_width // 4
    line = torch.arange(side, dtype=torch.float32, device=device)[:, None] * frequencies(count, device)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
