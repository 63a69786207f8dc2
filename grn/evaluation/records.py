"""What measurements have written as JSON, beside each other."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grn.errors import BadInputError
from grn.files import display

_MAX_BYTES = 64 << 20
_LONGEST = 32  # a longer list is of single pictures, not of figures to compare


def load_record(path: Path) -> dict[str, float]:
    """Read the figures of a JSON file by name; those inside objects and lists are called "outer.inner" and "list.0".

    Texts, and lists that are longer than 32, are left out. Raises BadInputError where the file holds no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"longer than {_MAX_BYTES} bytes")
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, expected an object")
        return dict(_figures(found, ""))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else display(str(error))
        raise BadInputError(f"{display(path)}: no results of a measurement ({reason})") from error


def _figures(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int | float):
        yield name, float(value)
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value if len(value) <= _LONGEST else ())
    for key, one in inner:
        yield from _figures(one, f"{name}.{key}" if name else str(key))


FigureRow = tuple[str, list[float | None], float | None]
"""A figure's name, its value in each result, and a ratio."""


def side_by_side(records: Sequence[dict[str, float]]) -> list[FigureRow]:
    """For each figure of any record: its name, its value in each (None: it has none), and the last over the first.

    The ratio is None where one is missing, 0 or not finite.
    """
    rows = []
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record.get(name) for record in records]
        first, last = values[0], values[-1]
        ratio = last / first if first and last is not None else None
        rows.append((name, values, ratio if ratio is not None and math.isfinite(ratio) else None))
    return rows
