"""The bar of steps."""

import io
import sys
from typing import Any

import pytest
import torch

from grn.progress import StepBar
from grn.refine.step import StepView


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, step: int, total: int) -> StepView:
    nothing = torch.zeros(0)
    return StepView(number, step, total, 0.5, nothing, nothing, nothing, nothing)


def test_steps_are_summed_over_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with StepBar(2, 50) as bar:
        assert bar.shown
        assert bar.bar.total == 100
        for number in (0, 1):
            bar.see(step(number, 1, 50))
        bar.see(step(0, 2, 20))  # it has chosen its steps
        assert (bar.bar.n, bar.bar.total) == (3, 70)
        bar.see(step(1, 31, 50))  # one that started on the way counts what it left out
        assert bar.bar.n == 33


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO(), True), (Terminal(), False), (None, True)])
def test_silent_unless_somebody_looks(monkeypatch: pytest.MonkeyPatch, stream: Any, shown: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with StepBar(1, 5, shown) as bar:
        assert not bar.shown
        bar.see(step(0, 1, 5))
    assert stream is None or stream.getvalue() == ""
