"""The folder of what can be made again."""

import os
from pathlib import Path

from grn.errors import EnvironmentFaultError
from grn.files import display


def cache_folder(part: str, make: bool = False) -> Path:
    """$GRN_CACHE/part, else ~/.cache/grn/part. make: EnvironmentFaultError where it cannot be made."""
    folder = Path(os.environ.get("GRN_CACHE") or Path.home() / ".cache" / "grn") / part
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be made ({error.strerror or error}); set GRN_CACHE to a folder with space"
        ) from error
    return folder
