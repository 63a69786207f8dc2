"""The I3D network that FVD and rFVD are computed with, from the user's own file.

Axes
    clips     float [B, 3, T, H, W] in [-1, 1]
    features  float32 [B, D], 400 of the published network

A TorchScript file is a program that is run: use only files from people you trust.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from grn.errors import ModelMismatchError
from grn.features.inception import argument_names, load_script
from grn.files import display
from grn.media import to_levels

SIDE = 224
FEWEST = 9
"""Frames of the shortest clip: the network halves their number three times."""


class I3dFeatures:
    """I3D as published FVDs use it ("i3d_torchscript.pt"), or any TorchScript that turns clips into vectors.

    Of a file whose forward takes `rescale`, `resize` and `return_features`, the network itself brings bytes to 224 pixels
    and to its range; any other is given clips of 224 x 224 in [-1, 1], resized bilinearly.
    """

    name = "I3D"

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """Raises ModelNotFoundError or ModelMismatchError."""
        self.network = load_script(path).to(device)
        names = argument_names(self.network)
        if not names:
            raise ModelMismatchError(
                f"{display(path)}: its forward takes nothing (expected clips); give I3D as TorchScript"
            )
        self._published = {"rescale", "resize", "return_features"} <= set(names)

    @property
    def preparation(self) -> str:
        """What is done to clips first, in words."""
        return f"{SIDE}x{SIDE} pixels, " + ("by the network" if self._published else "bilinear")

    @torch.inference_mode()
    def __call__(self, clips: Tensor) -> Tensor:
        """clips [B, 3, T, H, W] in [-1, 1] -> features float32 [B, D]."""
        if self._published:
            found = self.network(to_levels(clips).float(), rescale=True, resize=True, return_features=True)
        else:
            count, _, frames = clips.shape[:3]
            flat = clips.transpose(1, 2).flatten(0, 1)
            flat = F.interpolate(flat, (SIDE, SIDE), mode="bilinear", antialias=True)
            found = self.network(flat.unflatten(0, (count, frames)).transpose(1, 2))
        return found.flatten(1).float()
