"""Hierarchical Binary Quantization (section 3.1, algorithm 1, equation 2).

Axes
    features  float [..., C, ...] in (-1, 1), any rank
    indices   int64, the shape of the features, in [0, 2^M)
    bits      int64 in {0, 1}, the channel axis M*C long, round-major: round 1 of every channel, then round 2, ...
    M         rounds, 1 to 16

Round j splits the bucket that a value is in at its centre and writes one bit: 1 above the centre, 0 at or below it.
Read with round 1 as the most significant bit, the M bits are the number of the value's bucket among 2^M equal ones that
are open below and closed above.
"""

import torch
from torch import Tensor

MAX_ROUNDS = 16


def encode(features: Tensor, rounds: int) -> Tensor:
    """Number of the bucket that each feature falls in (equation 2, all rounds at once).

    features: float, any shape; values outside (-1, 1) go to the outermost bucket. Returns int64 of the same shape in
    [0, 2^rounds).
    """
    _check(rounds)
    half = 2 ** (rounds - 1)
    # Scaling by a power of two is exact, so the ceiling sees the value itself; adding 1 first would round tiny values
    # onto the centre.
    above = torch.ceil(features.float() * half)
    return (above + (half - 1)).clamp_(0, 2 * half - 1).long()


def decode(indices: Tensor, rounds: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Centre of each bucket, (2i + 1) / 2^M - 1: exact in float32 for every M, within 2^-M of what was encoded."""
    _check(rounds)
    return ((2 * indices + 1).to(torch.float32) / 2**rounds - 1).to(dtype)


def indices_to_bits(indices: Tensor, rounds: int, dim: int = 1) -> Tensor:
    """Unpack indices [..., C, ...] to bits [..., M*C, ...] along `dim`, round-major."""
    _check(rounds)
    return torch.cat([(indices >> (rounds - 1 - j)) & 1 for j in range(rounds)], dim=dim)


def bits_to_indices(bits: Tensor, rounds: int, dim: int = 1) -> Tensor:
    """Pack round-major bits [..., M*C, ...] along `dim` to indices [..., C, ...]."""
    _check(rounds)
    assert bits.shape[dim] % rounds == 0, f"{bits.shape[dim]} bits do not divide into {rounds} rounds"
    indices = torch.zeros_like(bits.narrow(dim, 0, bits.shape[dim] // rounds), dtype=torch.int64)
    for plane in bits.long().chunk(rounds, dim=dim):
        indices = (indices << 1) | plane
    return indices


def truncate(indices: Tensor, rounds: int, keep: int) -> Tensor:
    """The same values at fewer rounds: the `keep` most significant of `rounds` bits (1 <= keep <= rounds)."""
    _check(rounds)
    assert 1 <= keep <= rounds, f"cannot keep {keep} of {rounds} rounds"
    return indices >> (rounds - keep)


def quantize(features: Tensor, rounds: int) -> Tensor:
    """Features moved to their bucket centres; gradients pass straight through (the straight-through estimator)."""
    centres = decode(encode(features.detach(), rounds), rounds, features.dtype)
    # The difference is exactly zero, so the value is exactly the centre.
    return centres + (features - features.detach())


def _check(rounds: int) -> None:
    assert 1 <= rounds <= MAX_ROUNDS, f"rounds must be 1 to {MAX_ROUNDS}, not {rounds}"
