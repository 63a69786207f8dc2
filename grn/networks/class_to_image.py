"""The class-to-image generator.

Axes
    token_map  int64 [B, 1, h, w, E] in [0, K), -1 for a masked element; h = w = the config's size; `patch` x `patch` of them share a place
    ratio      float [B], the selection ratio
    logits     float32 [B, 1, h, w, E, K]

The ratio's and the class's embeddings add up to one vector that scales, shifts and gates every block. From block
`context_start` on, copies of the class embedding stand before the image tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import UsageError
from grn.networks.condition import ClassCondition, Condition
from grn.networks.contract import Prepared
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.layers import (
    EPSILON,
    AttentionProjections,
    GatedMLP,
    RatioEmbedding,
    RMSNorm,
    logits_of,
    recomputed,
    sum_of_columns,
)
from grn.networks.patches import fold, unfold
from grn.networks.rope import frequencies, grid_turns, kept, rotate


@dataclass(frozen=True)
class PreparedClass(Prepared):
    """The class embedding, [B, D]."""

    embedding: Tensor

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def rows(self, index: Tensor) -> "PreparedClass":
        """The samples that `index` names."""
        return PreparedClass(self.embedding[index])

    @classmethod
    def cat(cls, parts: Sequence["PreparedClass"]) -> "PreparedClass":
        return cls(torch.cat([part.embedding for part in parts]))


class Modulation(nn.Module):
    """Conditioning vector [B, D] -> `count` vectors [B, 1, D]."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * width)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(vector))[:, None].chunk(self.count, -1)


class Block(nn.Module):
    """Attention and gated MLP, each shifted, scaled and gated by the conditioning vector (adaptive layer norm)."""

    def __init__(self, config: ClassToImageConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, eps=EPSILON)
        self.attention = AttentionProjections(config.width, config.heads, bias=True)
        self.mlp_norm = RMSNorm(config.width, eps=EPSILON)
        self.mlp = GatedMLP(config.width, int(config.width * 4 * 2 / 3), bias=True)
        self.modulation = Modulation(config.width, 6)

    def recompute(self, compiled: bool) -> None:
        """Keep only inputs for the backward pass, compiled or not."""
        self.forward = partial(recomputed, self.forward)  # type: ignore[method-assign]

    def forward(self, x: Tensor, vector: Tensor, turns: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(vector)
        query, key, value = self.attention.split(torch.addcmul(shift_a, self.attention_norm(x), 1 + scale_a))
        attended = F.scaled_dot_product_attention(rotate(query, turns), rotate(key, turns), value)
        x = torch.addcmul(x, gate_a, self.attention.merge(attended))
        return torch.addcmul(x, gate_m, self.mlp(torch.addcmul(shift_m, self.mlp_norm(x), 1 + scale_m)))


class ClassToImage(nn.Module):
    """See the module's docstring; `prepare`, then call as often as there are steps."""

    def __init__(self, config: ClassToImageConfig) -> None:
        super().__init__()
        self.config = config
        per_place = config.patch**2 * config.elements * config.classes
        self.squeeze = nn.Linear(per_place, config.bottleneck, bias=False)
        self.embed = nn.Linear(config.bottleneck, config.width)
        self.ratio = RatioEmbedding(config.width)
        self.classes = nn.Embedding(config.num_classes + 1, config.width)
        self.context_positions = nn.Parameter(torch.zeros(config.context_tokens, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_norm = RMSNorm(config.width, eps=EPSILON)
        self.head_modulation = Modulation(config.width, 2)
        self.head = nn.Linear(config.width, per_place)
        if (
            not self.head.weight.is_meta
        ):  # what is loaded from a file needs none; on "meta" it imports the compiler, 0.5 s
            self._initialise()

    def prepare(self, condition: Condition) -> PreparedClass:
        """Look up the classes. Raises UsageError for conditions that are no classes."""
        if not isinstance(condition, ClassCondition):
            raise UsageError(f"a class-to-image network draws from a ClassCondition (found {type(condition).__name__})")
        return PreparedClass(self.classes(condition.labels.to(self.classes.weight.device)))

    def null_condition(self, count: int) -> ClassCondition:
        """Return the condition of no class, `count` times."""
        return ClassCondition(torch.full((count,), self.config.num_classes))

    def forward(self, token_map: Tensor, ratio: Tensor, prepared: Prepared) -> Tensor:
        """Logits of every element. Raises UsageError for a map of another shape than the network's."""
        config = self.config
        assert isinstance(prepared, PreparedClass), f"{type(prepared).__name__} was prepared by another network"
        # Other maps of as many tokens, or of a single one, would get through the additions below.
        self._check_shapes([token_map[0]])
        x = self.embed(sum_of_columns(self.squeeze.weight, self._columns(fold(token_map, config.patch))))
        x = x + sincos_positions(config.side, config.width, x.device).to(self.embed.weight.dtype)
        vector = self.ratio(ratio) + prepared.embedding
        turns = grid_turns(config.side, config.width // config.heads, 0, x.device)
        for number, block in enumerate(self.blocks):
            if number == config.context_start and config.context_tokens:
                x = torch.cat([prepared.embedding[:, None] + self.context_positions, x], 1)
                turns = grid_turns(config.side, config.width // config.heads, config.context_tokens, x.device)
            x = block(x, vector, turns)
        x = x[:, -(config.side**2) :]
        shift, scale = self.head_modulation(vector)
        logits = logits_of(self.head, torch.addcmul(shift, self.head_norm(x), 1 + scale))
        logits = logits.unflatten(-1, (config.classes, -1)).transpose(2, 3)
        return unfold(logits, (1, config.size, config.size), config.patch, config.elements)

    def packed(self, token_maps: Sequence[Tensor], ratio: Tensor, prepared: Prepared) -> list[Tensor]:
        """What `forward` gives for each map. Raises UsageError for maps of other shapes than the network's one."""
        self._check_shapes(token_maps)
        return list(self(torch.stack(list(token_maps)), ratio, prepared))

    def _columns(self, tokens: Tensor) -> Tensor:
        """Elements [..., p*p*E] -> the column of `squeeze` that stands for each: classes one after the other, of all elements."""
        count = tokens.shape[-1]
        return torch.where(tokens < 0, -1, tokens * count + torch.arange(count, device=tokens.device))

    def _check_shapes(self, token_maps: Sequence[Tensor]) -> None:
        expected = (1, self.config.size, self.config.size, self.config.elements)
        for one in token_maps:
            if tuple(one.shape) != expected:
                raise UsageError(
                    f"token map {tuple(one.shape)}: this class-to-image network draws maps of {expected} only"
                )

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classes.weight, std=0.02)
        nn.init.normal_(self.context_positions, std=0.02)
        # Gates and the head start at zero: the network begins as the identity that predicts every class alike.
        nn.init.zeros_(self.head.weight)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)


@kept
def sincos_positions(side: int, width: int, device: torch.device | None = None) -> Tensor:
    """Compute fixed positions [side^2, D]: sines and cosines of the column in half of the channels, then of the row."""
    waves = torch.arange(side, dtype=torch.float32, device=device)[:, None] * frequencies(width // 4, device)
    line = torch.cat([waves.sin(), waves.cos()], 1)
    columns, rows = line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], -1).flatten(0, 1)
