"""The authors' published weights -> model folders.

Each family has one table of renames: published key -> our key, `#` standing for a number. A published checkpoint is a
pickle, read with weights_only=True: tensors, containers and numbers, no code.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from grn.errors import ConfigError, EnvironmentFaultError, ModelMismatchError
from grn.files import display
from grn.generator.class_to_image import ClassToImage, sincos_positions
from grn.generator.config import ClassToImageConfig, TextToVisualConfig
from grn.generator.presets import PRESETS
from grn.generator.text_to_visual import TextToVisual
from grn.models import registry, store
from grn.models.tensors import compare, summary
from grn.tokenizer.config import TokenizerConfig
from grn.tokenizer.network import CausalAutoencoder
from grn.validation import describe

NetworkConfig = TokenizerConfig | ClassToImageConfig | TextToVisualConfig
NETWORKS: dict[str, Callable[[Any], nn.Module]] = {
    "tokenizer": CausalAutoencoder,
    "class-to-image": ClassToImage,
    "text-to-visual": TextToVisual,
}
PUBLISHED_ROUNDS = 4
PUBLISHED_CHANNELS = (16, 64)


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
RENAMES = {"tokenizer": tuple(_tokenizer_rules()), "class-to-image": _CLASS_RULES, "text-to-visual": _TEXT_RULES}
_MARKS = {
    "tokenizer": ("encoder.conv1.weight", "decoder.conv1.weight", "conv2.weight"),
    "class-to-image": ("x_embedder.proj1.weight", "y_embedder.embedding_table.weight", "pos_embed"),
    "text-to-visual": ("word_embed.weight", "text_proj.weight", "pt_embedder.mlp.0.weight"),
}


class Renamed(Mapping[str, Tensor]):
    """A published state under our names. What is joined from several tensors is made when asked for and not kept."""

    def __init__(self, parts: dict[str, dict[int, tuple[Tensor, Rule]]]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Tensor:
        parts = self._parts[name]
        tensors = [
            tensor if rule.reshape is None else rule.reshape(tensor) for _, (tensor, rule) in sorted(parts.items())
        ]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def recognise(state: Mapping[str, Any]) -> str:
    """The family ("tokenizer", "class-to-image" or "text-to-visual") of a published state dict, by its keys."""
    keys = {str(key).removeprefix("net.") for key in state}
    for family, marks in _MARKS.items():
        if keys.issuperset(marks):
            return family
    shown = ", ".join(sorted(map(str, state))[:3]) or "no keys at all"
    raise ModelMismatchError(
        f"not one of the authors' published files (its keys begin {display(shown)}); give one of those"
    )


def rename(family: str, state: Mapping[str, Tensor]) -> Renamed:
    """A published state dict under our names and in our shapes. ModelMismatchError names a key that the table lacks."""
    if family == "class-to-image":
        state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
        state.pop("pos_embed", None)
    offsets = _chunk_offsets(state) if family == "text-to-visual" else {}
    parts: dict[str, dict[int, tuple[Tensor, Rule]]] = {}
    for key, tensor in state.items():
        for pattern, rule in _patterns(family):
            match = pattern.fullmatch(key)
            if match:
                numbers = [int(number) for number in match.groups()[:-1]]
                if rule.published.startswith(_BLOCK):
                    numbers = [offsets[numbers[0]] + numbers[1]]
                ours = rule.ours.format(*numbers) + match.groups()[-1]
                parts.setdefault(ours, {})[rule.part] = (tensor, rule)
                break
        else:
            raise ModelMismatchError(f"key {display(key)} is in no published {family} file; give an unaltered file")
    return Renamed(parts)


@cache
def _patterns(family: str) -> list[tuple[re.Pattern[str], Rule]]:
    """The rules as patterns, whose last group is what follows the renamed part: a tensor's own name, or nothing."""
    return [
        (re.compile(re.escape(r.published).replace(r"\#", r"(\d+)") + r"(|\.weight|\.bias)"), r)
        for r in RENAMES[family]
    ]


def _chunk_offsets(state: Mapping[str, Any]) -> dict[int, int]:
    """Number of the first block in each chunk."""
    blocks = {
        (int(m[1]), int(m[2])) for m in (re.match(r"block_chunks\.(\d+)\.module\.(\d+)\.", key) for key in state) if m
    }
    return {chunk: sum(1 for other, _ in blocks if other < chunk) for chunk, _ in blocks}


