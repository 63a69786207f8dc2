"""What both families keep of the contract, and what they refuse."""

from typing import Any

import pytest
import torch
from helpers.refinement import case

from grn.errors import UsageError
from grn.networks.contract import GeneratorNetwork


@pytest.mark.parametrize("family", ["class", "text", "joint text"])
def test_rows_and_cat_of_what_is_prepared(family: str) -> None:
    found = case(family, "bit")
    network: GeneratorNetwork = found[0]
    condition, shape = found[1], found[3]
    whole = network.prepare(condition)
    assert len(whole) == len(condition) == 6
    order = torch.tensor([4, 0, 4])
    parts = type(whole).cat([whole.rows(order[:1]), whole.rows(order[1:])])
    maps = torch.randint(2, (3, *shape, network.config.elements), generator=torch.Generator().manual_seed(1))
    ratios = torch.tensor([0.2, 0.5, 0.9])
    direct = network(maps, ratios, network.prepare(condition.rows(order)))
    torch.testing.assert_close(network(maps, ratios, parts), direct, atol=1e-9, rtol=0)
    packed = network.packed(list(maps), ratios, parts)
    torch.testing.assert_close(torch.stack(packed), direct, atol=1e-9, rtol=0)


@pytest.mark.parametrize("family", ["class", "text"])
def test_conditions_of_the_other_kind_are_refused(family: str) -> None:
    network, other = case(family, "bit")[0], case("text" if family == "class" else "class", "bit")[1]
    with pytest.raises(UsageError, match=r"draws from a \w+Condition \(found \w+Condition\)"):
        network.prepare(other)


@pytest.mark.parametrize("shapes", [[(1, 4, 4), (1, 2, 4)], [(2, 4, 4)], [(1, 1, 1), (1, 1, 1)]])
def test_a_class_network_names_the_shape_that_it_cannot_draw(shapes: list[Any]) -> None:
    network, condition, _, _ = case("class", "bit")
    maps = [torch.zeros(*shape, network.config.elements, dtype=torch.int64) for shape in shapes]
    prepared = network.prepare(condition.rows(torch.arange(len(maps))))
    wrong = next(shape for shape in shapes if shape != (1, 4, 4))
    says = rf"token map \({wrong[0]}, {wrong[1]}, {wrong[2]}, 8\): .* maps of \(1, 4, 4, 8\) only"
    with pytest.raises(UsageError, match=says):
        network.packed(maps, torch.full((len(maps),), 0.5), prepared)
    if len(set(shapes)) == 1:
        with pytest.raises(UsageError, match=says):
            network(torch.stack(maps), torch.full((len(maps),), 0.5), prepared)
