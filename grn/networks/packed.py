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

_BLOCK = 128  # tokens that FlexAttention takes together


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
    """For queries of all samples and keys of all texts, then of all samples; no matrix of pairs of tokens is made.

    Samples stand in their order, so a block of tokens is of the samples from its first to its last token's. Two blocks are
    compared whole where both are of the same single sample, token by token where their samples overlap, else not at all.
    """
    from torch.nn.attention.flex_attention import BlockMask

    own, seen = _numbers(visual), torch.cat([_numbers(text), _numbers(visual)])
    (first, last, alone), (key_first, key_last, key_alone) = _blocks(own), _blocks(seen)
    overlap = (first[:, None] <= key_last) & (key_first <= last[:, None])
    whole = overlap & alone[:, None] & key_alone
    parts, fulls = (_listed(blocks, device) for blocks in (overlap & ~whole, whole))
    own, seen = own.to(device), seen.to(device)

    def same_sample(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return own[query] == seen[key]

    return BlockMask.from_kv_blocks(*parts, *fulls, _BLOCK, same_sample, (len(own), len(seen)))


def _blocks(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each block of tokens: its lowest and highest sample, and whether it is full and of one sample alone."""
    missing = -len(numbers) % _BLOCK
    low = F.pad(numbers, (0, missing), value=int(numbers.max())).view(-1, _BLOCK).amin(1)
    high = F.pad(numbers, (0, missing), value=0).view(-1, _BLOCK).amax(1)
    alone = low == high
    if missing:
        alone[-1] = False
    return low, high, alone


def _listed(blocks: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each row of blocks, bool [Q, K], how many there are, and their numbers, those first: int32 [1, 1, Q] and [1, 1, Q, K]."""
    order = torch.argsort(blocks.to(torch.int8), dim=1, descending=True, stable=True)
    return blocks.sum(1).to(device, torch.int32)[None, None], order.to(device, torch.int32)[None, None]


def _numbers(lengths: Sequence[int]) -> Tensor:
    """For each token the number of its sample, on the CPU."""
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.long))


@functools.cache
def _flex(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled it makes the whole matrix of scores, which is what it is there to avoid.
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