def infer_config(
    family: str,
    state: Mapping[str, Tensor],
    channels: int | None = None,
    rounds: int = PUBLISHED_ROUNDS,
    context_start: int | None = None,
) -> NetworkConfig:
    """The dimensions of a published state dict, from its shapes.

    channels (of a generator), rounds and context_start are not in the shapes: by default they are as published.
    Raises ModelMismatchError where a key is missing or no network has such shapes.
    """
    try:
        if family == "tokenizer":
            return TokenizerConfig(rounds=rounds, **_tokenizer_sizes(state))
        state = {key.removeprefix("net."): tensor for key, tensor in state.items()}
        if family == "class-to-image":
            return ClassToImageConfig(
                **_class_sizes(state, context_start), **_token_map(state, "final_layer.linear", channels, rounds)
            )
        return TextToVisualConfig(**_text_sizes(state), **_token_map(state, "head.proj", channels, rounds))
    except KeyError as error:
        raise ModelMismatchError(f"key {error} is missing from this {family} file; give an unaltered file") from None
    except ValidationError as error:
        raise ModelMismatchError(
            f"no {family} network has these shapes ({describe(error, ())}); give an unaltered file"
        ) from error


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
            raise ModelMismatchError(
                f"no published class-to-image network has {depth} blocks; say where its context tokens join"
            )
        context_start = starts[depth]
    positions = state["pos_embed"]
    size = math.isqrt(positions.shape[1])
    if size**2 != positions.shape[1] or (positions[0].float() - sincos_positions(size, width)).abs().max() > 1e-2:
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


def _token_map(state: Mapping[str, Tensor], head: str, channels: int | None, rounds: int) -> dict[str, Any]:
    """Target and channels from the size of a token's logits: C * 2^M for indices, 2 * M * C for bits."""
    logits = state[f"{head}.weight"].shape[0]
    for candidate in PUBLISHED_CHANNELS if channels is None else (channels,):
        for target, size in (("ind", candidate * 2**rounds), ("bit", 2 * rounds * candidate)):
            if logits == size:
                return {"target": target, "channels": candidate, "rounds": rounds}
    tried = " or ".join(map(str, PUBLISHED_CHANNELS if channels is None else (channels,)))
    raise ModelMismatchError(
        f"{head} makes {logits} logits a token, which {tried} channels of {rounds} rounds do not; say how many it has"
    )


def read_pickle(path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict in a published checkpoint and where in it: "ema", "model_ema1", ..., or "" for a plain one.

    Moving averages are preferred. Raises ModelMismatchError for a file that is damaged or holds anything but tensors.
    """
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the file"
        ) from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it would run {code[1]}" if code else "it is cut short, damaged or of another format"
        raise ModelMismatchError(f"{display(path)}: refused, {reason}; give a published file") from error
    where = next(
        (
            key
            for key in ("model_ema1", "ema", "model", "vae")
            if isinstance(tree, dict) and isinstance(tree.get(key), dict)
        ),
        "",
    )
    state = tree[where] if where else tree
    if not isinstance(state, dict):
        raise ModelMismatchError(
            f"{display(path)}: expected a state dict, found {type(state).__name__}; give a published file"
        )
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelMismatchError(
                f"{display(path)}: key {display(str(key))} holds {type(value).__name__}, not a tensor; "
                "give a published file"
            )
    return state, where


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:  # only the newer of torch's two layouts can be mapped
        return file.read(4) == b"PK\x03\x04"


def convert(
    path: Path,
    folder: Path,
    name: str,
    channels: int | None = None,
    rounds: int = PUBLISHED_ROUNDS,
    context_start: int | None = None,
) -> tuple[str, str]:
    """Write a published checkpoint as a model folder.

    Returns the family, and which of its states was taken (see `read_pickle`). The other arguments are as in
    `infer_config`. Raises ModelMismatchError for anything but a published checkpoint.
    """
    state, where = read_pickle(path)
    try:
        family = recognise(state)
        config = infer_config(family, state, channels, rounds, context_start)
        renamed = rename(family, state)
        with torch.device("meta"):
            network = NETWORKS[family](config)
        compare(path, network.state_dict(), {key: summary(renamed[key]) for key in renamed})
    except (ModelMismatchError, ConfigError) as error:
        message = str(error).removeprefix(f"{display(path)}: ")
        raise type(error)(f"{display(path)}: {message}") from error
    entry = registry.ENTRIES.get(name)
    whole: dict[str, Any] = {"kind": family, "name": name, "network": config.model_dump(mode="json")}
    if entry is not None and entry.sampling:
        whole["sampling"] = dict(entry.sampling)
    types = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    dtype = types.pop() if len(types) == 1 and types <= {torch.float16, torch.bfloat16} else torch.float32
    card = (
        f"# {name}\n\nConverted from `{path.name}`"
        + (f", its `{where}` weights" if where else "")
        + ", as published by the authors.\n"
    )
    store.save_model(folder, whole, renamed, dtype, card)
    return family, where
