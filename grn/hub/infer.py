"""What a published state dict is: which family of networks it belongs to, and its dimensions, by its keys and shapes."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from grn.errors import ModelMismatchError, UndecidedError
from grn.files import display
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import sincos_positions
from grn.networks.generator_config import ClassToImageConfig, TextAttention, TextToVisualConfig
from grn.networks.presets import PRESETS
from grn.networks.umt5 import Umt5Config
from grn.validation import describe

NetworkConfig = TokenizerConfig | ClassToImageConfig | TextToVisualConfig | Umt5Config
PUBLISHED_ROUNDS = 4
PUBLISHED_CHANNELS = (16, 64)
_MARKS = {
    "tokenizer": ("encoder.conv1.weight", "decoder.conv1.weight", "conv2.weight"),
    "class-to-image": ("x_embedder.proj1.weight", "y_embedder.embedding_table.weight", "pos_embed"),
    "text-to-visual": ("word_embed.weight", "text_proj.weight", "pt_embedder.mlp.0.weight"),
    "text-encoder": ("token_embedding.weight", "blocks.0.pos_embedding.embedding.weight", "norm.weight"),
}


def recognise(state: Mapping[str, Any]) -> str:
    """Tell the family (a config's kind) of a published state dict by its keys."""
    keys = {str(key).removeprefix("net.") for key in state}
    for family, marks in _MARKS.items():
        if keys.issuperset(marks):
            return family
    shown = ", ".join(sorted(map(str, state))[:3]) or "no keys at all"
    raise ModelMismatchError(
        f"not one of the authors' published files (its keys begin {display(shown)}); give one of those"
    )


def infer_config(
    family: str,
    state: Mapping[str, Tensor],
    channels: int | None = None,
    rounds: int = PUBLISHED_ROUNDS,
    context_start: int | None = None,
    text_attention: TextAttention = "one-way",
) -> NetworkConfig:
    """Infer the dimensions of a published state dict from its shapes.

    channels (of a generator), rounds, context_start and text_attention are not in the shapes: by default they are as
    published, and UndecidedError where that does not tell. Raises ModelMismatchError where a key is missing or no
    network has such shapes.
    """
    try:
        if family == "tokenizer":
            return TokenizerConfig(rounds=rounds, **_tokenizer_sizes(state))
        if family == "text-encoder":
            return Umt5Config(**_encoder_sizes(state))
        state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
        if family == "class-to-image":
            return ClassToImageConfig(
                **_class_sizes(state, context_start), **_token_map(state, "final_layer.linear", channels, rounds)
            )
        return TextToVisualConfig(
            **_text_sizes(state), **_token_map(state, "head.proj", channels, rounds), text_attention=text_attention
        )
    except KeyError as error:
        raise ModelMismatchError(f"key {error} is missing from this {family} file; give an unaltered file") from None
    except ValidationError as error:
        raise ModelMismatchError(
            f"no {family} network has these shapes ({describe(error)}); give an unaltered file"
        ) from error
    except (ValueError, IndexError, ArithmeticError) as error:
        raise ModelMismatchError(f"no {family} network has such shapes; give an unaltered file") from error


def _tokenizer_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stem = state["encoder.conv1.weight"]
    width = stem.shape[0]
    stages = 1 + max(int(m[1]) for m in (re.match(r"encoder\.downsamples\.(\d+)\.", key) for key in state) if m)
    first = [f"encoder.downsamples.{stage}.downsamples.0.residual.2.weight" for stage in range(stages)]
    multipliers = [state[key].shape[0] // width for key in first]

    def count(pattern: str) -> int:
        return sum(1 for key in state if re.fullmatch(pattern, key))

    return {
        "channels": state["conv2.weight"].shape[0],
        "encoder_width": width,
        "decoder_width": state["decoder.head.0.gamma"].numel() // max(1, multipliers[0]),
        "multipliers": multipliers,
        "encoder_blocks": count(r"encoder\.downsamples\.0\.downsamples\.\d+\.residual\.2\.weight"),
        "decoder_blocks": count(r"decoder\.upsamples\.0\.upsamples\.\d+\.residual\.2\.weight"),
        "patch": math.isqrt(stem.shape[1] // 3),
        "halves_time": [
            count(rf"encoder\.downsamples\.{stage}\.downsamples\.\d+\.time_conv\.weight") > 0
            for stage in range(stages - 1)
        ],
        "time_kernel": stem.shape[2],
        "attention": "encoder.middle.1.to_qkv.weight" in state,
    }


def _depth(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({m[0] for m in (re.match(pattern, key) for key in state) if m})


def _class_sizes(state: Mapping[str, Tensor], context_start: int | None) -> dict[str, Any]:
    classes, width = state["y_embedder.embedding_table.weight"].shape
    depth = _depth(state, r"blocks\.\d+\.")
    if context_start is None:
        # The first block that sees the context tokens leaves no trace in the shapes.
        starts = {c.depth: c.context_start for c in PRESETS.values() if isinstance(c, ClassToImageConfig)}
        if depth not in starts:
            raise UndecidedError(
                f"no published class-to-image network has {depth} blocks; it is not known where its context tokens join",
                "context_start",
            )
        context_start = starts[depth]
    positions = state["pos_embed"]
    size = math.isqrt(positions.shape[1])
    expected = sincos_positions(size, width)[None]
    if positions.shape != expected.shape or (positions.float() - expected).abs().max() > 1e-2:
        raise ModelMismatchError("pos_embed holds other positions than the published ones; give an unaltered file")
    return {
        "width": width,
        "depth": depth,
        "heads": width // state["blocks.0.attn.q_norm.weight"].shape[0],
        "num_classes": classes - 1,
        "size": size,
        "bottleneck": state["x_embedder.proj1.weight"].shape[0],
        "context_tokens": state["in_context_posemb"].shape[1],
        "context_start": context_start,
    }


def _text_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, text_width = state["text_proj.weight"].shape
    hidden = state["block_chunks.0.module.0.mlp.gate_proj.weight"].shape[0]
    ratio = TextToVisualConfig.model_fields["mlp_ratio"].default
    return {
        "width": width,
        "depth": _depth(state, r"block_chunks\.\d+\.module\.\d+\."),
        "heads": width // state["block_chunks.0.module.0.attn.q_norm.weight"].shape[0],
        "text_width": text_width,
        "mlp_ratio": ratio if max(1, round(ratio * width / 256)) * 256 == hidden else hidden / width,
    }


def _encoder_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    vocabulary, width = state["token_embedding.weight"].shape
    buckets, heads = state["blocks.0.pos_embedding.embedding.weight"].shape
    return {
        "vocabulary": vocabulary,
        "width": width,
        "depth": _depth(state, r"blocks\.\d+\."),
        "heads": heads,
        "head_width": state["blocks.0.attn.q.weight"].shape[0] // heads,
        "hidden": state["blocks.0.ffn.fc1.weight"].shape[0],
        "buckets": buckets,
    }


def _token_map(state: Mapping[str, Tensor], head: str, channels: int | None, rounds: int) -> dict[str, Any]:
    """Target and channels from the size of a token's logits: C * 2^M for indices, 2 * M * C for bits."""
    logits = state[f"{head}.weight"].shape[0]
    for candidate in PUBLISHED_CHANNELS if channels is None else (channels,):
        for target, size in (("ind", candidate * 2**rounds), ("bit", 2 * rounds * candidate)):
            if logits == size:
                return {"target": target, "channels": candidate, "rounds": rounds}
    tried = " or ".join(map(str, PUBLISHED_CHANNELS if channels is None else (channels,)))
    raise UndecidedError(
        f"{head} makes {logits} logits a token, which {tried} channels of {rounds} rounds do not", "channels"
    )
