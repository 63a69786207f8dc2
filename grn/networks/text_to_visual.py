"""The text-to-image and text-to-video generator (one network; an image is a clip of one frame).

Axes
    token_map  int64 [B, t, h, w, E] in [0, K), -1 for a masked element
    ratio      float [B], the selection ratio
    logits     float32 [B, t, h, w, E, K]

The sequence is the map's tokens (frame, row, column order) and one token that carries the ratio. They see each other
and the text. The text tokens see only each other, so what they give to every layer, their keys and values, is computed
once a prompt (`prepare`). Maps of different sizes and lengths share one sequence (`packed`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import ModelMismatchError, UsageError
from grn.networks.condition import Condition, TextCondition, pad_length
from grn.networks.contract import Prepared, Shape
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.layers import (
    EPSILON,
    AttentionProjections,
    GatedMLP,
    RatioEmbedding,
    RMSNorm,
    logits_of,
    sum_of_columns,
)
from grn.networks.packed import BlockwiseAttention
from grn.networks.rope import rotate, text_turns, visual_turns

Attend = Callable[[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]], Tensor]  # query, key, value, text's keys and values


@dataclass(frozen=True)
class PreparedText(Prepared):
    """The text's keys and values in every layer, [layers, B, heads, L, d], and its mask [B, L], padding behind the tokens.

    lengths: how many tokens each sample has, by default as the mask says. Steps ask these numbers and not the mask,
    whose values lie on the device.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    lengths: tuple[int, ...] = ()
    padded: bool = field(init=False)

    def __post_init__(self) -> None:
        if not self.lengths:
            found = self.mask.cpu()
            object.__setattr__(self, "lengths", tuple(found.sum(1).tolist()))
            assert all(bool(row[:n].all()) for row, n in zip(found, self.lengths, strict=True)), (
                "padding before a token"
            )
        object.__setattr__(self, "padded", min(self.lengths) < self.mask.shape[1])

    def __len__(self) -> int:
        return self.mask.shape[0]

    def rows(self, index: Tensor) -> "PreparedText":
        """The samples that `index` names."""
        # Of a single one no number needs to come from the device.
        lengths = self.lengths * len(index) if len(self) == 1 else tuple(self.lengths[i] for i in index.tolist())
        return PreparedText(self.keys[:, index], self.values[:, index], self.mask[index], lengths)

    def packed(self) -> tuple[Tensor, Tensor]:
        """All samples' tokens one after the other, without padding: keys and values [layers, 1, heads, sum of L, d]."""
        keys, values = (
            torch.cat([one[:, :, :length] for one, length in zip(x.unbind(1), self.lengths, strict=True)], 2)[:, None]
            for x in (self.keys, self.values)
        )
        return keys, values

    @classmethod
    def cat(cls, parts: Sequence["PreparedText"]) -> "PreparedText":
        """Joined, the shorter ones padded."""
        longest = max(part.mask.shape[1] for part in parts)
        return cls(
            torch.cat([pad_length(part.keys, longest, 3) for part in parts], 1),
            torch.cat([pad_length(part.values, longest, 3) for part in parts], 1),
            torch.cat([pad_length(part.mask, longest, 1) for part in parts]),
            tuple(length for part in parts for length in part.lengths),
        )


