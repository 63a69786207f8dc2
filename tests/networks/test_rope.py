"""Where tokens stand, as published."""

import math

import pytest
import torch

from grn.networks import rope


@pytest.mark.parametrize(
    ("aspect", "template"),
    [
        (1.0, 1.0), (9 / 16, 0.562), (16 / 9, 1.777), (3 / 4, 0.75), (1.34, 1.333), (100, 3.0), (0.01, 0.333),
        (0.86, 0.862), (1.1, 1.16),
    ],
)  # fmt: skip
def test_the_nearest_template_is_taken(aspect: float, template: float) -> None:
    assert rope.nearest_aspect(aspect) == template


def test_templates_come_with_their_inverses() -> None:
    assert rope.ASPECTS == (0.333, 0.4, 0.5, 0.562, 0.666, 0.75, 0.862, 1.0, 1.16, 1.333, 1.5, 1.777, 2.0, 2.5, 3.0)


def test_axes_share_a_heads_pairs() -> None:
    """Of 64 pairs 21 for time, 21 for rows and 22 for columns."""
    angles = rope.axis_angles(torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([5.0]), 128)[0]
    expected = [2 * 10000 ** (-n / 21) for n in range(21)] + [3 * 10000 ** (-n / 21) for n in range(21)]
    expected += [5 * 10000 ** (-n / 22) for n in range(22)]
    torch.testing.assert_close(angles, torch.tensor(expected))


def test_text_counts_up_and_the_ratio_stands_at_512() -> None:
    text, ratio = rope.text_angles(600, 24), rope.ratio_angles(24)
    assert text[:, 0].tolist() == list(range(600))
    assert not text[:, 4:].any()
    torch.testing.assert_close(ratio[0], text[512])


def test_rows_and_columns_are_spread_over_the_virtual_grid() -> None:
    angles = rope.visual_angles((2, 4, 8), 0.5, 24).unflatten(0, (2, 4, 8))
    rows_all, columns_all = math.floor(0.5 * math.sqrt(225 * 75 / 0.5)), math.floor(math.sqrt(225 * 75 / 0.5))
    assert angles[..., 0].unique().tolist() == [600, 601]
    assert angles[0, :, 0, 4].tolist() == [round(i * rows_all / 4) for i in range(4)]
    assert angles[0, 0, :, 8].tolist() == [round(j * columns_all / 8) for j in range(8)]


def test_pictures_of_one_shape_share_their_corners_and_middles() -> None:
    small = rope.visual_angles((1, 8, 8), 1.0, 24).unflatten(0, (8, 8))
    large = rope.visual_angles((1, 16, 16), 1.0, 24).unflatten(0, (16, 16))
    torch.testing.assert_close(small, large[::2, ::2])


@pytest.mark.parametrize("patch", [2, 3])
def test_a_patch_stands_where_its_middle_does(patch: int) -> None:
    coarse = rope.visual_angles((1, 6, 6), 1.0, 24, patch).unflatten(0, (6 // patch, 6 // patch))
    side = math.floor(math.sqrt(225 * 75))
    expected = [round((i * patch + (patch - 1) / 2) * side / 6) for i in range(6 // patch)]
    assert coarse[:, 0, 4].tolist() == coarse[0, :, 8].tolist() == expected


def test_turning_keeps_lengths_and_tells_distances() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(24, dtype=torch.float64), torch.randn(24, dtype=torch.float64)

    def score(one: int, other: int) -> float:
        turns = rope.turns_of(rope.text_angles(20, 24).double())
        turned = rope.rotate(query.expand(20, -1), turns)[one]
        assert math.isclose(float(turned.norm()), float(query.norm()), rel_tol=1e-6)
        return float(turned @ rope.rotate(key.expand(20, -1), turns)[other])

    assert math.isclose(score(3, 5), score(11, 13), rel_tol=1e-4)
    assert not math.isclose(score(3, 5), score(3, 6), rel_tol=1e-2)


def test_class_models_turn_by_row_then_column() -> None:
    angles = rope.grid_angles(3, 16).unflatten(0, (3, 3))
    expected = [2 * 10000 ** (-n / 4) for n in range(4)] + [1 * 10000 ** (-n / 4) for n in range(4)]
    torch.testing.assert_close(angles[2, 1], torch.tensor(expected))
