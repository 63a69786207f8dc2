"""Areas by name and aspect templates."""

import math

import pytest

from grn.errors import UsageError
from grn.networks import shapes
from grn.networks.rope import ASPECTS, nearest_aspect

# Width to height, as they are asked for, and the published templates of height over width.
TEMPLATES = {
    "1:3": 3.0, "2:5": 2.5, "1:2": 2.0, "9:16": 1.777, "2:3": 1.5, "3:4": 1.333, "25:29": 1.16, "1:1": 1.0,
    "29:25": 0.862, "4:3": 0.75, "3:2": 0.666, "16:9": 0.562, "2:1": 0.5, "5:2": 0.4, "3:1": 0.333,
}  # fmt: skip


def test_these_are_the_templates() -> None:
    assert sorted(TEMPLATES.values()) == pytest.approx(ASPECTS)


@pytest.mark.parametrize(("aspect", "template"), TEMPLATES.items())
@pytest.mark.parametrize(("area", "side"), shapes.AREAS.items())
def test_every_template_has_its_size_and_its_positions_in_every_area(
    area: str, side: int, aspect: str, template: float
) -> None:
    height, width = shapes.size_of(shapes.side_of(area), shapes.aspect_of(aspect), 16)
    tokens = side / 16
    assert (height // 16, width // 16) == (round(tokens * math.sqrt(template)), round(tokens / math.sqrt(template)))
    assert nearest_aspect(height / width) == pytest.approx(template)  # the network takes it for the same template


def test_areas_are_the_published_ones() -> None:
    assert list(shapes.AREAS) == ["0.06M", "0.25M", "0.41M", "0.92M", "1M", "2M"]
    for name, side in shapes.AREAS.items():
        assert side**2 / 2**20 == pytest.approx(float(name[:-1]), abs=0.06)


@pytest.mark.parametrize(
    ("side", "aspect", "step", "size"),
    [
        (960, "16:9", 16, (720, 1280)),
        (1024, "1:1", 16, (1024, 1024)),
        (128, "2:1", 16, (96, 176)),
        (64, "999:1", 16, (16, 2016)),
        (64, "2.5:1", 32, (32, 96)),
    ],
)
def test_sizes(side: int, aspect: str, step: int, size: tuple[int, int]) -> None:
    assert shapes.size_of(side, shapes.aspect_of(aspect), step) == size


@pytest.mark.parametrize(
    "text", ["", "16", "16:", "0:1", "1:0", "1:0.0", "-1:2", "a:b", "1:2:3", "1e3:1", "16/9", "٣:٤", "1:2\n"]
)
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected WIDTH:HEIGHT, such as 16:9"):
        shapes.aspect_of(text)


def test_areas_that_are_none() -> None:
    with pytest.raises(UsageError, match=r"area 3M: is none of 0\.06M, 0\.25M, 0\.41M, 0\.92M, 1M, 2M"):
        shapes.side_of("3M")