class Block(nn.Module):
    """Attention and gated MLP, each after an RMS norm and added to its input; text and image share the weights."""

    def __init__(self, config: TextToVisualConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, eps=EPSILON)
        self.attention = AttentionProjections(config.width, config.heads, bias=False)
        self.mlp_norm = RMSNorm(config.width, eps=EPSILON)
        self.mlp = GatedMLP(config.width, config.hidden, bias=False)

    def text(self, x: Tensor, turns: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, L, D] -> the same after the block, and the keys and values that image tokens will see."""
        query, key, value = self.attention.split(self.attention_norm(x))
        query, key = rotate(query, turns), rotate(key, turns)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.attention.merge(attended)
        return x + self.mlp(self.mlp_norm(x)), key, value

    def visual(self, x: Tensor, turns: Tensor, text: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """x [B, N, D], image tokens and the ratio token; text: keys and values [B, heads, L, d]."""
        query, key, value = self.attention.split(self.attention_norm(x))
        x = x + self.attention.merge(attend(rotate(query, turns), rotate(key, turns), value, text))
        return x + self.mlp(self.mlp_norm(x))


class TextToVisual(nn.Module):
    """See the module's docstring; `prepare`, then call as often as there are steps."""

    def __init__(self, config: TextToVisualConfig) -> None:
        super().__init__()
        self.config = config
        per_token = config.elements * config.classes * config.patch**2
        self.embed = nn.Linear(per_token, config.width)
        self.ratio = RatioEmbedding(config.width)
        self.text = nn.Linear(config.text_width, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_norm = RMSNorm(config.width, eps=EPSILON)
        self.head = nn.Linear(config.width, per_token)
        if (
            not self.head.weight.is_meta
        ):  # what is loaded from a file needs none; on "meta" it imports the compiler, 0.5 s
            self._initialise()

    def prepare(self, condition: Condition) -> PreparedText:
        """Run the text tokens through every layer. Raises UsageError for conditions that are no texts."""
        if not isinstance(condition, TextCondition):
            raise UsageError(f"a text-to-visual network draws from a TextCondition (found {type(condition).__name__})")
        if self.config.text_attention == "joint":
            raise ModelMismatchError("joint text attention is not computed by this version; install a newer grn")
        x = self.text(condition.tokens.to(self.text.weight.dtype))
        turns = text_turns(x.shape[1], self._head_width, x.device)
        # A padded row attends to something too, or its softmax would be of nothing; nobody sees what comes of it.
        padded = ~condition.mask[:, None, :, None]
        mask = condition.mask[:, None, None, :] | padded
        keys, values = [], []
        for block in self.blocks:
            assert isinstance(block, Block)
            x, key, value = block.text(x, turns, mask)
            keys.append(key)
            values.append(value)
        return PreparedText(torch.stack(keys), torch.stack(values), condition.mask)

    def null_condition(self, count: int) -> None:
        """None: the text encoder's empty prompt is it."""

    def forward(self, token_map: Tensor, ratio: Tensor, prepared: Prepared, aspect: float | None = None) -> Tensor:
        """Logits of every element. aspect: height / width of the picture, by default of the map."""
        assert isinstance(prepared, PreparedText), f"{type(prepared).__name__} was prepared by another network"
        shape = (token_map.shape[1], token_map.shape[2], token_map.shape[3])
        last = self.ratio(ratio)[:, None]
        x = torch.cat([self._embed(self._columns(token_map), last.dtype), last], 1)
        mask: Tensor | None = None
        if prepared.padded:
            mask = F.pad(prepared.mask, (0, x.shape[1]), value=True)[:, None, None, :]

        def attend(query: Tensor, key: Tensor, value: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
            keys, values = torch.cat([text[0], key], 2), torch.cat([text[1], value], 2)
            return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)

        x = self._run(x, self._turns(shape, aspect), (prepared.keys, prepared.values), attend)
        return self._unpatch(logits_of(self.head, self.head_norm(x[:, :-1])), shape)

    def packed(self, token_maps: Sequence[Tensor], ratio: Tensor, prepared: Prepared) -> list[Tensor]:
        """What `forward` gives for each map [t, h, w, E] alone, of any sizes and lengths: logits [t, h, w, E, K].

        ratio [B] and prepared are in the order of the maps. All share one sequence.
        """
        assert isinstance(prepared, PreparedText), f"{type(prepared).__name__} was prepared by another network"
        shapes: list[Shape] = [(one.shape[0], one.shape[1], one.shape[2]) for one in token_maps]
        assert len(shapes) == len(ratio) == len(prepared), (
            f"{len(shapes)} maps, {len(ratio)} ratios, {len(prepared)} texts"
        )
        columns = [self._columns(one[None])[0] for one in token_maps]
        lengths = [one.shape[0] for one in columns]
        ratios = self.ratio(ratio)
        visual = self._embed(torch.cat(columns), ratios.dtype).split(lengths)
        x = torch.cat([part for one, last in zip(visual, ratios, strict=True) for part in (one, last[None])])[None]
        attend = BlockwiseAttention(prepared.lengths, [length + 1 for length in lengths], x.device)
        turns = torch.cat([self._turns(shape, None) for shape in shapes])
        x = self._run(x, turns, prepared.packed(), attend)
        # The last token of each sample carries its ratio and says nothing of the map.
        shown = torch.cat([one[:-1] for one in x[0].split([length + 1 for length in lengths])])
        logits = logits_of(self.head, self.head_norm(shown)).split(lengths)
        return [self._unpatch(one[None], shape)[0] for one, shape in zip(logits, shapes, strict=True)]

    def _run(self, x: Tensor, turns: Tensor, text: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        for block, key, value in zip(self.blocks, *text, strict=True):
            assert isinstance(block, Block)
            x = block.visual(x, turns, (key, value), attend)
        return x

    def _turns(self, shape: Shape, aspect: float | None) -> Tensor:
        return visual_turns(shape, aspect, self._head_width, self.config.patch, self.embed.weight.device)

    @property
    def _head_width(self) -> int:
        return self.config.width // self.config.heads

    def _embed(self, columns: Tensor, dtype: torch.dtype) -> Tensor:
        """Columns [..., p*p*E] of `embed` -> tokens [..., D]. dtype: what other tokens are computed in."""
        return (sum_of_columns(self.embed.weight, columns) + self.embed.bias).to(dtype)

    def _columns(self, token_map: Tensor) -> Tensor:
        """[B, t, h, w, E] -> the column of `embed` that stands for each element, [B, N, p*p*E]: an element's classes together."""
        rows, columns, patch = *token_map.shape[2:4], self.config.patch
        assert rows % patch == columns % patch == 0, f"{rows}x{columns} tokens are no patches of {patch}"
        patches = (
            token_map.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).transpose(3, 4)
        )  # [B, t, h/p, w/p, p, p, E]
        patches = patches.flatten(4).flatten(1, 3)
        first = torch.arange(patches.shape[-1], device=patches.device) * self.config.classes
        return torch.where(patches < 0, -1, patches + first)

    def _unpatch(self, x: Tensor, shape: Shape) -> Tensor:
        """[B, N, p*p*E*K] -> [B, t, h, w, E, K]."""
        frames, height, width = shape
        patch = self.config.patch
        x = x.view(-1, frames, height // patch, width // patch, patch, patch, self.config.elements, self.config.classes)
        return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Each of the 2 * depth additions to the residual stream starts small: their sum does not grow with depth.
        for block in self.blocks:
            assert isinstance(block, Block)
            for last in (block.attention.out, block.mlp.down):
                nn.init.normal_(last.weight, std=0.02 / (2 * self.config.depth) ** 0.5)
        nn.init.zeros_(self.head.weight)
