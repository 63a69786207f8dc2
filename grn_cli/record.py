"""What a picture, contact sheet or clip says of how grn made it."""

import json
from pathlib import Path
from typing import Any

from grn.errors import BadInputError
from grn.media import read_note


def read_record(path: Path) -> dict[str, Any]:
    """What a picture or clip says of how it was made. Raises BadInputError where it says nothing."""
    try:
        found = json.loads(read_note(path))
    except (ValueError, RecursionError) as error:
        raise unsaid(path) from error
    if not isinstance(found, dict):
        raise unsaid(path)
    return found


def unsaid(path: Path) -> BadInputError:
    """The error of a file that does not say it."""
    return BadInputError(
        f"{path}: does not say how it was made; give a picture, contact sheet or clip that grn generate wrote"
    )
