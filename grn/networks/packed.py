"""Attention among the tokens of each of several samples that stand one after the other in one sequence.

Axes: H heads, S tokens of all samples together, L text tokens of all of them, d channels of a head; queries, keys and values are [1, H, S, d].

A batch of maps of different sizes would need padding to the largest; packed, every place of the sequence is a real token, and block-wise
attention keeps the samples apart. On a GPU that is FlexAttention, which skips the blocks in which no two tokens see each other; elsewhere
each sample's part is cut out, which is the same.
"""

import functools
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class BlockwiseAttention:
    """Each sample's tokens attend to its text and to each other.

    text, visual: numbers of tokens of each sample, beside the sequence and in it. flex: with FlexAttention; by default where the device is a GPU.
    """

    def __init__(
        self, text: Sequence[int], visual: Sequence[int], device: torch.device, flex: bool | None = None
    ) -> None:
        assert len(text) == len(visual), f"{len(text)} texts for {len(visual)} samples"
        self.text, self.visual = _slices(text), _slices(visual)
        self.mask = _block_mask(text, visual, device) if (device.type == "cuda" if flex is None else flex) else None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, text: tuple[Tensor, Tensor] | None) -> Tensor:
        """text: keys and values [1, H, L, d], None where the samples have none. Returns [1, H, S, d]."""
        if self.mask is not None:
            # Norms keep float32 under autocast, and FlexAttention wants one type.
            keys, values = behind(text, key, value)
            return _flex(query.device.type)(query.to(value.dtype), keys.to(value.dtype), values, block_mask=self.mask)
        parts = []
        for words, own in zip(self.text, self.visual, strict=True):
            seen = None if text is None else (text[0][:, :, words], text[1][:, :, words])
            keys, values = behind(seen, key[:, :, own], value[:, :, own])
            parts.append(F.scaled_dot_product_attention(query[:, :, own], keys, values))
        return torch.cat(parts, 2)


def behind(text: tuple[Tensor, Tensor] | None, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a sequence behind those of the text that it attends to, if there is one beside it."""
    return (key, value) if text is None else (torch.cat([text[0], key], 2), torch.cat([text[1], value], 2))


def _slices(lengths: Sequence[int]) -> list[slice]:
    ends = list(accumulate(lengths))
    return [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]


def _block_mask(text: Sequence[int], visual: Sequence[int], device: torch.device) -> Any:
    """For queries of all samples and keys of all texts, then of all samples."""
    from torch.nn.attention.flex_attention import create_block_mask

    own = _numbers(visual, device)
    seen = torch.cat([_numbers(text, device), own])

    def same_sample(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return own[query] == seen[key]

    return create_block_mask(same_sample, None, None, len(own), len(seen), device=str(device))


def _numbers(lengths: Sequence[int], device: torch.device) -> Tensor:
    """For each token the number of its sample."""
    return torch.cat([torch.full((length,), number, device=device) for number, length in enumerate(lengths)])


@functools.cache
def _flex(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled it makes the whole matrix of scores, which is what it is there to avoid.
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
