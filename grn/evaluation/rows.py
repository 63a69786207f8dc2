"""Features of many pictures without holding them in memory: rows of a file that has no name and goes with its tensor."""

import tempfile
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from grn.errors import EnvironmentFaultError


def mapped_rows(parts: Iterable[Tensor]) -> Tensor:
    """Parts [B, D], one after the other, as one float32 tensor [N, D] that is read from the disk as it is used.

    Raises EnvironmentFaultError where the folder for temporary files has no room.
    """
    width = rows = 0
    try:
        with tempfile.TemporaryFile() as file:
            for part in parts:
                rows, width = rows + len(part), part.shape[1]
                file.write(part.detach().to("cpu", torch.float32).numpy().tobytes())
            file.flush()
            if not rows:
                return torch.empty(0, width)
            return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=(rows, width)))
    except OSError as error:
        raise EnvironmentFaultError(
            f"{tempfile.gettempdir()}: features cannot be kept there ({error.strerror or error}); set TMPDIR to a folder with room"
        ) from error
