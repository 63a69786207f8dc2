"""Losses of tokenizer training besides plain distances: perceptual and PatchGAN. Pictures are [B, 3, H, W] in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PerceptualLoss(nn.Module):
    """Distance between feature maps of a fixed network: LPIPS without learned weights, on the offline feature network.

    Each stage's features are normalised over channels; squared distances are averaged over positions and summed over stages.
    """

    def __init__(self) -> None:
        from grn.evaluation.features import OfflineFeatures

        super().__init__()
        self.features = OfflineFeatures().eval().requires_grad_(False)

    def forward(self, drawn: Tensor, true: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self.features.stages(true)
        loss = drawn.new_zeros(())
        for mine, target in zip(self.features.stages(drawn), targets, strict=True):
            difference = F.normalize(mine.float(), dim=1) - F.normalize(target.float(), dim=1)
            loss = loss + difference.square().sum(1).mean()
        return loss


class PatchDiscriminator(nn.Sequential):
    """Judges overlapping patches: three halvings, then one logit a position, [B, 1, H/8, W/8]."""

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 3, 1, 1))


def generator_loss(drawn: Tensor) -> Tensor:
    """What the autoencoder lowers: minus the judgement of its pictures (hinge)."""
    return -drawn.mean()


def discriminator_loss(true: Tensor, drawn: Tensor) -> Tensor:
    """What the discriminator lowers: the hinge loss of telling the two apart."""
    return 0.5 * (F.relu(1 - true).mean() + F.relu(1 + drawn).mean())
