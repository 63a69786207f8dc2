"""Hierarchical Binary Quantization (section 3.1, algorithm 1, equations 1 to 3), and how its bits are packed.

Axes
    features  float [..., C, ...] in (-1, 1), any rank
    indices   int64, the shape of the features, in [0, 2^M)
    bits      int64 in {0, 1}, the channel axis M*C long, round-major: round 1 of every channel, then round 2, ...
    planes    M rows of bytes, one row a round: the round's bits of all indices, eight to a byte, the first one highest
    M         rounds, 1 to 16

Round j splits the bucket that a value is in at its centre and writes one bit: 1 above the centre, 0 at or below it.
Read with round 1 as the most significant bit, the M bits are the number of the value's bucket among 2^M equal ones that
are open below and closed above.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_ROUNDS = 16
_BLOCK = 2**16  # values a thread: 256 KiB of float32, which stay in its cache from one operation to the next


def encode(features: Tensor, rounds: int, out: Tensor | None = None) -> Tensor:
    """Return the index of the bucket that each feature falls in (equations 1 and 2, all rounds at once).

    features: float, any shape, read as float32; values outside (-1, 1) go to the outermost bucket. out: where to write,
    of the same shape and any integer type that holds 2^rounds - 1. Returns `out`, by default a new int64 tensor, in
    [0, 2^rounds).
    """
    half = _half(rounds)
    out = torch.empty_like(features, dtype=torch.int64) if out is None else out
    for values, indices in _blocks(features.detach(), out):
        indices.copy_(_by_32_bits(_edges(values, half).add_(half - 1)))
    return out


def decode(indices: Tensor, rounds: int, dtype: torch.dtype = torch.float32, out: Tensor | None = None) -> Tensor:
    """Return the centre of each bucket, (2i + 1) / 2^M - 1 (equation 3): exact in float32, within 2^-M of what was encoded.

    indices: any integer type. out: where to write, of the same shape and any float type; by default a new tensor of
    `dtype`.
    """
    width = 1 / _half(rounds)
    out = torch.empty_like(indices, dtype=dtype) if out is None else out
    for numbers, centres in _blocks(indices, out):
        # Of three exact steps in float32 only the last one, to another type, may round.
        torch.add(_by_32_bits(numbers).to(torch.float32).mul_(width), width / 2 - 1, out=centres)
    return out


def quantize(features: Tensor, rounds: int) -> Tensor:
    """Move features to their bucket centres; gradients pass straight through (the straight-through estimator)."""
    centres: Tensor = _StraightThrough.apply(features, rounds)
    return centres


class _StraightThrough(torch.autograd.Function):
    """`decode(encode(features))` without integers in between; its gradient is the identity's."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor, rounds: int) -> Tensor:
        half = _half(rounds)
        out = torch.empty_like(features)
        for values, centres in _blocks(features.detach(), out):
            torch.mul(_edges(values, half).sub_(0.5), 1 / half, out=centres)
        return out

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def indices_to_bits(indices: Tensor, rounds: int, dim: int = 1) -> Tensor:
    """Unpack indices [..., C, ...] to bits [..., M*C, ...] along `dim`, round-major."""
    _half(rounds)
    return torch.cat([(indices >> (rounds - 1 - j)) & 1 for j in range(rounds)], dim=dim)


def bits_to_indices(bits: Tensor, rounds: int, dim: int = 1) -> Tensor:
    """Pack round-major bits [..., M*C, ...] along `dim` to indices [..., C, ...]."""
    _half(rounds)
    assert bits.shape[dim] % rounds == 0, f"{bits.shape[dim]} bits do not divide into {rounds} rounds"
    indices = torch.zeros_like(bits.narrow(dim, 0, bits.shape[dim] // rounds), dtype=torch.int64)
    for plane in bits.long().chunk(rounds, dim=dim):
        indices = (indices << 1) | plane
    return indices


def truncate(indices: Tensor, rounds: int, keep: int) -> Tensor:
    """Reduce indices to fewer rounds: the `keep` most significant of `rounds` bits (1 <= keep <= rounds)."""
    _half(rounds)
    assert 1 <= keep <= rounds, f"cannot keep {keep} of {rounds} rounds"
    return indices >> (rounds - keep)


class PlanePacker:
    """Packs indices into planes as they come: each round's bits go behind those of the indices before."""

    def __init__(self, rounds: int) -> None:
        _half(rounds)
        self._planes = [bytearray() for _ in range(rounds)]
        self._left = [np.zeros(0, bool) for _ in range(rounds)]  # bits that do not fill a byte yet

    def add(self, indices: NDArray[np.uint16]) -> None:
        """Append the next indices, of any shape."""
        rounds = len(self._planes)
        for j, plane in enumerate(self._planes):
            bits = (indices & np.uint16(1 << (rounds - 1 - j))).astype(bool).ravel()
            bits = np.concatenate([self._left[j], bits]) if len(self._left[j]) else bits
            whole = len(bits) // 8 * 8
            plane += np.packbits(bits[:whole]).tobytes()
            self._left[j] = bits[whole:].copy()

    def planes(self) -> list[bytearray]:
        """Return the planes when all indices are in; the last byte of each is filled up with zeros."""
        for plane, left in zip(self._planes, self._left, strict=True):
            plane += np.packbits(left).tobytes()
        self._left = [np.zeros(0, bool) for _ in self._planes]
        return self._planes


def unpack_planes(planes: Sequence[bytes | bytearray | memoryview], start: int, count: int) -> NDArray[np.uint16]:
    """Unpack the indices from number `start` to `start + count` of planes, coarsest round first."""
    indices = np.zeros(count, dtype=np.uint16)
    skipped = start % 8
    for plane in planes:
        packed = np.frombuffer(plane, np.uint8)[start // 8 : -(-(start + count) // 8)]
        np.left_shift(indices, 1, out=indices)
        np.bitwise_or(indices, np.unpackbits(packed)[skipped : skipped + count], out=indices)
    return indices


def _half(rounds: int) -> int:
    """Buckets on either side of zero, 2^(M-1)."""
    assert 1 <= rounds <= MAX_ROUNDS, f"rounds must be 1 to {MAX_ROUNDS}, not {rounds}"
    return int(2 ** (rounds - 1))


def _edges(values: Tensor, half: int) -> Tensor:
    """Upper edge of each value's bucket, counted in buckets from zero: whole numbers in float32, 1 - half to half."""
    # Scaling by a power of two is exact, so the ceiling sees the value itself; adding 1 first would round tiny values
    # onto the centre.
    return torch.mul(values.float(), half).ceil_().clamp_(1 - half, half)


def _by_32_bits(numbers: Tensor) -> Tensor:
    """On the way between float32 and another width: a processor converts many to or from 32 bits at a time, others one by one."""
    return numbers.to(torch.int32) if numbers.device.type == "cpu" else numbers


def _blocks(source: Tensor, target: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """The same parts of both, small enough that a processor works on them in its cache; elsewhere the whole at once.

    Several operations one after the other, each over all of a large tensor, would wait for memory at every one.
    """
    if torch.compiler.is_compiling() or source.device.type != "cpu":
        return [(source, target)]
    size = _BLOCK * torch.get_num_threads()
    order = sorted(range(source.dim()), key=source.stride, reverse=True)
    source, target = source.permute(order), target.permute(order)
    if not (source.is_contiguous() and target.is_contiguous()):
        return [(source, target)]
    # The two lie in memory alike, whatever the order of their axes.
    return zip(source.flatten().split(size), target.flatten().split(size), strict=True)
