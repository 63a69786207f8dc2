"""When networks are compiled; what comes of it is in test_compile.py."""

import logging

import pytest
import torch
from torch import nn

from grn.networks import compiling
from grn.networks.compiling import PAYS, Compiling, forward_flop, pays

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "flop", "dtype", "gains", "found"),
    [
        ("auto", 1.0, torch.bfloat16, True, True),
        ("auto", 0.99, torch.bfloat16, True, False),  # not long enough
        ("auto", 9.0, torch.float32, True, False),  # repeats exactly
        ("auto", 9.0, torch.bfloat16, False, False),
        ("on", 0.0, torch.float32, False, True),
        ("off", 9.0, torch.bfloat16, True, False),
    ],
)
def test_when_it_pays(
    monkeypatch: pytest.MonkeyPatch, wanted: Compiling, flop: float, dtype: torch.dtype, gains: bool, found: bool
) -> None:
    monkeypatch.setattr(compiling, "gains_by_compiling", lambda device: gains)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert pays(wanted, CPU, dtype, flop * PAYS["cpu"]) == found


def test_work_is_counted_by_weights_and_tokens() -> None:
    assert forward_flop(nn.Linear(3, 4), 10) == 2 * 16 * 10


def test_without_a_compiler_it_goes_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    device = torch.device("meta")  # which nothing else asks for
    with caplog.at_level(logging.WARNING, "grn"):
        assert [pays("on", device, torch.float32, 0.0) for _ in range(3)] == [False] * 3
    assert [record.message for record in caplog.records] == [
        "nothing can be compiled for meta here, so networks run as they are: no working C++ compiler"
    ]
