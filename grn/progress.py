"""One bar of steps over everything that a call draws."""

import sys
from types import TracebackType

from tqdm.auto import tqdm

from grn.refine.step import StepView


class StepBar:
    """Use it in a `with`; `see` is a callback of the sampler. Silent unless standard error is a terminal, or in a notebook."""

    def __init__(self, samples: int, steps: int, shown: bool = True) -> None:
        """steps: the most that a sample takes, until it has chosen its own."""
        self.totals = dict.fromkeys(range(samples), steps)
        self.done = dict.fromkeys(range(samples), 0)
        self.shown = shown and _watched()
        self.bar = tqdm(total=samples * steps, desc="drawing", unit="step", disable=not self.shown)

    def see(self, view: StepView) -> None:
        """Count a step; the sum of all is known better with every sample that has chosen its steps."""
        if self.totals[view.number] != view.total:
            self.totals[view.number] = view.total
            self.bar.total = sum(self.totals.values())
        self.bar.update(view.step - self.done[view.number])
        self.done[view.number] = view.step

    def __enter__(self) -> "StepBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()


def _watched() -> bool:
    """Whether anybody looks: in a notebook, tqdm.auto is a widget."""
    notebook = any(base.__name__ == "tqdm_notebook" for base in tqdm.__mro__)
    return notebook or (sys.stderr is not None and sys.stderr.isatty())
