"""Pydantic's complaints as one line for a user."""

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError

# Names of union members appear in an error's location although nobody wrote them.
_TAGS = ("tokenizer", "generator", "class-to-image", "text-to-visual")


def describe(error: ValidationError, sections: Iterable[type[BaseModel]]) -> str:
    """The first complaint of a validation, with the nearest key that `sections` know for an unknown one.

    Unknown keys come first: a misspelt key is why another one is missing.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"] if part not in _TAGS)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = {name for section in sections for name in section.model_fields}
        near = get_close_matches(str(first["loc"][-1]), sorted(known), 1)
        return f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "") + more
    found = f" (found {first['input']!r})" if isinstance(first["input"], str | int | float | bool) else ""
    message = first["msg"].removeprefix("Value error, ")
    return (f"{where}: " if where else "") + f"{message}{found}{more}"
