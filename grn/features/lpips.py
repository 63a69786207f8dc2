"""LPIPS under a network from the user's TorchScript file."""

from pathlib import Path

import torch
from torch import Tensor

from grn.errors import ModelMismatchError
from grn.features.inception import argument_names, load_script
from grn.files import display


class Lpips:
    """LPIPS under a network from the user's TorchScript file, lower is better.

    Two kinds of file are understood: one whose forward takes two pictures in [-1, 1] and returns their distances, and
    one that takes one picture in [0, 255] and `return_lpips`, and returns vectors whose squared distance is LPIPS.
    A TorchScript file is a program: use only files from people you trust.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelNotFoundError or ModelMismatchError."""
        self.network = load_script(path)
        names = argument_names(self.network)
        self._as_vectors = "return_lpips" in names
        if not self._as_vectors and len(names) < 2:
            raise ModelMismatchError(
                f"{display(path)}: its forward takes {', '.join(names)} (expected two pictures, or one and "
                "return_lpips); give a TorchScript file of LPIPS"
            )

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, reference: Tensor) -> Tensor:
        """One distance a pair of pictures."""
        if not self._as_vectors:
            return self.network(pixels, reference).reshape(len(pixels))
        first, second = (
            self.network((p + 1) * 127.5, resize_images=False, return_lpips=True) for p in (pixels, reference)
        )
        return (first - second).square().flatten(1).sum(1)
