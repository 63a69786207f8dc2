"""The Inception network that published FIDs and Inception scores are computed with, from the user's own file.

Axes
    pixels    float [B, 3, H, W] in [-1, 1]; rounded to bytes and resized to 299 as TensorFlow 1 does it
    features  float32 [B, 2048], the average-pooled last feature map

Two kinds of file are understood: TorchScript ("inception-2015-12-05.pt"), and a state dict with torchvision's names
("pt_inception-2015-12-05-*.pth", "weights-inception-2015-12-05-*.pth"). State dicts are read with `weights_only`. A
TorchScript file is a program that is run: use only files from people you trust.
"""

import warnings
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.features.inception_network import InceptionV3
from grn.files import display
from grn.media import to_levels

_ACCEPTED = 'TorchScript ("inception-2015-12-05.pt") or a state dict ("pt_inception-2015-12-05-6726825d.pth")'


def find_weights() -> Path | None:
    """The file that other tools have left in torch's cache, None where there is none."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    patterns = ("pt_inception-2015-12-05*.pth", "weights-inception-2015-12-05*.pth", "inception-2015-12-05*.pt")
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)


class InceptionFeatures(nn.Module):
    """Inception v3 as published FIDs use it.

    Raises ModelNotFoundError or ModelMismatchError when the file is missing or something else.
    """

    name = "inception-v3 (FID)"
    dim = 2048

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.network = load_script(path) if _is_script(path) else _load_state(path)
        self._scripted = isinstance(self.network, torch.jit.ScriptModule)
        if isinstance(self.network, torch.jit.ScriptModule):
            names = argument_names(self.network)
            if not {"return_features", "no_output_bias"} <= set(names):
                raise ModelMismatchError(
                    f"{display(path)}: its forward takes {', '.join(names)} (expected return_features and "
                    f"no_output_bias among them); give {_ACCEPTED}"
                )
        self.requires_grad_(False)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> features [B, 2048]."""
        levels = self._bytes(pixels)
        return self.network(levels, return_features=True) if self._scripted else self.network(levels.float())

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Class probabilities [B, 1008] for the Inception score; without the last layer's bias, as it is published."""
        if self._scripted:
            return self.network(self._bytes(pixels), no_output_bias=True)
        return F.linear(self(pixels), self.network.fc.weight).softmax(1)

    def _bytes(self, pixels: Tensor) -> Tensor:
        return to_levels(pixels).to(torch.uint8)


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Load a TorchScript file on the CPU. Raises ModelNotFoundError or ModelMismatchError."""
    if not path.is_file():
        raise ModelNotFoundError(f"{display(path)}: no such file; give the path of a TorchScript file")
    try:
        with warnings.catch_warnings():
            # Deprecated for new exports; the published files are what they are.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelMismatchError(
            f"{display(path)}: not a TorchScript file ({reason}); export one with torch.jit"
        ) from error


def argument_names(script: torch.jit.ScriptModule) -> list[str]:
    """Names of what the module's forward takes, without `self`."""
    return [argument.name for argument in script._c._get_method("forward").schema.arguments[1:]]


def _is_script(path: Path) -> bool:
    """Both kinds are zip files by now; only a TorchScript one holds code."""
    if not path.is_file():
        raise ModelNotFoundError(f"{display(path)}: no such file; give {_ACCEPTED}")
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _load_state(path: Path) -> InceptionV3:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = InceptionV3()
        # The branch that helped training, and counters of batches, play no part in the features.
        state = {
            k: v for k, v in state.items() if not k.startswith("AuxLogits.") and not k.endswith("num_batches_tracked")
        }
        own = network.state_dict()
        counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
        network.load_state_dict(state | counters)
    except Exception as error:  # a file that is no pickle makes the unpickler raise anything, KeyError included
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelMismatchError(f"{display(path)}: not the Inception network ({reason}); give {_ACCEPTED}") from error
    return network
