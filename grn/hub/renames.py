"""The tables of renames: the authors' keys -> ours, one table a family, `#` standing for a number."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from grn.errors import ModelMismatchError
from grn.files import display
from grn.models.tensors import InPieces


@dataclass(frozen=True)
class Rule:
    """One line of a table: a layer with all its tensors (weight, bias), or a single tensor by its whole name.

    part: place among the tensors that are joined, along their first axis, to one of ours.
    reshape: from the published shape to ours.
    """

    published: str
    ours: str
    part: int = 0
    reshape: Callable[[Tensor], Tensor] | None = None


def _tokenizer_rules() -> Iterator[Rule]:
    yield Rule("conv1", "to_latent")
    yield Rule("conv2", "from_latent")
    flat = Tensor.flatten
    blocks = []
    for side, way in (("encoder", "downsamples"), ("decoder", "upsamples")):
        yield Rule(f"{side}.conv1", f"{side}.stem")
        yield Rule(f"{side}.head.0.gamma", f"{side}.head.norm.gain", reshape=flat)
        yield Rule(f"{side}.head.2", f"{side}.head.conv")
        yield Rule(f"{side}.middle.1.norm.gamma", f"{side}.middle.attention.norm.gain", reshape=flat)
        yield Rule(f"{side}.middle.1.to_qkv", f"{side}.middle.attention.qkv")
        yield Rule(f"{side}.middle.1.proj", f"{side}.middle.attention.out")
        # The change of size is numbered behind the stage's blocks.
        yield Rule(f"{side}.{way}.#.{way}.#.resample.1", f"{side}.stages.{{0}}.resample.space")
        yield Rule(f"{side}.{way}.#.{way}.#.time_conv", f"{side}.stages.{{0}}.resample.time")
        blocks += [
            (f"{side}.middle.0", f"{side}.middle.block_in"),
            (f"{side}.middle.2", f"{side}.middle.block_out"),
            (f"{side}.{way}.#.{way}.#", f"{side}.stages.{{0}}.blocks.{{1}}"),
        ]
    for published, ours in blocks:
        yield Rule(f"{published}.residual.0.gamma", f"{ours}.norm_in.gain", reshape=flat)
        yield Rule(f"{published}.residual.2", f"{ours}.conv_in")
        yield Rule(f"{published}.residual.3.gamma", f"{ours}.norm_out.gain", reshape=flat)
        yield Rule(f"{published}.residual.6", f"{ours}.conv_out")
        yield Rule(f"{published}.shortcut", f"{ours}.shortcut")


def _matrix(weight: Tensor) -> Tensor:
    """The weight of a 1x1 convolution as that of a linear layer."""
    return weight.flatten(1)


_CLASS_RULES = (
    Rule("x_embedder.proj1.weight", "squeeze.weight", reshape=_matrix),
    Rule("x_embedder.proj2.weight", "embed.weight", reshape=_matrix),
    Rule("x_embedder.proj2.bias", "embed.bias"),
    Rule("t_embedder.mlp.0", "ratio.inner"),
    Rule("t_embedder.mlp.2", "ratio.outer"),
    Rule("y_embedder.embedding_table", "classes"),
    Rule("in_context_posemb", "context_positions", reshape=lambda positions: positions.flatten(0, 1)),
    Rule("blocks.#.norm1", "blocks.{0}.attention_norm"),
    Rule("blocks.#.norm2", "blocks.{0}.mlp_norm"),
    Rule("blocks.#.adaLN_modulation.1", "blocks.{0}.modulation.linear"),
    Rule("blocks.#.attn.qkv", "blocks.{0}.attention.qkv"),
    Rule("blocks.#.attn.q_norm", "blocks.{0}.attention.query_norm"),
    Rule("blocks.#.attn.k_norm", "blocks.{0}.attention.key_norm"),
    Rule("blocks.#.attn.proj", "blocks.{0}.attention.out"),
    Rule("blocks.#.mlp.w12", "blocks.{0}.mlp.gate_up"),
    Rule("blocks.#.mlp.w3", "blocks.{0}.mlp.down"),
    Rule("final_layer.norm_final", "head_norm"),
    Rule("final_layer.adaLN_modulation.1", "head_modulation.linear"),
    Rule("final_layer.linear", "head"),
)
_BLOCK = "block_chunks.#.module.#"  # counted on over the chunks to one number, {0}
_KEYS_AND_VALUES = (f"{_BLOCK}.attn.k_proj", f"{_BLOCK}.attn.v_proj")
_TEXT_RULES = (
    Rule("word_embed", "embed"),
    Rule("text_proj", "text"),
    Rule("pt_embedder.mlp.0", "ratio.inner"),
    Rule("pt_embedder.mlp.2", "ratio.outer"),
    Rule(f"{_BLOCK}.input_layernorm", "blocks.{0}.attention_norm"),
    Rule(f"{_BLOCK}.post_attention_layernorm", "blocks.{0}.mlp_norm"),
    Rule(f"{_BLOCK}.attn.q_proj", "blocks.{0}.attention.qkv", 0),
    Rule(f"{_BLOCK}.attn.k_proj", "blocks.{0}.attention.qkv", 1),
    Rule(f"{_BLOCK}.attn.v_proj", "blocks.{0}.attention.qkv", 2),
    Rule(f"{_BLOCK}.attn.q_norm", "blocks.{0}.attention.query_norm"),
    Rule(f"{_BLOCK}.attn.k_norm", "blocks.{0}.attention.key_norm"),
    Rule(f"{_BLOCK}.attn.o_proj", "blocks.{0}.attention.out"),
    Rule(f"{_BLOCK}.mlp.gate_proj", "blocks.{0}.mlp.gate_up", 0),
    Rule(f"{_BLOCK}.mlp.up_proj", "blocks.{0}.mlp.gate_up", 1),
    Rule(f"{_BLOCK}.mlp.down_proj", "blocks.{0}.mlp.down"),
    Rule("head.norm", "head_norm"),
    Rule("head.proj", "head"),
)
_ATTENTION, _DENSE = "layer.0", "layer.1"  # what transformers calls the two halves of a block
_ENCODER_RULES = (
    Rule("token_embedding", "embed_tokens"),
    Rule("norm", "final_layer_norm"),
    Rule("blocks.#.norm1", f"block.{{0}}.{_ATTENTION}.layer_norm"),
    Rule("blocks.#.norm2", f"block.{{0}}.{_DENSE}.layer_norm"),
    *(Rule(f"blocks.#.attn.{x}", f"block.{{0}}.{_ATTENTION}.SelfAttention.{x}") for x in "qkvo"),
    Rule("blocks.#.pos_embedding.embedding", f"block.{{0}}.{_ATTENTION}.SelfAttention.relative_attention_bias"),
    Rule("blocks.#.ffn.gate.0", f"block.{{0}}.{_DENSE}.DenseReluDense.wi_0"),
    Rule("blocks.#.ffn.fc1", f"block.{{0}}.{_DENSE}.DenseReluDense.wi_1"),
    Rule("blocks.#.ffn.fc2", f"block.{{0}}.{_DENSE}.DenseReluDense.wo"),
)
RENAMES = {
    "tokenizer": tuple(_tokenizer_rules()),
    "class-to-image": _CLASS_RULES,
    "text-to-visual": _TEXT_RULES,
    "text-encoder": _ENCODER_RULES,
}


class Renamed(InPieces):
    """A published state under our names. Each tensor is taken from the state, reshaped and joined when asked for."""

    def __init__(self, state: Mapping[str, Tensor], parts: dict[str, dict[int, tuple[str, Rule]]]) -> None:
        self._state, self._parts = state, parts

    def pieces(self, name: str) -> Iterator[Tensor]:
        """What is joined to our tensor, in order."""
        for _, (key, rule) in sorted(self._parts[name].items()):
            tensor = self._state[key]
            yield tensor if rule.reshape is None else rule.reshape(tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def rename(family: str, state: Mapping[str, Tensor]) -> Renamed:
    """A published state dict under our names and in our shapes. ModelMismatchError names a key that the table lacks."""
    offsets = _chunk_offsets(state) if family == "text-to-visual" else {}
    shared = _shared_heads(state) if family == "text-to-visual" else None
    parts: dict[str, dict[int, tuple[str, Rule]]] = {}
    for key in state:
        known = key
        if family == "class-to-image":
            known = key.removeprefix("net.")
            if known == "pos_embed":  # fixed, and computed here
                continue
        for pattern, rule in _patterns(family):
            match = pattern.fullmatch(known)
            if match:
                numbers = [int(number) for number in match.groups()[:-1]]
                if rule.published.startswith(_BLOCK):
                    numbers = [offsets[numbers[0]] + numbers[1]]
                ours = rule.ours.format(*numbers) + match.groups()[-1]
                if shared is not None and rule.published in _KEYS_AND_VALUES:
                    rule = replace(rule, reshape=shared)
                parts.setdefault(ours, {})[rule.part] = (key, rule)
                break
        else:
            raise ModelMismatchError(f"key {display(key)} is in no published {family} file; give an unaltered file")
    return Renamed(state, parts)


def _shared_heads(state: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor] | None:
    """How keys and values that several heads share are given to each head, None where each has its own."""
    block = "block_chunks.0.module.0.attn"
    query, key, norm = (state.get(f"{block}.{name}.weight") for name in ("q_proj", "k_proj", "q_norm"))
    if query is None or key is None or norm is None or (query.ndim, key.ndim, norm.ndim) != (2, 2, 1):
        return None
    size, times = len(norm), len(query) // max(1, len(key))
    if times < 2 or len(query) != times * len(key) or not size or len(key) % size:
        return None
    return lambda weight: weight.unflatten(0, (-1, size)).repeat_interleave(times, 0).flatten(0, 1)


@cache
def _patterns(family: str) -> list[tuple[re.Pattern[str], Rule]]:
    """The rules as patterns, whose last group is what follows the renamed part: a tensor's own name, or nothing."""
    return [
        (re.compile(re.escape(r.published).replace(r"\#", r"(\d+)") + r"(|\.weight|\.bias)"), r)
        for r in RENAMES[family]
    ]


def _chunk_offsets(state: Mapping[str, Tensor]) -> dict[int, int]:
    """Number of the first block in each chunk."""
    blocks = {
        (int(m[1]), int(m[2])) for m in (re.match(r"block_chunks\.(\d+)\.module\.(\d+)\.", key) for key in state) if m
    }
    return {chunk: sum(1 for other, _ in blocks if other < chunk) for chunk, _ in blocks}
