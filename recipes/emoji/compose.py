"""Scenes -> pictures, on the device that holds the sprites.

Axes: B scenes of at most OBJECTS objects; pictures are float [B, 3, S, S] in [-1, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scenes import OBJECTS, Scene
from torch import Tensor

_NO_HUE = float("nan")
_LEVELS = (
    (0.62, 9.0),
    (0.31, 0.62),
    (0.0, 0.31),
)  # sides of objects that are drawn from sprites of S, S/2 and S/4 pixels
_AT_ONCE = 512  # sprites that are made smaller at a time
BLACK, WHITE = -1.0, -2.0  # hues that are none


@dataclass(frozen=True)
class Scenes:
    """Scenes as arrays.

    objects: float32 [B, OBJECTS, 6] (sprite's number or -1, x, y, side, hue or NaN, mirrored); grounds: uint8 [B, 3]; photos: bool [B].
    """

    objects: Tensor
    grounds: Tensor
    photos: Tensor

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> "Scenes":
        """The scenes as they are."""
        objects = np.full((len(scenes), OBJECTS, 6), -1, np.float32)
        grounds = np.full((len(scenes), 3), 255, np.uint8)
        photos = np.array([scene.photo for scene in scenes])
        for i, scene in enumerate(scenes):
            for j, one in enumerate(scene.objects):
                hue = _NO_HUE if one.hue is None else one.hue
                objects[i, j] = one.sprite, one.x, one.y, one.side, hue, one.mirrored
            if scene.ground is not None:
                grounds[i] = scene.ground
        return cls(torch.from_numpy(objects), torch.from_numpy(grounds), torch.from_numpy(photos))

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows: Tensor) -> "Scenes":
        return Scenes(self.objects[rows], self.grounds[rows], self.photos[rows])

    def to(self, device: torch.device) -> "Scenes":
        return Scenes(self.objects.to(device), self.grounds.to(device), self.photos.to(device))


def recolour(rgb: Tensor, hue: Tensor) -> Tensor:
    """Every pixel in the sample's hue, pale ones a little too; rgb [B, 3, H, W] in [0, 1], hue [B]: NaN leaves the sample as it is."""
    value, low = rgb.amax(1, keepdim=True), rgb.amin(1, keepdim=True)
    saturation = (value - low) / value.clamp(min=1e-4)
    hues = hue.view(-1, 1, 1, 1)
    # White stays darker than a white ground, and keeps as much shading as lets it still be called white.
    white = 0.45 + 0.43 * value
    lit = torch.where(hues == BLACK, value * 0.28, torch.where(hues == WHITE, white, value))
    depth = torch.where(hues < 0, 0.06 * saturation, (0.3 + 0.75 * saturation).clamp(max=0.95))
    # HSV -> RGB: each channel falls from the value where the hue is far from it.
    turns = torch.tensor([5.0, 3.0, 1.0], device=rgb.device).view(1, 3, 1, 1)
    away = (turns + hues.clamp(min=0) * 6) % 6
    made = lit - lit * depth * torch.minimum(away, 4 - away).clamp(0, 1)
    return torch.where(hues.isnan(), rgb, made)


class Renderer:
    """Sprites on the device, at three sizes, and pictures made of them.

    sprites: uint8 [N, S, S, 4], straight alpha; photos: uint8 [P, s, s, 3] for soft grounds, of any size. shaken: whether things
    stand a little beside where the scene says, and are a little larger or smaller.
    """

    def __init__(self, sprites: Tensor, photos: Tensor | None = None, shaken: bool = True) -> None:
        self.side, self.shaken = sprites.shape[1], shaken
        whole = sprites.permute(0, 3, 1, 2)
        self.levels = [whole, _smaller(whole, self.side // 2), _smaller(whole, self.side // 4)]
        self.photos = None
        if photos is not None:
            # A few pixels are left of each: grounds are soft.
            small = F.interpolate(photos.permute(0, 3, 1, 2).float(), (8, 8), mode="bilinear", antialias=True)
            self.photos = small / 255

    @torch.no_grad()
    def __call__(self, scenes: Scenes, generator: torch.Generator | None = None) -> Tensor:
        """Pictures [B, 3, S, S] in [-1, 1]; with a generator, shaken where the renderer does that."""
        objects = scenes.objects
        canvas = self._grounds(scenes, generator)
        shake = torch.zeros((*objects.shape[:2], 3), device=objects.device)
        if generator is not None and self.shaken:
            shake = torch.rand(shake.shape, generator=generator, device=objects.device) - 0.5
        for place in range(objects.shape[1]):
            for level, (low, high) in zip(self.levels, _LEVELS, strict=True):
                one = objects[:, place]
                rows = ((one[:, 0] >= 0) & (one[:, 3] > low) & (one[:, 3] <= high)).nonzero().squeeze(1)
                if len(rows):
                    layer = self._layer(level, one[rows], shake[rows, place])
                    canvas[rows] = canvas[rows] * (1 - layer[:, 3:]) + layer[:, :3]
        return canvas * 2 - 1

    def _grounds(self, scenes: Scenes, generator: torch.Generator | None) -> Tensor:
        side = self.side
        canvas = (scenes.grounds.float() / 255)[:, :, None, None].expand(-1, -1, side, side).contiguous()
        rows = scenes.photos.nonzero().squeeze(1)
        if self.photos is not None and len(rows):
            top = len(self.photos)
            which = torch.randint(top, (len(rows),), generator=generator, device=rows.device)
            canvas[rows] = F.interpolate(self.photos[which], (side, side), mode="bicubic").clamp(0, 1)
        return canvas

    def _layer(self, sprites: Tensor, objects: Tensor, shake: Tensor) -> Tensor:
        """Each object alone, premultiplied RGBA [B, 4, S, S] in [0, 1]."""
        number, x, y, side, hue, mirrored = objects.unbind(1)
        side = side * (1 + 0.06 * shake[:, 0])
        x, y = x + 0.03 * shake[:, 1], y + 0.03 * shake[:, 2]
        sprite = sprites[number.long()].float() / 255
        rgb, alpha = recolour(sprite[:, :3], hue), sprite[:, 3:]
        across = torch.where(mirrored > 0, -1.0, 1.0) / side
        zero = torch.zeros_like(x)
        theta = torch.stack(
            [torch.stack([across, zero, -x * across], 1), torch.stack([zero, 1 / side, -y / side], 1)], 1
        )
        grid = F.affine_grid(theta, [len(objects), 4, self.side, self.side], align_corners=False)
        return F.grid_sample(torch.cat([rgb * alpha, alpha], 1), grid, mode="bilinear", align_corners=False)


def _smaller(sprites: Tensor, side: int) -> Tensor:
    """uint8 [N, 4, s, s]; premultiplied while they are made smaller, so that no invisible colour bleeds in."""
    parts = []
    for part in sprites.split(_AT_ONCE):
        x = part.float() / 255
        x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        x = torch.cat([x[:, :3] / x[:, 3:].clamp(min=1e-3), x[:, 3:]], 1)
        parts.append((x.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(parts)


def compose(make: Callable[[np.random.Generator], Scene], count: int, seed: int) -> tuple[list[str], Scenes]:
    """So many scenes, with their captions."""
    rng = np.random.default_rng(seed)
    made = [make(rng) for _ in range(count)]
    return [scene.caption for scene in made], Scenes.of(made)
