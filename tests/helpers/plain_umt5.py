"""A second, plain implementation of umT5's encoder: one text, one head, one pair of tokens at a time, in float64."""

import math

import torch
from torch import Tensor

from grn.networks.umt5 import Umt5Config

Weights = dict[str, Tensor]


def norm(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def bucket(offset: int, buckets: int, distance: int) -> int:
    """Which row of the bias table a token at `offset` from another one uses."""
    half = buckets // 2
    first = half if offset > 0 else 0
    offset = abs(offset)
    exact = half // 2
    if offset < exact:
        return first + offset
    far = exact + int(math.log(offset / exact) / math.log(distance / exact) * (half - exact))
    return first + min(far, half - 1)


def plain_encoder(config: Umt5Config, w: Weights, numbers: list[int]) -> Tensor:
    """Token numbers -> [L, D]. The weights are the network's own, in float64."""
    x = w["embed_tokens.weight"][numbers]
    count, size = len(numbers), config.head_width
    for i in range(config.depth):
        attention, dense = f"block.{i}.layer.0", f"block.{i}.layer.1"
        y = norm(x, w[f"{attention}.layer_norm.weight"])
        query, key, value = (y @ w[f"{attention}.SelfAttention.{part}.weight"].T for part in "qkv")
        table = w[f"{attention}.SelfAttention.relative_attention_bias.weight"]
        out = torch.zeros(count, config.heads * size, dtype=torch.float64)
        for head in range(config.heads):
            part = slice(head * size, (head + 1) * size)
            for a in range(count):
                scores = [
                    float(query[a, part] @ key[b, part])
                    + float(table[bucket(b - a, config.buckets, config.distance), head])
                    for b in range(count)
                ]
                out[a, part] = torch.tensor(scores, dtype=torch.float64).softmax(0) @ value[:, part]
        x = x + out @ w[f"{attention}.SelfAttention.o.weight"].T
        y = norm(x, w[f"{dense}.layer_norm.weight"])
        gate = gelu(y @ w[f"{dense}.DenseReluDense.wi_0.weight"].T)
        up = y @ w[f"{dense}.DenseReluDense.wi_1.weight"].T
        x = x + (gate * up) @ w[f"{dense}.DenseReluDense.wo.weight"].T
    return norm(x, w["final_layer_norm.weight"])
