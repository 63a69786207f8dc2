"""Which sampling settings are tried, and what each was worth (figure 12, tables 7, 10 and 11)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import torch

from grn.errors import UsageError

Settings = dict[str, Any]
_MOST = 10_000


def values_of(text: str) -> list[Any]:
    """ "1.5:3:0.25" -> 1.5, 1.75, ... 3.0, both ends counted; "1,2.5" or "refine,mask" -> those. Numbers without a point
    are ints. Raises UsageError for a range that is none.
    """
    try:
        if text.count(":") == 2:
            first, last, step = (Decimal(word) for word in text.split(":"))
            if not step or not all(map(Decimal.is_finite, (first, last, step))) or (last - first) / step > _MOST:
                raise InvalidOperation
            found = [first + i * step for i in range(int((last - first) / step) + 1)]
            if not found or (last - first) / step < 0:
                raise InvalidOperation
            return [_number(value) for value in found]
        if ":" in text or not all(word.strip() for word in text.split(",")):
            raise InvalidOperation
    except InvalidOperation as error:
        raise UsageError(f"{text!r}: no values to try (expected FIRST:LAST:STEP, or values with commas)") from error
    return [_value(word.strip()) for word in text.split(",")]


def _value(word: str) -> Any:
    try:
        return _number(Decimal(word))
    except InvalidOperation:
        return word


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() and "." not in str(value) else float(value)


def grid(axes: Mapping[str, Sequence[Any]], random: int | None = None, seed: int = 0) -> list[Settings]:
    """List every combination of the axes' values, the last axis fastest; or draw so many of them by the seed."""
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if random is None or random >= len(points):
        return points
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:random]
    return [points[i] for i in sorted(chosen.tolist())]


def spread_of(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and half of its 95% confidence interval (Student's t); None for a single value."""
    mean, count = sum(values) / len(values), len(values)
    if count < 2:
        return mean, None
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return mean, _student(count - 1) * deviation / math.sqrt(count)


def _student(freedom: int) -> float:
    """The 97.5% point of Student's t."""
    few = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    # Beyond ten, the expansion about the normal's point is good to three digits.
    z = 1.959964
    return few[freedom - 1] if freedom <= len(few) else z + (z**3 + z) / (4 * freedom)


def curves(points: Sequence[Mapping[str, Any]], axes: Sequence[str], score: str) -> dict[str, list[tuple[Any, float]]]:
    """For each axis (value, score) of the points that have the best point's values in all other axes, by value."""
    best = min(points, key=lambda point: float(point[score]))
    return {
        axis: sorted(
            (point[axis], float(point[score]))
            for point in points
            if all(point[other] == best[other] for other in axes if other != axis)
        )
        for axis in axes
    }
