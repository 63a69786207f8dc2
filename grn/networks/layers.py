"""Layers that the generator families share.

Axes: B samples, N tokens, D width, E elements of a token, K classes of an element.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPSILON = 1e-6


def recomputed(call: Callable[..., Any], *given: Any) -> Any:
    """The call, of which only what it is given is kept for the backward pass: it is computed once more there. A compiler may see it."""
    return checkpoint(call, *given, use_reentrant=False, preserve_rng_state=False)


def sum_of_columns(weight: Tensor, numbers: Tensor) -> Tensor:
    """Sum of those columns of a weight [D, R] that numbers [..., E] name, [..., D]; a negative number names none.

    It is the weight times the sum of E one-hot vectors, and in training computed so: a product's gradient is another one, where that of rows
    that were looked up is scattered one by one. It holds [..., R] numbers, and under autocast rounds as every product there. Else it is exact
    whatever the number format.
    """
    chosen = torch.where(numbers < 0, weight.shape[1], numbers)
    if torch.is_grad_enabled() and weight.requires_grad:
        counts = weight.new_zeros(*numbers.shape[:-1], weight.shape[1] + 1)
        counts.scatter_add_(-1, chosen, counts.new_ones(()).expand(chosen.shape))
        return F.linear(counts[..., :-1], weight)
    rows = torch.cat([weight.t(), weight.new_zeros(1, weight.shape[0])])
    return F.embedding_bag(chosen.flatten(0, -2), rows, mode="sum").view(*numbers.shape[:-1], weight.shape[0])


class RMSNorm(nn.RMSNorm):
    """RMS norm over the last axis, in its input's type: under autocast a gain of another type would split it in parts."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def logits_of(head: nn.Linear, x: Tensor) -> Tensor:
    """float32 logits, computed at no less, under autocast too: at 8 bits they would blur losses and entropies."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    coarse = x.device.type == "cpu" and x.dtype == head.weight.dtype == torch.bfloat16
    with torch.autocast(x.device.type, enabled=False), _products_of_bfloat16() if coarse else nullcontext():
        return F.linear(x.to(dtype), head.weight.to(dtype), head.bias.to(dtype)).float()


@contextmanager
def _products_of_bfloat16() -> Iterator[None]:
    """On a processor, float32 matrices are multiplied as bfloat16 and summed in float32: the same numbers sooner where that is what they hold."""
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class RatioEmbedding(nn.Module):
    """Selection ratio [B] -> [B, D]: 128 cosines and 128 sines, then an MLP."""

    WAVES = 256

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(self.WAVES, width), nn.Linear(width, width)

    def forward(self, ratio: Tensor) -> Tensor:
        half = self.WAVES // 2
        frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, device=ratio.device, dtype=torch.float32))
        angles = ratio.float()[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], 1).to(self.inner.weight.dtype)
        return self.outer(F.silu(self.inner(waves)))


class GatedMLP(nn.Module):
    """SwiGLU: silu(gate x) * (up x), then down."""

    def __init__(self, width: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        # Where no gradient needs the parts, the product takes their memory: new memory is slow to touch first.
        return self.down(F.silu(gate) * up if torch.is_grad_enabled() else F.silu(gate, inplace=True).mul_(up))


class AttentionProjections(nn.Module):
    """Queries, keys and values by head, the first two normalised; and the way out."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.query_norm = RMSNorm(width // heads, eps=EPSILON)
        self.key_norm = RMSNorm(width // heads, eps=EPSILON)
        self.out = nn.Linear(width, width, bias=bias)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, D] -> queries, keys, values, each [B, heads, N, d], before rotation."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.query_norm(query), self.key_norm(key), value

    def merge(self, attended: Tensor) -> Tensor:
        """[B, heads, N, d] -> [B, N, D]."""
        return self.out(attended.transpose(1, 2).flatten(2))
