"""Sizes of the two generator families; what a generator's config.json and the recipes hold."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from grn.hbq import MAX_ROUNDS, bits_to_indices, indices_to_bits

Target = Literal["ind", "bit", "flip"]
TextAttention = Literal["joint", "one-way"]


class TokenMapConfig(BaseModel):
    """What every generator needs to know of the token maps that it predicts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target = Field("ind", description="indices (GRN_ind), bits (GRN_bit), or which bits of the state are wrong")
    channels: int = Field(16, ge=1, le=4096, description="latent channels C")
    rounds: int = Field(4, ge=1, le=MAX_ROUNDS, description="rounds M")
    width: int = Field(ge=1, le=65536, description="channels of a token inside the network")
    depth: int = Field(ge=1, le=1024, description="number of blocks")
    heads: int = Field(ge=1, le=1024, description="attention heads of a block")
    patch: int = Field(1, ge=1, le=8, description="side of the square of tokens that share one place in the sequence")

    @property
    def elements(self) -> int:
        """Elements E of one token: C indices or M*C bits."""
        return self.channels * (self.rounds if self.target != "ind" else 1)

    @property
    def classes(self) -> int:
        """Classes K of one element: 2^M for indices, 2 for bits."""
        return 2 if self.target != "ind" else 2**self.rounds

    def indices_to_elements(self, indices: Tensor) -> Tensor:
        """Indices int64 [..., C] as elements [..., E]."""
        return indices if self.target == "ind" else indices_to_bits(indices, self.rounds, dim=-1)

    def elements_to_indices(self, elements: Tensor) -> Tensor:
        """Elements int64 [..., E] as indices [..., C]; masked elements (-1) count as 0."""
        elements = elements.clamp_min(0)
        return elements if self.target == "ind" else bits_to_indices(elements, self.rounds, dim=-1)

    def _check_heads(self, divisor: int) -> None:
        if self.width % self.heads or self.width // self.heads % divisor:
            raise ValueError(
                f"width {self.width} does not give each of {self.heads} heads a multiple of {divisor} channels"
            )
        if self.target == "ind" and self.rounds > 8:
            raise ValueError(
                f"target ind at {self.rounds} rounds means {2**self.rounds} classes an element; "
                "use target bit above 8 rounds"
            )


class ClassToImageConfig(TokenMapConfig):
    """The class-to-image network."""

    kind: Literal["class-to-image"] = Field("class-to-image", description="the family")
    num_classes: int = Field(1000, ge=1, le=10**6, description="number of classes")
    size: int = Field(16, ge=1, le=1024, description="tokens a side of the map")
    bottleneck: int = Field(128, ge=1, le=65536, description="channels that a token is embedded through")
    context_tokens: int = Field(32, ge=0, le=1024, description="copies of the class embedding before the image tokens")
    context_start: int = Field(4, ge=0, description="block that they join at")

    @model_validator(mode="after")
    def _check(self) -> "ClassToImageConfig":
        self._check_heads(4)
        if self.width % 4:
            raise ValueError(f"width {self.width} is not a multiple of 4, which the 2-D positions need")
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of patch {self.patch}")
        return self

    @property
    def side(self) -> int:
        """Places a side of the map."""
        return self.size // self.patch

    def places(self, shape: tuple[int, int, int], text: int) -> int:
        """How many tokens the sequence of one map (t, h, w) has while only image tokens are in it; text: none is."""
        return math.prod(shape) // self.patch**2

    @classmethod
    def tiny(cls, target: Target = "ind", patch: int = 1) -> "ClassToImageConfig":
        """A network small enough for tests."""
        return cls(
            target=target, channels=4, rounds=2, width=32, depth=2, heads=2, num_classes=5, size=4, bottleneck=8,
            context_tokens=3, context_start=1, patch=patch,
        )  # fmt: skip


class TextToVisualConfig(TokenMapConfig):
    """The text-to-image and text-to-video network."""

    kind: Literal["text-to-visual"] = Field("text-to-visual", description="the family")
    text_width: int = Field(4096, ge=1, le=65536, description="channels of the text encoder's tokens")
    mlp_ratio: float = Field(3.55, gt=0, le=64, description="hidden over width, rounded to multiples of 256")
    text_attention: TextAttention = Field(
        "one-way",
        description="whether text tokens attend to the picture too (joint), or to each other only and are computed once",
    )
    head_width: int = Field(
        0,
        ge=0,
        le=65536,
        description="channels of a hidden layer before the logits, for many tokens in a place; 0: none",
    )

    @model_validator(mode="after")
    def _check(self) -> "TextToVisualConfig":
        self._check_heads(2)
        return self

    def places(self, shape: tuple[int, int, int], text: int) -> int:
        """How many tokens the sequence of one map (t, h, w) has: its own, the ratio's, and with joint attention those of the text."""
        return math.prod(shape) // self.patch**2 + 1 + (text if self.text_attention == "joint" else 0)

    @property
    def hidden(self) -> int:
        """Width inside the MLP."""
        return max(1, round(self.mlp_ratio * self.width / 256)) * 256

    @classmethod
    def tiny(
        cls, target: Target = "bit", patch: int = 1, text_attention: TextAttention = "one-way"
    ) -> "TextToVisualConfig":
        """A network small enough for tests."""
        return cls(
            target=target, channels=4, rounds=2, width=32, depth=2, heads=2, text_width=6, patch=patch,
            text_attention=text_attention,
        )  # fmt: skip
