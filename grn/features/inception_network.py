"""Inception v3 as the original is, under torchvision's names. Axes: levels float [B, 3, H, W], 0 to 255."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU; padded to keep the size unless strided."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad and stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


# One convolution of a branch: name, outputs, kernel, stride. A tuple of two at a branch's end forks it.
_Step = tuple[str, int, int | tuple[int, int], int]
_Branch = list[_Step | tuple[_Step, _Step]]
_ROW, _COLUMN = (1, 7), (7, 1)


def _block_a() -> list[_Branch]:
    return [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 1)],
    ]


def _block_b() -> list[_Branch]:
    return [
        [("branch3x3", 384, 3, 2)],
        [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)],
    ]


def _block_c(width: int) -> list[_Branch]:
    return [
        [("branch1x1", 192, 1, 1)],
        [("branch7x7_1", width, 1, 1), ("branch7x7_2", width, _ROW, 1), ("branch7x7_3", 192, _COLUMN, 1)],
        [
            ("branch7x7dbl_1", width, 1, 1),
            ("branch7x7dbl_2", width, _COLUMN, 1),
            ("branch7x7dbl_3", width, _ROW, 1),
            ("branch7x7dbl_4", width, _COLUMN, 1),
            ("branch7x7dbl_5", 192, _ROW, 1),
        ],
    ]


def _block_d() -> list[_Branch]:
    return [
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1, 1),
            ("branch7x7x3_2", 192, _ROW, 1),
            ("branch7x7x3_3", 192, _COLUMN, 1),
            ("branch7x7x3_4", 192, 3, 2),
        ],
    ]


def _block_e() -> list[_Branch]:
    return [
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), (("branch3x3_2a", 384, (1, 3), 1), ("branch3x3_2b", 384, (3, 1), 1))],
        [
            ("branch3x3dbl_1", 448, 1, 1),
            ("branch3x3dbl_2", 384, 3, 1),
            (("branch3x3dbl_3a", 384, (1, 3), 1), ("branch3x3dbl_3b", 384, (3, 1), 1)),
        ],
    ]


class Mixed(nn.Module):
    """Branches of convolutions beside a pooled branch, joined by channel.

    pooled: outputs of the convolution after the pooling; 0: none, and the pooling halves the size as the branches do.
    """

    def __init__(self, inputs: int, branches: list[_Branch], pooled: int, pool: str = "average") -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        for branch in branches:
            width = inputs
            for step in branch:
                for name, outputs, kernel, stride in _forks(step):
                    self.add_module(name, _Conv(width, outputs, kernel, stride))
                width = outputs
        self.branch_pool = _Conv(inputs, pooled, 1) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(self._run(branch, x) for branch in self.branches), self._pooled(x)], 1)

    def _run(self, branch: _Branch, x: Tensor) -> Tensor:
        for step in branch:
            x = torch.cat([self.get_submodule(name)(x) for name, *_ in _forks(step)], 1)
        return x

    def _pooled(self, x: Tensor) -> Tensor:
        if self.branch_pool is None:
            return F.max_pool2d(x, 3, 2)
        if self.pool == "max":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        # TensorFlow's average leaves the padding out of the count; torchvision's own network does not.
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))


def _forks(step: _Step | tuple[_Step, _Step]) -> tuple[_Step, ...]:
    return (step,) if isinstance(step[0], str) else step


class InceptionV3(nn.Module):
    """Inception v3 with 1008 classes, under torchvision's names; the last block pools by maximum, as the original."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, pad=False)
        mixed = {
            "5b": Mixed(192, _block_a(), 32),
            "5c": Mixed(256, _block_a(), 64),
            "5d": Mixed(288, _block_a(), 64),
            "6a": Mixed(288, _block_b(), 0),
            "6b": Mixed(768, _block_c(128), 192),
            "6c": Mixed(768, _block_c(160), 192),
            "6d": Mixed(768, _block_c(160), 192),
            "6e": Mixed(768, _block_c(192), 192),
            "7a": Mixed(768, _block_d(), 0),
            "7b": Mixed(1280, _block_e(), 192),
            "7c": Mixed(2048, _block_e(), 192, pool="max"),
        }
        self._mixed = [f"Mixed_{name}" for name in mixed]
        for name, block in mixed.items():
            self.add_module(f"Mixed_{name}", block)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, levels: Tensor) -> Tensor:
        """levels: float [B, 3, H, W], 0 to 255."""
        x = (resize_as_tensorflow(levels, 299) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self._mixed:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def resize_as_tensorflow(x: Tensor, size: int) -> Tensor:
    """Bilinear as in TensorFlow 1: pixel i of the result lies at i * input / size, and nothing is antialiased."""
    return _weights(size, x.shape[2]).to(x) @ x @ _weights(size, x.shape[3]).to(x).T


def _weights(outputs: int, inputs: int) -> Tensor:
    """Matrix [outputs, inputs] of linear interpolation."""
    place = torch.arange(outputs) * (inputs / outputs)
    left = place.floor().long().clamp_max(inputs - 1)
    share = (place - left)[:, None]
    rows = F.one_hot(left, inputs), F.one_hot((left + 1).clamp_max(inputs - 1), inputs)
    return rows[0] * (1 - share) + rows[1] * share
