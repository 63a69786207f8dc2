"""Muon is torch's, and in float32 where the device is slow in bfloat16."""

import pytest
import torch
from torch import nn

from grn.training.muon import Muon, levelled

JORDAN = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16), (1, 8)])
def test_singular_values_are_levelled(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(5):
        values = JORDAN[0] * values + JORDAN[1] * values**3 + JORDAN[2] * values**5
    expected = left @ torch.diag(values) @ right
    torch.testing.assert_close(levelled(matrix, JORDAN, 5, 1e-7), expected)


def test_nothing_stays_nothing() -> None:
    assert not levelled(torch.zeros(3, 4), JORDAN, 5, 1e-7).any()


def moved(kind: type[torch.optim.Optimizer], **settings: object) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((24, 40), (40, 24), (8, 8))]
    optimizer = kind(weights, lr=0.02, weight_decay=0.1, **settings)
    for _ in range(4):
        for weight in weights[:2]:  # the last one is not used
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return [weight.detach() for weight in weights]


def test_steps_are_those_of_torch() -> None:
    """Up to the rounding of bfloat16, in which torch levels."""
    start, ours = moved_by_nothing(), moved(Muon)
    theirs = moved(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    for before, one, other in zip(start[:2], ours, theirs, strict=False):
        assert float((one - other).norm()) < 0.02 * float((other - before).norm())
    assert torch.equal(ours[2], start[2])


def moved_by_nothing() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in ((24, 40), (40, 24), (8, 8))]


def test_where_bfloat16_is_fast_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.devices.multiplies_bfloat16", lambda: True)
    ours, theirs = moved(Muon), moved(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    assert all(map(torch.equal, ours, theirs))


def test_it_goes_on_from_torchs_state() -> None:
    weight = nn.Parameter(torch.ones(3, 5))
    weight.grad = torch.arange(15.0).view(3, 5)
    theirs = torch.optim.Muon([weight], lr=0.02)
    theirs.step()
    ours = Muon([weight], 0.02, 0.1)
    ours.load_state_dict(theirs.state_dict())
    ours.step()
    assert torch.equal(ours.state[weight]["momentum_buffer"], theirs.state[weight]["momentum_buffer"])
    assert not torch.equal(ours.state[weight]["momentum_buffer"], weight.grad * (1 - 0.95))
