"""The published text encoder's network, umT5's encoder, and its config."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

if TYPE_CHECKING:
    pass


class Umt5Config(BaseModel):
    """Dimensions of the encoder. The defaults are umT5-xxl's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(256384, ge=1, le=10**7, description="rows of the embedding")
    width: int = Field(4096, ge=1, le=65536, description="D")
    depth: int = Field(24, ge=1, le=1024)
    heads: int = Field(64, ge=1, le=1024)
    head_width: int = Field(64, ge=1, le=65536)
    hidden: int = Field(10240, ge=1, le=10**6, description="width inside the gated MLP")
    buckets: int = Field(32, ge=4, le=1024, description="of relative positions")
    distance: int = Field(128, ge=1, le=10**6, description="from which on all positions share the last bucket")

    @classmethod
    def tiny(cls) -> "Umt5Config":
        """A network small enough for tests."""
        return cls(vocabulary=64, width=24, depth=2, heads=3, head_width=4, hidden=40, buckets=8, distance=16)


def encoder_network(config: Umt5Config) -> nn.Module:
    """transformers' network of these dimensions: token numbers [B, L] -> `.last_hidden_state` [B, L, D]."""
    from transformers import UMT5Config, UMT5EncoderModel

    made: Any = UMT5EncoderModel(
        UMT5Config(
            vocab_size=config.vocabulary,
            d_model=config.width,
            d_kv=config.head_width,
            d_ff=config.hidden,
            num_layers=config.depth,
            num_heads=config.heads,
            relative_attention_num_buckets=config.buckets,
            relative_attention_max_distance=config.distance,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    network: nn.Module = made.encoder
    return network
