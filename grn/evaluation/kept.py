"""What a long measurement has gathered so far, written now and then, so that one that was ended goes on where it was."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from grn.files import atomic_path


class Kept:
    """Tensors by name, and how many samples went into them, in a file that serves one measurement.

    done: how many samples are in what was read at the beginning; 0 where there was nothing to go on from. tensors: that.
    every: seconds between writes.
    """

    every = 60.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done, self.tensors = 0, dict[str, Tensor]()
        self._written = time.monotonic()
        if path.is_file():
            try:
                with safe_open(path, "pt") as file:
                    self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
                    self.done = int((file.metadata() or {})["done"])
            except (OSError, SafetensorError, KeyError, ValueError):
                self.tensors = {}  # what cannot be read is gathered again

    def note(self, done: int, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """Write what there is after `done` samples, if it is time to."""
        if time.monotonic() - self._written < self.every:
            return
        with atomic_path(self.path) as temporary:
            held = {name: tensor.contiguous() for name, tensor in tensors().items()}
            safetensors.torch.save_file(held, temporary, {"done": str(done)})
        self._written = time.monotonic()

    def clear(self) -> None:
        """Remove the file: the measurement is done."""
        self.path.unlink(missing_ok=True)
