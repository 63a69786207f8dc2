"""HBQ: the closed form against the paper's loop, the authors' vectors, and the properties that the rest relies on."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from grn import hbq

REFERENCE = load_file(Path(__file__).parent / "assets" / "reference" / "hbq.safetensors")
ROUNDS = st.integers(1, hbq.MAX_ROUNDS)


def encode_by_rounds(features: Tensor, rounds: int) -> Tensor:
    """Algorithm 1 as written: each round compares with the bucket centre (exact in float32), then halves it."""
    centre = torch.zeros_like(features)
    indices = torch.zeros(features.shape, dtype=torch.int64)
    for j in range(1, rounds + 1):
        bit = features > centre
        indices = 2 * indices + bit
        centre = centre + torch.where(bit, 2.0**-j, -(2.0**-j))
    return indices


def encode_adding_one_first(features: Tensor, rounds: int) -> Tensor:
    """The tempting wrong closed form: x + 1 rounds tiny positive values onto the centre."""
    return torch.ceil((features + 1) * 2 ** (rounds - 1) - 1).clamp(0, 2**rounds - 1).long()


@st.composite
def features(draw: st.DrawFn) -> Tensor:
    """Float32 values in [-1, 1]: any, denormal, bucket edges of any round, and their neighbours."""
    anything = st.floats(-1, 1, width=32)
    denormal = st.floats(-(2.0**-126), 2.0**-126, width=32)
    edge = st.builds(
        lambda k, up: np.nextafter(np.float32(k / 2**15), np.float32(up)),
        st.integers(-(2**15), 2**15),
        st.sampled_from([-1, 1]),
    )
    tie = st.builds(lambda k: np.float32(k / 2**15), st.integers(-(2**15), 2**15))
    values = draw(st.lists(anything | denormal | edge | tie, min_size=1, max_size=64))
    return torch.from_numpy(np.array(values, dtype=np.float32))


@given(features(), ROUNDS)
def test_closed_form_is_the_loop(x: Tensor, rounds: int) -> None:
    assert torch.equal(hbq.encode(x, rounds), encode_by_rounds(x, rounds))


def test_every_edge_and_its_neighbours() -> None:
    edges = torch.arange(-(2**15), 2**15 + 1) / 2**15
    low, high = torch.nextafter(edges, torch.tensor(-2.0)), torch.nextafter(edges, torch.tensor(2.0))
    smallest = torch.tensor([2.0**-149, -(2.0**-149), 2.0**-126, -0.0])
    x = torch.cat([low, edges, high, smallest]).clamp(-1, 1)
    for rounds in range(1, hbq.MAX_ROUNDS + 1):
        assert torch.equal(hbq.encode(x, rounds), encode_by_rounds(x, rounds)), rounds
    assert not torch.equal(encode_adding_one_first(x, 4), encode_by_rounds(x, 4)), (
        "this test no longer catches the wrong form"
    )


@pytest.mark.parametrize("rounds", [1, 2, 4, 8])
def test_authors_vectors(rounds: int) -> None:
    indices = hbq.encode(REFERENCE["features"], rounds)
    bits = hbq.indices_to_bits(indices, rounds)
    assert torch.equal(indices, REFERENCE[f"index_{rounds}"])
    assert torch.equal(bits, REFERENCE[f"bits_{rounds}"])
    assert torch.equal(hbq.decode(indices, rounds), REFERENCE[f"decoded_{rounds}"])
    assert torch.equal(hbq.decode(hbq.bits_to_indices(bits, rounds), rounds), REFERENCE[f"decoded_from_bits_{rounds}"])


@given(features(), ROUNDS)
def test_error_after_each_round(x: Tensor, rounds: int) -> None:
    """|x - decoded| < 2^-j; on a bucket's edge (a multiple of 2^(1-j), +-1 included) exactly 2^-j, half a bucket."""
    decoded = hbq.decode(hbq.encode(x, rounds), rounds)
    bound = Fraction(1, 2**rounds)
    for value, centre in zip(x.tolist(), decoded.tolist(), strict=True):
        error = abs(Fraction(value) - Fraction(centre))
        on_edge = Fraction(value) % (2 * bound) == 0
        assert error == bound if on_edge else error < bound, (value, centre)


def test_values_outside_go_to_the_outermost_bucket() -> None:
    x = torch.tensor([-float("inf"), -3e38, -1.5, 1.5, 3e38, float("inf")])
    assert hbq.encode(x, 16).tolist() == [0, 0, 0, 65535, 65535, 65535]


@pytest.mark.parametrize("rounds", range(1, hbq.MAX_ROUNDS + 1))
def test_every_index_survives(rounds: int) -> None:
    indices = torch.arange(2**rounds)
    decoded = hbq.decode(indices, rounds)
    assert torch.equal(hbq.encode(decoded, rounds), indices)
    assert decoded.dtype == torch.float32
    assert [Fraction(c) for c in decoded.tolist()[:3]] == [
        Fraction(2 * i + 1, 2**rounds) - 1 for i in range(min(3, 2**rounds))
    ]


@given(features(), ROUNDS, st.data())
def test_truncation_is_fewer_rounds(x: Tensor, rounds: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, rounds))
    assert torch.equal(hbq.truncate(hbq.encode(x, rounds), rounds, keep), hbq.encode(x, keep))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), ROUNDS, st.data())
def test_bits_round_trip_in_any_rank_and_dim(shape: list[int], rounds: int, data: st.DataObject) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    seed = data.draw(st.integers(0, 99))
    indices = torch.randint(0, 2**rounds, shape, generator=torch.Generator().manual_seed(seed))
    bits = hbq.indices_to_bits(indices, rounds, dim)
    assert bits.shape[dim] == rounds * shape[dim]
    assert bits.min() >= 0
    assert bits.max() <= 1
    assert torch.equal(hbq.bits_to_indices(bits, rounds, dim), indices)


def test_bits_are_round_major() -> None:
    indices = torch.tensor([[0b100, 0b011]])
    assert hbq.indices_to_bits(indices, 3, dim=1).tolist() == [[1, 0, 0, 1, 0, 1]]


def test_quantize_is_exact_and_straight_through() -> None:
    x = (torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    weight = torch.arange(15.0).reshape(3, 5)
    y = hbq.quantize(x, 4)
    (y * weight).sum().backward()
    assert torch.equal(y, hbq.decode(hbq.encode(x, 4), 4))
    assert x.grad is not None
    assert torch.equal(x.grad, weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_read_as_float32(dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 257).to(dtype)
    assert torch.equal(hbq.encode(x, 4), encode_by_rounds(x.float(), 4))
    assert hbq.quantize(x, 4).dtype == dtype


@pytest.mark.parametrize("rounds", [0, 17, -1])
def test_rounds_out_of_range_are_a_mistake(rounds: int) -> None:
    with pytest.raises(AssertionError, match="rounds must be 1 to 16"):
        hbq.encode(torch.zeros(1), rounds)
