"""Sizes of the autoencoder; what a tokenizer's config.json and the recipes hold."""

import itertools

from pydantic import BaseModel, ConfigDict, Field, model_validator

from grn.hbq import MAX_ROUNDS


class TokenizerConfig(BaseModel):
    """Dimensions of the 3D causal autoencoder. The defaults are the published image tokenizer's.

    Space shrinks by `patch`, then by 2 between neighbouring stages; time by 2 after each stage that `halves_time`
    marks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(16, ge=1, le=4096, description="latent channels C")
    rounds: int = Field(4, ge=1, le=MAX_ROUNDS, description="rounds M used where the caller names none")
    encoder_width: int = Field(160, ge=1, le=65536, description="channels of the encoder's first stage")
    decoder_width: int = Field(256, ge=1, le=65536, description="channels of the decoder's last stage")
    multipliers: tuple[int, ...] = Field(
        (1, 2, 4, 4), min_length=1, max_length=8, description="widths of the stages, in those of the first"
    )
    encoder_blocks: int = Field(2, ge=1, le=64, description="residual blocks in each encoder stage")
    decoder_blocks: int = Field(3, ge=1, le=64, description="residual blocks in each decoder stage")
    patch: int = Field(2, ge=1, le=16, description="side of the space-to-depth square on the way in")
    halves_time: tuple[bool, ...] = Field((False, True, True), description="for each of the stages but the last")
    time_kernel: int = Field(
        3, ge=1, le=3, description="3: convolutions see two earlier frames; 1: every frame stands alone"
    )
    factors_time: bool = Field(
        False, description="residual blocks see earlier frames in a third, pointwise convolution; the others only space"
    )
    folds_time: bool = Field(
        True, description="shortcuts fold time into channels, as published; else they average and repeat frames"
    )
    attention: bool = Field(True, description="spatial attention between the middle blocks")

    @model_validator(mode="after")
    def _check_stages(self) -> "TokenizerConfig":
        if len(self.halves_time) != len(self.multipliers) - 1:
            raise ValueError(
                f"halves_time has {len(self.halves_time)} entries and multipliers {len(self.multipliers)}: "
                "there must be one fewer, one for each step between stages"
            )
        if any(m < 1 for m in self.multipliers):
            raise ValueError(f"multipliers must be positive, found {list(self.multipliers)}")
        widths = [1, *self.multipliers]
        for j, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            folded = self.folds_time and j < len(self.halves_time) and self.halves_time[j]
            halved = 2 ** (2 + folded) if j < len(self.halves_time) else 1
            if inputs * halved % outputs or outputs * halved % inputs:
                raise ValueError(
                    f"multipliers {list(self.multipliers)}: the shortcut of stage {j + 1} cannot fold "
                    f"{inputs} into {outputs} widths; use neighbours that divide each other"
                )
        if self.time_kernel == 2:
            raise ValueError("time_kernel must be 1 or 3, found 2")
        if self.time_kernel == 1 and (any(self.halves_time) or self.factors_time):
            named = "factors_time" if self.factors_time else "halves_time"
            raise ValueError(f"{named} needs time_kernel = 3: with 1 every frame stands alone")
        return self

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def time_stride(self) -> int:
        """Frames that one token covers, after the first frame, which has a token of its own."""
        return 2 ** sum(self.halves_time)

    def token_frames(self, frames: int) -> int:
        """Frames t of the token map of a clip of T `frames`, the last one maybe for fewer frames than it could cover."""
        return 1 + -(-(frames - 1) // self.time_stride)

    def pixel_frames(self, token_frames: int) -> int:
        """Frames T that a token map of t frames decodes to."""
        return 1 + (token_frames - 1) * self.time_stride

    def whole_frames(self, frames: int) -> int:
        """How many of a clip's first `frames` fill whole tokens; all of them where 1 + n * time stride."""
        return frames - (frames - 1) % self.time_stride

    def map_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """(t, h, w) of the token map of a clip of so many frames and pixels, which is padded to whole tokens."""
        return self.token_frames(frames), -(-height // self.stride), -(-width // self.stride)

    @property
    def encoder_margin(self) -> int:
        """Tokens on each side of its own in whose pixels the encoder looks, on its way to the resolution of tokens."""
        return self._margin(self.encoder_blocks)

    @property
    def decoder_margin(self) -> int:
        """Tokens on each side of its own at which the decoder looks for their pixels, from that resolution on."""
        return self._margin(self.decoder_blocks)

    def _margin(self, blocks: int) -> int:
        # Each 3x3 convolution looks one position further: the one at the end, two a block, and one between two stages,
        # which stands at the finer resolution. Positions of stage j are 2^j of the finest ones wide.
        steps = len(self.multipliers) - 1
        reach = 1 + sum(2**j * (2 * blocks + 1) for j in range(steps))
        return -(-reach // 2**steps)

    @property
    def time_kernels(self) -> tuple[int, int]:
        """Taps in time of the convolutions over space, and of the pointwise one that follows them in a residual block; 1: none."""
        return (1, self.time_kernel) if self.factors_time else (self.time_kernel, 1)

    @classmethod
    def tiny(cls) -> "TokenizerConfig":
        """A network small enough for tests; strides 16 and 4 like the published one."""
        return cls(
            channels=4, encoder_width=8, decoder_width=12, multipliers=(1, 2, 2, 2), encoder_blocks=1, decoder_blocks=2
        )
