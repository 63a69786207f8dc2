"""The text-to-image and text-to-video generator (one network; an image is a clip of one frame).

Axes
    token_map  int64 [B, t, h, w, E] in [0, K), -1 for a masked element
    ratio      float [B], the selection ratio
    logits     float32 [B, t, h, w, E, K]

The sequence is the map's tokens (frame, row, column order) and one token that carries the ratio. They attend to each
other and to the text. With one-way text attention, text tokens attend to each other only: their keys and values in every
layer are computed once a prompt (`prepare`). With joint text attention they attend to the picture too, and stand in the
sequence in every step. Maps of different sizes and lengths share one sequence (`packed`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grn.errors import UsageError
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
    recomputed,
    sum_of_columns,
)
from grn.networks.packed import BlockwiseAttention, behind
from grn.networks.patches import fold, unfold
from grn.networks.rope import rotate, text_turns, visual_turns

Text = tuple[Tensor, Tensor] | None
"""A layer's keys and values of a text beside the sequence, [B, heads, L, d]; None where there is none."""
Attend = Callable[[Tensor, Tensor, Tensor, Text], Tensor]
"""Query, key and value of a sequence, and the text beside it -> what each token attends to."""


@dataclass(frozen=True)
class PreparedText(Prepared):
    """What the layers take of the text, and its mask [B, L], padding behind the tokens.

    given: keys and values of all layers, [B, layers, heads, L, d] each; with joint text attention the tokens, [B, L, D].
    lengths: how many tokens each sample has, by default as the mask says. Steps ask these numbers and not the mask,
    whose values lie on the device.
    """

    given: tuple[Tensor, ...]
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
        """Select the samples that `index` names."""
        # Of a single one no number needs to come from the device.
        lengths = self.lengths * len(index) if len(self) == 1 else tuple(self.lengths[i] for i in index.tolist())
        return PreparedText(tuple(part[index] for part in self.given), self.mask[index], lengths)

    def packed(self) -> tuple[Tensor, ...]:
        """`given` of all samples one after the other along L, without padding; B is 1."""
        return tuple(
            torch.cat([one[..., :length, :] for one, length in zip(part, self.lengths, strict=True)], -2)[None]
            for part in self.given
        )

    @classmethod
    def cat(cls, parts: Sequence["PreparedText"]) -> "PreparedText":
        """Join prepared texts along the batch; shorter ones are padded."""
        longest = max(part.mask.shape[1] for part in parts)
        return cls(
            tuple(
                torch.cat([pad_length(one, longest, one.dim() - 2) for one in same])
                for same in zip(*(part.given for part in parts), strict=True)
            ),
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

    def forward(self, x: Tensor, turns: Tensor, text: Text, attend: Attend) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, D] -> the same after the block, and its keys and values [B, heads, N, d]."""
        query, key, value = self.enter(x, turns)
        return self.leave(x, attend(query, key, value, text)), key, value

    def enter(self, x: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What comes before attention: queries, keys and values."""
        query, key, value = self.attention.split(self.attention_norm(x))
        return rotate(query, turns), rotate(key, turns), value

    def leave(self, x: Tensor, attended: Tensor) -> Tensor:
        """What comes after attention."""
        x = x + self.attention.merge(attended)
        return x + self.mlp(self.mlp_norm(x))

    def recompute(self, compiled: bool) -> None:
        """Keep only inputs for the backward pass: the block's, or of compiled ones their halves', and what attention takes and gives.

        An uncompiled block around compiled halves could meet another graph of them in the backward pass, which keeps other tensors.
        """
        if compiled:
            self.enter, self.leave = partial(recomputed, self.enter), partial(recomputed, self.leave)  # type: ignore[method-assign]
        else:
            self.forward = partial(recomputed, self.forward)  # type: ignore[method-assign]

    def compile(self, *how: Any, **options: Any) -> None:
        """Compile both halves, as `nn.Module.compile`; attention lies between them, which differs by who sees whom."""
        self.enter, self.leave = (torch.compile(half, *how, **options) for half in (self.enter, self.leave))  # type: ignore[method-assign, assignment]


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
        # A place of many tokens has more logits than `width` channels can tell apart.
        self.widen = nn.Linear(config.width, config.head_width) if config.head_width else None
        self.head = nn.Linear(config.head_width or config.width, per_token)
        if (
            not self.head.weight.is_meta
        ):  # what is loaded from a file needs none; on "meta" it imports the compiler, 0.5 s
            self._initialise()

    def prepare(self, condition: Condition) -> PreparedText:
        """Run the text tokens through every layer, or as far as they come without a picture.

        Raises UsageError for conditions that are no texts.
        """
        if not isinstance(condition, TextCondition):
            raise UsageError(f"a text-to-visual network draws from a TextCondition (found {type(condition).__name__})")
        x = self.text(condition.tokens.to(self.text.weight.dtype))
        if self._joint:
            return PreparedText((x,), condition.mask)
        turns = self._text_turns(x.shape[1])
        # A padded row attends to something too, or its softmax would be of nothing; nobody sees what comes of it.
        mask = condition.mask[:, None, None, :] | ~condition.mask[:, None, :, None]

        def attend(query: Tensor, key: Tensor, value: Tensor, _: Text) -> Tensor:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

        keys, values = [], []
        for block in self.blocks:
            x, key, value = block(x, turns, None, attend)
            keys.append(key)
            values.append(value)
        return PreparedText((torch.stack(keys, 1), torch.stack(values, 1)), condition.mask)

    def null_condition(self, count: int) -> None:
        """Return None: the text encoder's empty prompt is the null condition."""

    def forward(self, token_map: Tensor, ratio: Tensor, prepared: Prepared, aspect: float | None = None) -> Tensor:
        """Logits of every element. aspect: height / width of the picture, by default of the map."""
        assert isinstance(prepared, PreparedText), f"{type(prepared).__name__} was prepared by another network"
        shape = (token_map.shape[1], token_map.shape[2], token_map.shape[3])
        last = self.ratio(ratio)[:, None]
        x = torch.cat([self._embed(self._columns(token_map), last.dtype), last], 1)
        turns, drawn = self._turns(shape, aspect), x.shape[1]
        mask: Tensor | None = None
        if prepared.padded:
            mask = F.pad(prepared.mask, (0, drawn), value=True)[:, None, None, :]

        def attend(query: Tensor, key: Tensor, value: Tensor, text: Text) -> Tensor:
            return F.scaled_dot_product_attention(query, *behind(text, key, value), attn_mask=mask)

        if self._joint:
            (text,) = prepared.given
            x, turns = torch.cat([text, x], 1), torch.cat([self._text_turns(text.shape[1]), turns])
        x = self._run(x, turns, prepared.given, attend)[:, -drawn:-1]
        return self._unpatch(self._logits(x), shape)

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
        # Of each sample the text, where it is in the sequence, then the map, then the ratio.
        parts = [[one, last[None]] for one, last in zip(visual, ratios, strict=True)]
        turns = [[self._turns(shape, None)] for shape in shapes]
        text, beside = prepared.packed(), prepared.lengths
        if self._joint:
            parts = [[words, *part] for words, part in zip(text[0][0].split(beside), parts, strict=True)]
            turns = [[self._text_turns(n), *part] for n, part in zip(beside, turns, strict=True)]
            beside = (0,) * len(beside)
        samples = [torch.cat(part) for part in parts]
        attend = BlockwiseAttention(beside, [len(one) for one in samples], ratios.device)
        x = self._run(torch.cat(samples)[None], torch.cat([one for part in turns for one in part]), text, attend)
        # The last token of each sample carries its ratio and says nothing of the map.
        found = x[0].split([len(one) for one in samples])
        shown = torch.cat([one[-1 - length : -1] for one, length in zip(found, lengths, strict=True)])
        logits = self._logits(shown).split(lengths)
        return [self._unpatch(one[None], shape)[0] for one, shape in zip(logits, shapes, strict=True)]

    def _run(self, x: Tensor, turns: Tensor, given: tuple[Tensor, ...], attend: Attend) -> Tensor:
        """Through all blocks. given: as in `PreparedText`."""
        layers = [None] * len(self.blocks) if self._joint else zip(*(part.unbind(1) for part in given), strict=True)
        for block, text in zip(self.blocks, layers, strict=True):
            x, _, _ = block(x, turns, text, attend)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        """What comes out of the blocks, [..., D] -> float32 [..., p*p*E*K]."""
        x = self.head_norm(x)
        return logits_of(self.head, x if self.widen is None else F.gelu(self.widen(x)))

    def _turns(self, shape: Shape, aspect: float | None) -> Tensor:
        return visual_turns(shape, aspect, self._head_width, self.config.patch, self.embed.weight.device)

    def _text_turns(self, length: int) -> Tensor:
        return text_turns(length, self._head_width, self.embed.weight.device)

    @property
    def _joint(self) -> bool:
        return self.config.text_attention == "joint"

    @property
    def _head_width(self) -> int:
        return self.config.width // self.config.heads

    def _embed(self, columns: Tensor, dtype: torch.dtype) -> Tensor:
        """Columns [..., p*p*E] of `embed` -> tokens [..., D]. dtype: what other tokens are computed in."""
        return (sum_of_columns(self.embed.weight, columns) + self.embed.bias).to(dtype)

    def _columns(self, token_map: Tensor) -> Tensor:
        """[B, t, h, w, E] -> the column of `embed` that stands for each element, [B, N, p*p*E]: an element's classes together."""
        patches = fold(token_map, self.config.patch)
        first = torch.arange(patches.shape[-1], device=patches.device) * self.config.classes
        return torch.where(patches < 0, -1, patches + first)

    def _unpatch(self, x: Tensor, shape: Shape) -> Tensor:
        """[B, N, p*p*E*K] -> [B, t, h, w, E, K]."""
        x = x.unflatten(-1, (-1, self.config.classes))
        return unfold(x, shape, self.config.patch, self.config.elements)

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
        # An empty prompt may be a token of zeros: behind norms, which divide by next to nothing there, its gradients
        # would be a million times those of all others.
        nn.init.normal_(self.text.bias, std=0.02)
