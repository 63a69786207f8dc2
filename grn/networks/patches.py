"""Squares of p x p tokens that share one place of a network's sequence.

Axes: token maps [B, t, h, w, E]; N = t * (h / p) * (w / p) places, in frame, row, column order. Of a place, elements lie token by token, rows first.
"""

from torch import Tensor

from grn.networks.contract import Shape


def fold(token_map: Tensor, patch: int) -> Tensor:
    """Token maps -> the elements of each place, [B, N, p*p*E]."""
    rows, columns = token_map.shape[2:4]
    assert rows % patch == columns % patch == 0, f"{rows}x{columns} tokens are no patches of {patch}"
    patches = token_map.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).transpose(3, 4)
    return patches.flatten(4).flatten(1, 3)  # [B, t, h/p, w/p, p, p, E] before


def unfold(x: Tensor, shape: Shape, patch: int, elements: int) -> Tensor:
    """What is known of each element of each place, [B, N, p*p*E, K] -> [B, t, h, w, E, K]. shape: (t, h, w)."""
    frames, height, width = shape
    x = x.view(-1, frames, height // patch, width // patch, patch, patch, elements, x.shape[-1])
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)
