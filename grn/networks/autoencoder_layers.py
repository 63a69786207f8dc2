"""Layers of the 3D causal autoencoder.

Axes: B batch, C channels, T frames, H rows, W columns; tensors are [B, C, T, H, W] unless a name says otherwise.

Causal in time: an output frame depends on its own and earlier input frames only. A clip passes through as its first
frame alone, then groups of frames; what a layer must remember from one group to the next lies in a `TimeCache`, so
memory does not grow with length.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TimeCache:
    """The last input frames of each causal layer, for one clip on its way through the network."""

    def __init__(self) -> None:
        self._frames: dict[nn.Module, Tensor] = {}

    def last_frames(self, layer: nn.Module) -> Tensor | None:
        """Return the frames that `layer` remembered, or None in the clip's first group."""
        return self._frames.get(layer)

    def remember(self, layer: nn.Module, frames: Tensor) -> None:
        self._frames[layer] = frames


def per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a 2D layer to every frame of [B, C, T, H, W]."""
    if x.shape[2] == 1:
        return layer(x.squeeze(2)).unsqueeze(2)
    batch, _, frames = x.shape[:3]
    return layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, frames)).transpose(1, 2)


class CausalConv(nn.Module):
    """Convolution over time, rows and columns that looks back in time only; space is padded to keep its size.

    The weight is [out, in, kt, k, k]. A frame with nothing before it meets zeros in the earlier taps, so it costs one
    2D convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, time_kernel: int = 3) -> None:
        super().__init__()
        conv = nn.Conv3d(inputs, outputs, (time_kernel, kernel, kernel))
        self.weight, self.bias = conv.weight, conv.bias
        self.time_kernel, self.padding = time_kernel, kernel // 2
        self.by_taps = False

    def lay_out(self, memory_format: torch.memory_format) -> None:
        """Keep each tap in one piece of memory and convolve by taps: a 2D convolution each, whose sum is the 3D one's.

        A tap is then used where it lies, where else it is gathered from among the others at every call. Sums are
        rounded otherwise than in a 3D convolution.
        """
        taps = self.weight.data.movedim(2, 0)
        taps = taps.flatten(0, 1).contiguous(memory_format=memory_format).unflatten(0, taps.shape[:2])
        self.weight.data = taps.movedim(0, 2)
        self.by_taps = True

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        earlier = cache.last_frames(self) if cache is not None else None
        new = x.shape[2]
        if earlier is not None:
            x = torch.cat([earlier, x], 2)
        if cache is not None and self.time_kernel > 1:
            cache.remember(self, x[:, :, -(self.time_kernel - 1) :])
        if self.time_kernel == 1 or x.shape[2] == 1:
            return self._tap(-1, x, self.bias)
        if self.by_taps:
            return self._sum_of_taps(x, new)
        x = F.pad(x, (0, 0, 0, 0, self.time_kernel - 1 - (x.shape[2] - new), 0))
        return F.conv3d(x, self.weight, self.bias, padding=(0, self.padding, self.padding))

    def _tap(self, number: int, x: Tensor, bias: Tensor | None) -> Tensor:
        return per_frame(lambda f: F.conv2d(f, self.weight[:, :, number], bias, padding=self.padding), x)  # type: ignore[arg-type]

    def _sum_of_taps(self, x: Tensor, new: int) -> Tensor:
        """The last `new` frames of x convolved; of frames that are not there, nothing is added."""
        old = x.shape[2] - new
        y = self._tap(-1, x[:, :, old:], self.bias)
        for back in range(1, self.time_kernel):
            first = max(0, back - old)  # the first of the new frames that has one so far back
            if first < new:
                y[:, :, first:] += self._tap(-1 - back, x[:, :, old + first - back : old + new - back], None)
        return y


