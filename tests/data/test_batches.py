"""Sets of pictures as batches: order, sizes, and a repeatable choice."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from grn.data.samples import Sample
from grn.data.transforms import batches, pick
from grn.errors import BadInputError


def sample(number: int, width: int = 12, height: int = 12) -> Sample:
    file = io.BytesIO()
    frame = np.full((height, width, 3), number, np.uint8)
    frame[:, : width // 4] = 255
    Image.fromarray(frame).save(file, "PNG")
    return Sample(f"key-{number}", file.getvalue)


def test_batches_keep_order_and_range():
    found = list(batches([sample(n) for n in range(5)], None, batch_size=2))
    assert [len(b) for b in found] == [2, 2, 1]
    last = torch.cat(found)[:, 0, 0, -1]
    torch.testing.assert_close(last, torch.arange(5) / 127.5 - 1)
    assert torch.cat(found)[:, :, 0, 0].eq(1).all()


def test_without_a_size_a_batch_ends_where_the_size_changes():
    found = list(batches([sample(0), sample(1, width=20), sample(2, 16, 16), sample(3, 16, 30)], None, batch_size=3))
    assert [tuple(b.shape) for b in found] == [(2, 3, 12, 12), (2, 3, 16, 16)]


def test_a_size_gives_the_middle_square_of_any_picture():
    (found,) = batches([sample(0, 40, 20), sample(1, 20, 30)], 10)
    assert found.shape == (2, 3, 10, 10)
    assert found[0, 0, 5, 1:].max() < 0  # the white quarter at the left was cropped away


def test_a_picture_that_cannot_be_read_is_named():
    with pytest.raises(BadInputError, match="broken"):
        list(batches([Sample("broken", lambda: b"no picture")], 8))


def test_pick_is_repeatable_ordered_and_depends_on_the_seed():
    samples = [sample(n) for n in range(20)]
    first, again, other = (pick(samples, 5, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first == sorted(first, key=samples.index)
    assert pick(samples, None, 0) == pick(samples, 99, 0) == samples
