"""Pydantic's complaints as one line for a user.

Apart from `grn.errors`, so that a command can name its errors without importing pydantic.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_MOST_SUGGESTED = 3


def describe(error: ValidationError, *models: type[BaseModel], within: str = "") -> str:
    """The first complaint of a validation of one of `models`: the full key, what is expected there, what was found.

    An unknown key comes with the nearest keys that the models have, and before other complaints: a misspelt key is why
    another one is missing. within: the key that what was validated stands under.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    parents, keys = _follow(models, first["loc"])
    where = ".".join(filter(None, (within, *keys)))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        found = [".".join(filter(None, (within, near))) for near in _nearest(keys, parents, models)]
        return f"unknown key {where!r}" + (f"; did you mean {' or '.join(map(repr, found))}?" if found else "") + more
    message = first["msg"].removeprefix("Value error, ")
    value = f" (found {first['input']!r:.60})" if isinstance(first["input"], str | int | float | bool) else ""
    return (f"{where}: " if where else "") + f"{message}{value}{more}"


def _follow(models: tuple[type[BaseModel], ...], location: tuple[int | str, ...]) -> tuple[list[Any], list[str]]:
    """The models that the last key of a location stands in, and the location without what nobody wrote.

    That are the names by which pydantic tells the members of a union apart.
    """
    here: list[Any] = list(models)
    keys: list[str] = []
    for number, part in enumerate(location):
        last = number == len(location) - 1
        inner = [model.model_fields[part].annotation for model in here if part in model.model_fields]
        if not inner and not last and not isinstance(part, int):
            continue  # a name of a member
        keys.append(str(part))
        if not last and not isinstance(part, int):
            here = [model for annotation in inner for model in _models_in(annotation)]
    return here, keys


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, in unions and containers too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _nearest(keys: list[str], parents: list[Any], models: tuple[type[BaseModel], ...]) -> list[str]:
    """The keys that an unknown one may have been meant to be, spelt out: of its own section, else the same elsewhere."""
    *section, name = keys
    beside = sorted({field for parent in parents for field in parent.model_fields})
    near = get_close_matches(name, beside, 1)
    if near:
        return [".".join([*section, near[0]])]
    everywhere = {path for model in models for path in _paths(model)}
    elsewhere = get_close_matches(name, sorted({path.rpartition(".")[2] for path in everywhere}), 1)
    return sorted(path for path in everywhere if path.rpartition(".")[2] in elsewhere)[:_MOST_SUGGESTED]


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a model, with those of its sections."""
    for name, field in model.model_fields.items():
        yield name
        for inner in _models_in(field.annotation):
            yield from (f"{name}.{path}" for path in _paths(inner))
