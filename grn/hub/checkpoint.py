"""A published checkpoint on disk: a pickle, read as data only, a tensor at a time.

A file of torch's newer layout is mapped, not read; what has been looked at is let go of every RELEASE_BYTES, so that a
file of many gigabytes passes through little memory.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grn.errors import EnvironmentFaultError, ModelMismatchError
from grn.files import display

RELEASE_BYTES = 64_000_000
_PREFERRED = ("model_ema1", "ema", "model", "vae")  # moving averages come first


class Checkpoint(Mapping[str, Tensor]):
    """The state dict in a published checkpoint. `where` in the file it is: "ema", "model_ema1", ..., "" for a plain one.

    Moving averages are preferred. Keep no more than a few tensors at a time: each keeps its pages in memory.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelMismatchError for a file that is damaged or holds anything but tensors."""
        self.path = path
        self._mapped = _is_zip(path)
        self._state, self.where = _read(path, self._mapped)
        self._taken = 0

    def __getitem__(self, key: str) -> Tensor:
        if self._mapped and self._taken > RELEASE_BYTES:
            # Only unmapping lets go of pages, and only what is mapped anew starts without any.
            self._state = {}
            self._state, self._taken = _read(self.path, True)[0], 0
        tensor = self._state[key]
        self._taken += tensor.numel() * tensor.element_size()
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def shapes(self) -> dict[str, Tensor]:
        """The same state without values: tensors on the meta device."""
        return {key: torch.empty_like(tensor, device="meta") for key, tensor in self._state.items()}


def _read(path: Path, mapped: bool) -> tuple[dict[str, Tensor], str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a script: it is refused, in our words
            tree = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the file"
        ) from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it would run {display(code[1])}" if code else "it is cut short, damaged or of another format"
        raise ModelMismatchError(f"{display(path)}: refused, {reason}; give a published file") from error
    where = next((key for key in _PREFERRED if isinstance(tree, dict) and isinstance(tree.get(key), dict)), "")
    state: Any = tree[where] if where else tree
    if not isinstance(state, dict):
        raise ModelMismatchError(
            f"{display(path)}: expected a state dict, found {type(state).__name__}; give a published file"
        )
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelMismatchError(
                f"{display(path)}: key {display(str(key))} holds {type(value).__name__}, not a tensor; "
                "give a published file"
            )
    return dict(state), where


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:  # only the newer of torch's two layouts can be mapped
            return file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the file"
        ) from error
