"""Losses of tokenizer training: plain distances, perceptual, motion and PatchGAN. Pictures are [B, 3, H, W] in [-1, 1]."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import ModelMismatchError
from grn.features.inception import argument_names, load_script
from grn.files import display

_GRAIN = 4  # pixels: the blocks that decoders compose pictures of, whose patterns can change without anything moving
_PATCH = 8  # pixels
_STILL = 8 / 127.5
"""Change of a pixel that counts half as motion: `grn.evaluation.video.THRESHOLD`, here of [-1, 1]."""


def distances(reconstruction: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the mean absolute and the mean squared difference of two [B, ...], each [], and the former of each sample, [B]."""
    difference = reconstruction - pixels
    each = difference.abs().flatten(1).mean(1)
    return difference.abs().mean(), difference.square().mean(), each


def motion_loss(reconstruction: Tensor, pixels: Tensor) -> Tensor:
    """Measure how far a reconstruction's motion is from its clip's: both [B, 3, T, H, W] in [-1, 1], T > 1; float32 [].

    The other losses are least for a blur that hardly moves, where a decoder cannot know which way something moves; this one is
    not. It adds squared differences of two amounts: how much every patch of a frame changes until the next one, and what share of
    its pixels does. Each is also compared over the whole frame, where other patches may make up for one. Squared, because then the
    right mean is best where the place is unknown; the median would be no motion, most places being still.

    The amount is measured in blurred frames, and a reconstruction that is rougher than the clip costs more: else a fine pattern
    that comes and goes would pass for motion.
    """
    loss = F.relu(_roughness(reconstruction) - _roughness(pixels)).square().mean()
    for own_motion, motion in zip(_motion(reconstruction), _motion(pixels), strict=True):
        loss = loss + (own_motion - motion).square().mean()
        loss = loss + (own_motion.mean((2, 3)) - motion.mean((2, 3))).square().mean()
    return loss


def _motion(clips: Tensor) -> tuple[Tensor, Tensor]:
    """In every patch from each frame to the next, [B, T-1, h, w]: how much it changes, and, as a soft share, how many of its pixels do."""
    blurred = F.avg_pool3d(clips, (1, _GRAIN, _GRAIN), stride=(1, 1, 1))
    change = blurred.diff(dim=2).abs().mean(1)
    seen = clips.diff(dim=2).abs().amax(1).square()
    return _patches(change), _patches(seen / (seen + _STILL**2)) / 4


def _roughness(clips: Tensor) -> Tensor:
    """How much neighbouring pixels differ in every patch of every frame, [B, T, h, w]."""
    down, right = clips.diff(dim=3)[..., 1:].abs().mean(1), clips.diff(dim=4)[..., 1:, :].abs().mean(1)
    return _patches(down + right)


def _patches(frames: Tensor) -> Tensor:
    """Means of [B, T, H, W], with what is left over at the edges in smaller patches."""
    return F.avg_pool2d(frames, _PATCH, ceil_mode=True)


class PerceptualLoss(nn.Module):
    """Distance between feature maps of a fixed network: LPIPS without learned weights, on the offline feature network.

    Each stage's features are normalised over channels; squared distances are averaged over positions and summed over stages.
    """

    def __init__(self) -> None:
        from grn.features.efficientnet import OfflineFeatures

        super().__init__()
        self.features = OfflineFeatures().eval().requires_grad_(False)

    def forward(self, reconstruction: Tensor, true: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self.features.stages(true)
        loss = reconstruction.new_zeros(())
        for mine, target in zip(self.features.stages(reconstruction), targets, strict=True):
            difference = F.normalize(mine.float(), dim=1) - F.normalize(target.float(), dim=1)
            loss = loss + difference.square().sum(1).mean()
        return loss


class LpipsLoss(nn.Module):
    """LPIPS by the network of a user's TorchScript file, whose forward takes two pictures [B, 3, H, W] in [-1, 1]."""

    def __init__(self, path: Path) -> None:
        """Raises ModelNotFoundError or ModelMismatchError. The file is a program: use only those from people you trust."""
        super().__init__()
        self.network = load_script(path)
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        if len(names := argument_names(self.network)) < 2:
            raise ModelMismatchError(
                f"{display(path)}: its forward takes {', '.join(names)} (expected two pictures); give a TorchScript file of LPIPS"
            )

    def forward(self, reconstruction: Tensor, true: Tensor) -> Tensor:
        """float32 []."""
        return self.network(reconstruction, true).mean()


class PatchGan(nn.Sequential):
    """The published discriminator: 4x4 kernels, 64, 128, 256 and 512 channels with batch norms, one logit a patch of 70x70 pixels."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(512, 1, 4, 1, 1))


class PatchDiscriminator(nn.Sequential):
    """Judges overlapping patches: three halvings, then one logit a position, [B, 1, H/8, W/8]."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 3, 1, 1))


def generator_loss(reconstruction: Tensor) -> Tensor:
    """Compute what the autoencoder lowers: minus the discriminator's judgement of its pictures (hinge)."""
    return -reconstruction.mean()


def discriminator_loss(true: Tensor, reconstruction: Tensor) -> Tensor:
    """Compute what the discriminator lowers: the hinge loss of telling real from reconstructed."""
    return 0.5 * (F.relu(1 - true).mean() + F.relu(1 + reconstruction).mean())
