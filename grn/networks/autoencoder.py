"""The 3D causal autoencoder (section 3.1): pixels <-> features.

Axes
    pixels    float [B, 3, T, H, W] in [-1, 1], H and W multiples of the stride, T = 1 + n * time stride
    features  float [B, C, t, h, w] in (-1, 1): h = H / stride, w = W / stride, t = 1 + n

A clip goes through as its first frame, then `time_stride` frames (one token frame) at a time, with a `TimeCache`
between them. An image is a first frame with nothing to remember.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import (
    CausalConv,
    ChannelNorm,
    Downsample,
    FrameAttention,
    ResidualBlock,
    TimeCache,
    Upsample,
    add,
    average_frames,
    depth_to_space,
    fold_average,
    run_blocks,
    silu,
    space_to_depth,
    unfold_repeat,
)


class _Stage(nn.Module):
    """Residual blocks and a change of scale by 2: of space, of time, of both or of neither."""

    Resample: type[Downsample] | type[Upsample]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        kernels: tuple[int, int],
        scales: tuple[bool, bool],
        folds_time: bool,
    ) -> None:
        super().__init__()
        scales_space, scales_time = scales
        self.outputs, self.time, self.space = outputs, 2 if scales_time else 1, 2 if scales_space else 1
        self.folds_time = folds_time
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs if j == 0 else outputs, outputs, kernels) for j in range(blocks)
        )
        self.resample = self.Resample(outputs, scales_space, scales_time) if any(scales) else None


class EncoderStage(_Stage):
    """Residual blocks and a halving, with the folded average of the input added."""

    Resample = Downsample

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        shortcut = fold_average(x, self.outputs, self.time if self.folds_time else 1, self.space)
        if self.time == 2 and not self.folds_time:
            shortcut = average_frames(shortcut)
        x = run_blocks(self.blocks, x, cache)
        if self.resample is not None:
            x = self.resample(x, cache)
        return x + shortcut  # not in its memory: a halving may remember its last frame


class DecoderStage(_Stage):
    """Residual blocks and a doubling, with the input, spread out, added."""

    Resample = Upsample

    def forward(self, x: Tensor, cache: TimeCache | None, first: bool) -> Tensor:
        return self.finish(x, run_blocks(self.blocks, x, cache), cache, first)

    def finish(self, x: Tensor, y: Tensor, cache: TimeCache | None, first: bool) -> Tensor:
        """The doubling of y, which the blocks have made of x."""
        if self.resample is None:
            return y
        shortcut = unfold_repeat(x, self.outputs, self.time if self.folds_time else 1, self.space, first)
        if self.time == 2 and not self.folds_time and not first:
            shortcut = shortcut.repeat_interleave(2, 2)
        grown = self.resample(y, cache)
        if grown is y:  # a first frame where time alone is doubled; tiles are windows on one y
            return shortcut + y
        return add(shortcut, grown)


class Middle(nn.Module):
    """Two residual blocks around one attention within each frame."""

    def __init__(self, width: int, kernels: tuple[int, int], attention: bool) -> None:
        super().__init__()
        self.block_in = ResidualBlock(width, width, kernels)
        self.attention = FrameAttention(width) if attention else None
        self.block_out = ResidualBlock(width, width, kernels)

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        x = self.block_in(x, cache)
        if self.attention is not None:
            x = self.attention(x)
        return self.block_out(x, cache)


class Head(nn.Module):
    """Norm, SiLU and the convolution to the output channels."""

    def __init__(self, width: int, outputs: int, time_kernel: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv = CausalConv(width, outputs, 3, time_kernel)

    def forward(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        return self.conv(silu(self.norm(x)), cache)


class Encoder(nn.Module):
    """Space-to-depth pixels -> 2C channels, of which the first C become the feature."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        kernels, widths = config.time_kernels, [config.encoder_width * m for m in config.multipliers]
        self.stem = CausalConv(3 * config.patch**2, config.encoder_width, 3, kernels[0])
        halvings = [*config.halvings, (False, False)]
        self.stages = nn.ModuleList(
            EncoderStage(inputs, outputs, config.encoder_blocks, kernels, halving, config.folds_time)
            for inputs, outputs, halving in zip([config.encoder_width, *widths], widths, halvings, strict=False)
        )
        self.middle = Middle(widths[-1], kernels, config.attention)
        self.head = Head(widths[-1], 2 * config.channels, kernels[0])

    def shrink(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        """Down to the resolution of tokens. Each sees the pixels of `encoder_margin` tokens around its own."""
        return run_blocks(self.stages[:-1], self.stem(x, cache), cache)

    def conclude(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        """What follows at the resolution of tokens, where attention sees the whole frame."""
        return self.head(self.middle(self.stages[-1](x, cache), cache), cache)


class Decoder(nn.Module):
    """Features -> space-to-depth pixels."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        kernels, widths = config.time_kernels, [config.decoder_width * m for m in reversed(config.multipliers)]
        self.stem = CausalConv(config.channels, widths[0], 3, kernels[0])
        self.middle = Middle(widths[0], kernels, config.attention)
        doublings = [*reversed(config.halvings), (False, False)]
        self.stages = nn.ModuleList(
            DecoderStage(inputs, outputs, config.decoder_blocks, kernels, doubling, config.folds_time)
            for inputs, outputs, doubling in zip([widths[0], *widths], widths, doublings, strict=False)
        )
        self.head = Head(widths[-1], 3 * config.patch**2, kernels[0])

    @property
    def _opening(self) -> DecoderStage:
        return cast(DecoderStage, self.stages[0])

    def begin(self, x: Tensor, cache: TimeCache | None) -> tuple[Tensor, Tensor]:
        """What comes first at the resolution of tokens, where attention sees the whole frame: what goes into the first
        stage and what its blocks make of it.
        """
        x = self.middle(self.stem(x, cache), cache)
        return x, run_blocks(self._opening.blocks, x, cache)

    def grow(self, started: tuple[Tensor, Tensor], cache: TimeCache | None, first: bool) -> Tensor:
        """Up to the resolution of pixels. Each sees the `decoder_margin` tokens around its own."""
        x = self._opening.finish(*started, cache, first)
        for stage in self.stages[1:]:
            x = stage(x, cache, first)
        return self.head(x, cache)


class CausalAutoencoder(nn.Module):
    """Pixels -> features -> pixels. Between the two, HBQ makes the features discrete (`grn.hbq`)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.to_latent = CausalConv(2 * config.channels, 2 * config.channels, 1, 1)
        self.from_latent = CausalConv(config.channels, config.channels, 1, 1)
        self.decoder = Decoder(config)

    def lay_out(self) -> "CausalAutoencoder":
        """Lay the weights out in memory for inference in their present type, best while they are on the meta device; itself.

        In 16 bits channels stand side by side, as the units that multiply such matrices read them. In float32 either
        layout is as fast on a processor, and the encoder stays as it is: codes depend on how its sums are rounded.
        """
        wide = self.to_latent.weight.dtype.itemsize > 2
        memory_format = torch.contiguous_format if wide else torch.channels_last
        for module in self.decoder.modules() if wide else self.modules():
            if isinstance(module, CausalConv):
                module.lay_out(memory_format)
            elif isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=memory_format)
        return self

    def encode_group(self, pixels: Tensor, cache: TimeCache | None = None) -> Tensor:
        """The next frames of a clip -> one frame of features [B, C, 1, h, w].

        pixels: first a clip's first frame, then `time_stride` frames a call.
        cache: the clip's, new and empty at its first frame; None for an image.
        """
        return self.conclude(self.shrink(pixels, cache), cache)

    def decode_group(self, features: Tensor, cache: TimeCache | None = None, first: bool = True) -> Tensor:
        """The next frame of features -> its pixels: one frame where `first`, else `time_stride` frames."""
        return self.grow(self.begin(features, cache), cache, first)

    def shrink(self, pixels: Tensor, cache: TimeCache | None) -> Tensor:
        """First half of `encode_group`, from pixels to the resolution of tokens [B, C', 1, h, w]: local, so that a large
        picture can pass in tiles (`grn.networks.tiles`).
        """
        return self.encoder.shrink(space_to_depth(pixels, self.config.patch), cache)

    def conclude(self, x: Tensor, cache: TimeCache | None) -> Tensor:
        """Second half of `encode_group`, at the resolution of tokens."""
        x = self.to_latent(self.encoder.conclude(x, cache), None)
        return torch.tanh(x[:, : self.config.channels])

    def begin(self, features: Tensor, cache: TimeCache | None) -> tuple[Tensor, Tensor]:
        """First half of `decode_group`, at the resolution of tokens."""
        return self.decoder.begin(self.from_latent(features, None), cache)

    def grow(self, started: tuple[Tensor, Tensor], cache: TimeCache | None, first: bool) -> Tensor:
        """Second half of `decode_group`, from the resolution of tokens to pixels: local, as `shrink` is."""
        return depth_to_space(self.decoder.grow(started, cache, first), self.config.patch)

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, T, H, W] in [-1, 1] -> features [B, C, t, h, w] in (-1, 1)."""
        if pixels.shape[2] == 1:
            return self.encode_group(pixels)
        cache = TimeCache()
        return torch.cat([self.encode_group(group, cache) for group in self._groups(pixels)], 2)

    def decode(self, features: Tensor) -> Tensor:
        """features [B, C, t, h, w] -> pixels [B, 3, T, H, W], about [-1, 1] but not clipped to it."""
        if features.shape[2] == 1:
            return self.decode_group(features)
        cache = TimeCache()
        frames = features.split(1, 2)
        return torch.cat([self.decode_group(frame, cache, i == 0) for i, frame in enumerate(frames)], 2)

    def _groups(self, pixels: Tensor) -> Iterator[Tensor]:
        step, frames = self.config.time_stride, pixels.shape[2]
        assert self.config.whole_frames(frames) == frames, f"{frames} frames are not 1 + n * {step}"
        yield pixels[:, :, :1]
        yield from pixels[:, :, 1:].split(step, 2)
