"""Sizes of the autoencoder; what a tokenizer's config.json and the recipes hold."""

import itertools

from pydantic import BaseModel, ConfigDict, Field, model_validator

from grn.hbq import MAX_ROUNDS


class TokenizerConfig(BaseModel):
    """Dimensions of the 3D causal autoencoder. The defaults are the published image tokenizer's.

    Space shrinks by `patch`, then by 2 after each stage that `halves_space` marks; time by 2 after each that
    `halves_time` marks.
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
    halves_space: tuple[bool, ...] | None = Field(
        None, description="for each of the stages but the last; left out, all of them"
    )
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
        for name, halvings in (("halves_time", self.halves_time), ("halves_space", self.space_halvings)):
            if len(halvings) != len(self.multipliers) - 1:
                raise ValueError(
                    f"{name} has {len(halvings)} entries and multipliers {len(self.multipliers)}: "
                    "there must be one fewer, one for each step between stages"
                )
        if self.halves_space is not None and not all(map(any, self.halvings)):
            raise ValueError("between two stages, halves_space or halves_time must be true: more blocks do for neither")
        if any(m < 1 for m in self.multipliers):
            raise ValueError(f"multipliers must be positive, found {list(self.multipliers)}")
        widths = [1, *self.multipliers]
        for j, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            space, time = self.halvings[j] if j < len(self.halvings) else (False, False)
            halved = 2 ** (2 * space + (time and self.folds_time))
            folds = not (inputs * halved % outputs and outputs % (inputs * halved))
            if not folds or outputs * halved % inputs:
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
    def space_halvings(self) -> tuple[bool, ...]:
        """Whether rows and columns are halved after each of the stages but the last."""
        return (True,) * (len(self.multipliers) - 1) if self.halves_space is None else self.halves_space

    @property
    def halvings(self) -> list[tuple[bool, bool]]:
        """(of space, of time) after each of the stages but the last."""
        return list(zip(self.space_halvings, self.halves_time, strict=True))

    @property
    def stride(self) -> int:
        """Pixels a side that one token covers."""
        return self.patch * 2 ** sum(self.space_halvings)

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
        # Each 3x3 convolution looks one position further: the one at the end, two a block, and one where space is halved,
        # which stands at the finer resolution. A position is `side` of the finest ones wide.
        reach, side = 1, 1
        for halved in self.space_halvings:
            reach += side * (2 * blocks + halved)
            side *= 1 + halved
        return -(-reach // side)

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
