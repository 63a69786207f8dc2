"""What lies beside a picture: its caption (.txt), class number (.cls) and facts (.json)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grn.data.samples import wordings
from grn.errors import BadInputError
from grn.files import display

SIDE_SUFFIXES = frozenset({".txt", ".cls", ".json"})
MIRRORED, TEXT = ".mirrored.npz", ".text.safetensors"
BESIDE_CODES = frozenset({MIRRORED, TEXT})
"""Of what lies beside codes (`grn.data.shards`): those of the mirrored picture, and the captions as a text encoder reads them."""
_MAX_BYTES = 1 << 20  # captions and facts are short; a longer file is not one


def check_length(place: str, size: int) -> None:
    """Raises BadInputError for a file that is too long to be a caption or facts."""
    if size > _MAX_BYTES:
        raise BadInputError(
            f"{display(place)}: too long for a caption or facts (expected at most {_MAX_BYTES} bytes, found {size}); shorten it"
        )


@dataclass(frozen=True)
class Facts:
    """What the files beside a picture say of it."""

    caption: str = ""
    label: int | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


def read_sides(place: str, sides: Mapping[str, bytes]) -> Facts:
    """What the content of the files beside a picture, by suffix, says. Raises BadInputError where it cannot be understood.

    Text is UTF-8, with or without a byte order mark. Of the facts, "caption" stands in for a missing .txt, and
    "captions" is a list of wordings (`grn.data.samples.wordings`).
    """
    try:
        info = json.loads(_text(sides.get(".json", b"{}")))
        if not isinstance(info, dict):
            raise ValueError(f"the JSON holds a {type(info).__name__} (expected an object)")
        caption = _text(sides.get(".txt", b"")).strip() or info.get("caption", "")
        if not isinstance(caption, str):
            raise ValueError('"caption" of the JSON must be a string')
        wordings(caption, info)
        return Facts(caption, _class(_text(sides[".cls"]).strip()) if ".cls" in sides else None, info)
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            f"{display(place)}: unreadable caption, class or facts ({display(str(error))}); repair or remove it"
        ) from error


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _class(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"the class is {text[:40]!r} (expected a number, 0 or above)")
    return int(text)
