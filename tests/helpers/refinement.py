"""Small networks of both families with conditions, to refine with."""

import functools
from typing import Any

import torch
from torch import nn

from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sample, Sampler

Case = tuple[Any, Any, Any, tuple[int, int, int]]
ADAPTIVE: dict[str, Any] = {"adaptive": True, "tmin": 6, "tmax": 14, "k": 120.0, "b": -70.0, "warmup": 3}


def words(*lengths: int) -> TextCondition:
    random = torch.Generator().manual_seed(2)
    parts = [torch.randn(1, n, 6, generator=random, dtype=torch.float64) for n in lengths]
    return TextCondition.cat([TextCondition(part, torch.ones(1, part.shape[1], dtype=torch.bool)) for part in parts])


@functools.cache
def case(family: str, target: Any) -> Case:
    """A network, six conditions, the unconditional one and a shape. Weights are random: as initialised they would say nothing.

    In double precision what the size of a batch does to rounding is too little to be seen in a draw.
    """
    network: nn.Module
    if family == "class":
        network = ClassToImage(ClassToImageConfig.tiny(target))
        parts: tuple[Any, Any, tuple[int, int, int]] = (
            ClassCondition(torch.tensor([0, 1, 2, 3, 4, 0])),
            network.null_condition(1),
            (1, 4, 4),
        )
    else:
        attention = "joint" if family == "joint text" else "one-way"
        network = TextToVisual(TextToVisualConfig.tiny(target, text_attention=attention))
        parts = words(2, 5, 3, 1, 4, 2), words(2), (2, 2, 4)
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3 if parameter.dim() == 1 else 0.2)
    return (network.double().eval().requires_grad_(False), *parts)


def sample(which: Case, *, rows: list[int] | None = None, seed: int = 0, **settings: Any) -> list[Sample]:
    """Those rows, each with its own seed, in the order of `rows`; settings of run go to it."""
    network, condition, null, shape = which
    rows = list(range(len(condition))) if rows is None else rows
    given = {name: settings.pop(name) for name in ("batch_size", "callback", "known") if name in settings}
    sampler = Sampler(network, SamplerConfig(**settings))
    seeds = [seed + row for row in rows]
    found = list(sampler.run(condition.rows(torch.tensor(rows)), null, shape, seed=seeds, **given))
    assert sorted(s.number for s in found) == list(range(len(rows)))
    return sorted(found, key=lambda s: s.number)


def same(one: list[Sample], other: list[Sample]) -> bool:
    return all(torch.equal(a.indices, b.indices) and a.steps == b.steps for a, b in zip(one, other, strict=True))
