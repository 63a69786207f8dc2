"""Blocks of a measurement: each measured once, by whoever comes first, and again only where it was not finished."""

import io
from pathlib import Path

import numpy as np
import pytest

from grn.errors import BadInputError, EnvironmentFaultError
from grn.evaluation.blocks import Blocks


def squares(numbers: range) -> dict[str, np.ndarray]:
    return {"features": np.array(numbers) ** 2}


def test_blocks_come_in_the_order_of_their_samples(tmp_path: Path) -> None:
    blocks, left = Blocks(tmp_path / "new" / "work", 11, 4), list[int]()
    assert (len(blocks), blocks.left()) == (3, 11)
    blocks.run(squares, left.append)
    assert (left, blocks.left()) == ([11, 7, 3], 0)
    assert np.concatenate([arrays["features"] for arrays in blocks]).tolist() == [n * n for n in range(11)]
    Blocks(tmp_path / "new" / "work", 11, 4).run(lambda numbers: pytest.fail("measured again"))


def test_what_was_ended_is_measured_again_alone(tmp_path: Path) -> None:
    def ends(numbers: range) -> dict[str, np.ndarray]:
        if 5 in numbers:
            raise KeyboardInterrupt
        return squares(numbers)

    with pytest.raises(KeyboardInterrupt):
        Blocks(tmp_path, 11, 4).run(ends)
    seen = list[range]()
    again = Blocks(tmp_path, 11, 4)
    again.run(lambda numbers: seen.append(numbers) or squares(numbers))
    assert seen == [range(4, 8), range(8, 11)]
    assert sum(len(arrays["features"]) for arrays in again) == 11


def test_faults_are_named(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "work", 3, 2)
    blocks.run(squares)
    block = tmp_path / "work" / "features-000001.npz"
    whole, array = block.read_bytes(), io.BytesIO()
    np.save(array, np.zeros(2))
    for damaged in (b"", b"PK", whole[:-30], array.getvalue()):
        block.write_bytes(damaged)
        with pytest.raises(BadInputError, match=r"features-000001\.npz: cannot be read"):
            list(blocks)
    with pytest.raises(EnvironmentFaultError, match=r"features-000001\.npz/work"):
        Blocks(tmp_path / "work" / "features-000001.npz" / "work", 3)