@torch.no_grad()
def set_taps(conv: CausalConv | nn.Conv3d, taps: tuple[float, ...]) -> None:
    """Make every output channel of a pointwise convolution over time the same mean of one input channel's frames; n outputs may share one input."""
    if conv.weight.is_meta:  # what is loaded from a file needs none; on "meta" it imports the compiler, 0.5 s
        return
    outputs, channels = conv.weight.shape[:2]
    identity = torch.eye(channels).repeat(outputs // channels, 1)
    conv.weight.copy_((identity[:, :, None] * torch.tensor(taps))[..., None, None])
    assert conv.bias is not None, "convolutions over time have a bias"
    conv.bias.zero_()


class ChannelNorm(nn.Module):
    """RMS norm over the channels at each position, times a learned gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gain.view(-1, *[1] * (x.dim() - 2)) * self.gain.numel() ** 0.5
        x = F.normalize(x, dim=1)
        return x * gain if torch.is_grad_enabled() else x.mul_(gain)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, added to the input (through a 1x1x1 convolution where the channels change).

    kernels: taps in time of the two convolutions, and of a third, pointwise one after them, which at first does nothing; 1 leaves it out.
    """

    def __init__(self, inputs: int, outputs: int, kernels: tuple[int, int]) -> None:
        super().__init__()
        kernel, mixing = kernels
        self.norm_in = ChannelNorm(inputs)
        self.conv_in = CausalConv(inputs, outputs, 3, kernel)
        self.norm_out = ChannelNorm(outputs)
        self.conv_out = CausalConv(outputs, outputs, 3, kernel)
        self.time = CausalConv(outputs, outputs, 1, mixing) if mixing > 1 else None
        if self.time is not None:
            set_taps(self.time, (0.0,) * (mixing - 1) + (1.0,))
        self.shortcut = CausalConv(inputs, outputs, 1, 1) if inputs != outputs else None

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        skip = x if self.shortcut is None else self.shortcut(x, None)
        x = self.conv_in(silu(self.norm_in(x)), cache)
        x = self.conv_out(silu(self.norm_out(x)), cache)
        return add(skip, x if self.time is None else self.time(x, cache))


class FrameAttention(nn.Module):
    """Single-head attention among the positions of each frame, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + per_frame(self._attend, x)  # type: ignore[arg-type]

    def _attend(self, frame: Tensor) -> Tensor:
        rows, columns = frame.shape[-2:]
        qkv = self.qkv(self.norm(frame)).flatten(2).transpose(1, 2).unsqueeze(1)  # [B*T, 1, H*W, 3C]
        attended = F.scaled_dot_product_attention(*qkv.chunk(3, -1))
        return self.out(attended.squeeze(1).transpose(1, 2).unflatten(2, (rows, columns)))


class Downsample(nn.Module):
    """Halves rows and columns with a strided convolution, where asked, and frames with a second one."""

    def __init__(self, channels: int, halves_space: bool, halves_time: bool) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels, channels, 3, stride=2) if halves_space else None
        self.time = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if halves_time else None

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        if (space := self.space) is not None:
            x = per_frame(lambda f: space(F.pad(f, (0, 1, 0, 1))), x)  # type: ignore[arg-type]
        if self.time is None or cache is None:
            return x
        earlier = cache.last_frames(self)
        cache.remember(self, x[:, :, -1:])
        # The first frame keeps a token of its own; each later group starts from the frame before it.
        return x if earlier is None else self.time(torch.cat([earlier, x], 2))


class Upsample(nn.Module):
    """Doubles frames, then rows and columns, where asked: the mirror of `Downsample`."""

    def __init__(self, channels: int, doubles_space: bool, doubles_time: bool) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels, channels, 3, padding=1) if doubles_space else None
        self.time = CausalConv(channels, 2 * channels, 1, 3) if doubles_time else None
        self.started = nn.Identity()  # the key under which a clip's cache notes that its first frame has passed

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        if self.time is not None and cache is not None:
            if cache.last_frames(self.started) is None:
                cache.remember(self.started, x.new_empty(0))
            else:
                pairs = self.time(x, cache).unflatten(1, (2, -1))  # [B, 2, C, T, H, W]
                x = pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        if (space := self.space) is None:
            return x
        return per_frame(lambda f: space(F.interpolate(f, scale_factor=2.0, mode="nearest")), x)  # type: ignore[arg-type]


def fold_average(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    """Parameter-free shortcut of the encoder: blocks of positions become channels, which are averaged or repeated to `outputs`.

    time, space: sides of a block.
    """
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    batch, channels, frames, rows, columns = x.shape
    x = x.view(batch, channels, frames // time, time, rows // space, space, columns // space, space)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    if x.shape[1] < outputs:
        return x.repeat_interleave(outputs // x.shape[1], dim=1)
    return x.unflatten(1, (outputs, -1)).mean(2)


def average_frames(x: Tensor) -> Tensor:
    """Average neighbouring frames in pairs; a clip's first frame, which comes alone, stays as it is."""
    return x if x.shape[2] == 1 else x.unflatten(2, (-1, 2)).mean(3)


def unfold_repeat(x: Tensor, outputs: int, time: int, space: int, first: bool) -> Tensor:
    """Parameter-free shortcut of the decoder: channels are repeated and spread over blocks of positions.

    time, space: sides of a block.
    first: this is a clip's first frame, which stands for one frame and not for `time` of them.
    """
    x = x.repeat_interleave(outputs * time * space * space // x.shape[1], dim=1)
    x = x.unflatten(1, (outputs, time, space, space)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    x = x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return x[:, :, time - 1 :] if first else x


def space_to_depth(pixels: Tensor, patch: int) -> Tensor:
    """[B, C, T, H, W] -> [B, C*p*p, T, H/p, W/p]; of a square's pixels, columns come before rows."""
    batch, channels, frames, rows, columns = pixels.shape
    x = pixels.view(batch, channels, frames, rows // patch, patch, columns // patch, patch)
    return x.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    x = x.unflatten(1, (-1, patch, patch)).permute(0, 1, 4, 5, 3, 6, 2)
    return x.flatten(5, 6).flatten(3, 4)


def silu(x: Tensor) -> Tensor:
    """SiLU of what nothing else reads, in its own memory where no gradient needs it: new memory is slow to touch first."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y, in the memory of y, which nothing else reads, where no gradient needs it."""
    return x + y if torch.is_grad_enabled() or x.dtype != y.dtype else y.add_(x)


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, cache: TimeCache | None) -> Tensor:
    """Run a chain of layers that take (x, cache)."""
    for block in blocks:
        x = block(x, cache)
    return x
