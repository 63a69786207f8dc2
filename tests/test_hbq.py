"""HBQ: the closed form against the paper's loop, the authors' vectors, and the properties that the rest relies on."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grn import hbq

REFERENCE = load_file(Path(__file__).parent / "assets" / "reference" / "hbq.safetensors")
ROUNDS = st.integers(1, hbq.MAX_ROUNDS)
BLOCK = 2**16  # more values than this are worked on in parts


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


def quantize_by_integers(features: Tensor, rounds: int) -> Tensor:
    """The plain straight-through estimator: to integers and back, and a difference that is zero but has a gradient."""
    centres = hbq.decode(hbq.encode(features.detach(), rounds), rounds, features.dtype)
    return centres + (features - features.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rounds", [1, 4, 16])
def test_quantize_is_exact_and_straight_through(rounds: int, dtype: torch.dtype) -> None:
    features = (torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) * 3 - 1.5).to(dtype)
    weight = torch.arange(15.0, dtype=dtype).reshape(3, 5)
    found = []
    for quantize in (hbq.quantize, quantize_by_integers):
        x = features.clone().requires_grad_()
        y = quantize(x, rounds)
        (y * weight).sum().backward()
        assert x.grad is not None
        found.append((y.detach(), x.grad))
    for mine, plain in zip(*found, strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, plain)


class Types(TorchDispatchMode):
    """Notes the types of all tensors that operations give."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.found |= {one.dtype for one in tree_leaves(result) if isinstance(one, Tensor)}
        return result


def test_the_quantization_of_training_makes_no_integers() -> None:
    x = torch.rand(2 * BLOCK, requires_grad=True)
    with Types() as types:
        hbq.quantize(x, 4).sum().backward()
    assert types.found == {torch.float32}
    with Types() as types:  # the canary
        quantize_by_integers(x, 4)
    assert torch.int64 in types.found


def layouts() -> Iterator[tuple[str, Tensor]]:
    """Tensors of more than a block that lie in memory in many ways, with values on and off the edges."""
    random = torch.Generator().manual_seed(0)
    side = BLOCK // 8 * torch.get_num_threads() + 3
    x = (
        torch.randint(-40, 41, (2, side, 3, 5), generator=random) / 32
        + torch.rand((), generator=random).sub(0.5) * 1e-7
    )
    yield "contiguous", x
    yield "channels last", x.contiguous(memory_format=torch.channels_last)
    yield "moved axis", x.movedim(1, -1)
    yield "every other", x[:, ::2]
    yield "a part", x[:, 5:, :, 1:]
    yield "one for all", x[:, :, :, :1].expand(-1, -1, -1, 7)
    yield "empty", x[:0]


@pytest.mark.parametrize(("name", "x"), list(layouts()))
def test_large_tensors_of_any_layout(name: str, x: Tensor) -> None:
    indices = hbq.encode(x, 4)
    assert torch.equal(indices, encode_by_rounds(x, 4))
    assert torch.equal(hbq.decode(indices, 4), (2 * indices + 1).float() / 16 - 1)
    assert torch.equal(hbq.quantize(x, 4), quantize_by_integers(x, 4))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(4, 6), (2, BLOCK)])
def test_results_go_where_they_are_asked_to(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rounds = 8 if dtype == torch.uint8 else 15
    out = torch.empty(shape[::-1], dtype=dtype).T  # lies otherwise than what is read
    assert hbq.encode(x, rounds, out) is out
    assert torch.equal(out.long(), encode_by_rounds(x, rounds))
    centres = torch.empty(shape)
    assert hbq.decode(out, rounds, out=centres) is centres
    assert torch.equal(centres, hbq.decode(hbq.encode(x, rounds), rounds))


@pytest.mark.parametrize("work", [hbq.encode, hbq.quantize, lambda x, m: hbq.decode(hbq.encode(x, m), m)])
def test_compiled_whole_and_the_same(work: Callable[[Tensor, int], Tensor]) -> None:
    x = torch.rand(3, BLOCK) * 2 - 1
    compiled = torch.compile(work, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, 4), work(x, 4))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), ROUNDS, st.data())
def test_planes_hold_the_bits_of_all_indices_in_turn(counts: list[int], rounds: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    parts = [rng.integers(0, 2**rounds, count, dtype=np.uint16) for count in counts]
    packer = hbq.PlanePacker(rounds)
    for part in parts:
        packer.add(part)
    planes, whole = packer.planes(), np.concatenate(parts)
    for j, plane in enumerate(planes):
        bits = "".join(str(int(index) >> (rounds - 1 - j) & 1) for index in whole)
        padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
        assert bytes(plane) == bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))
    start = data.draw(st.integers(0, len(whole)))
    count = data.draw(st.integers(0, len(whole) - start))
    assert np.array_equal(hbq.unpack_planes(planes, start, count), whole[start : start + count])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_read_as_float32(dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 257).to(dtype)
    assert torch.equal(hbq.encode(x, 4), encode_by_rounds(x.float(), 4))
    assert hbq.quantize(x, 4).dtype == dtype


@pytest.mark.parametrize("rounds", [0, 17, -1])
def test_rounds_out_of_range_are_a_mistake(rounds: int) -> None:
    with pytest.raises(AssertionError, match="rounds must be 1 to 16"):
        hbq.encode(torch.zeros(1), rounds)
