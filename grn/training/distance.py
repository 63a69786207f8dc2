"""A quick Frechet distance during a run: what the averaged model makes, beside the data, by the offline feature network.

Of few hundred pictures it is far above the distance of many; it compares the steps of one run, and nothing else.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from grn.evaluation.frechet import Moments, Statistics, frechet_distance
from grn.features.efficientnet import OfflineFeatures
from grn.training.engine import Engine
from grn.training.task import B, Example, Task


class Distance:
    """Measures a task's model against `count` samples, spread over the data; processes share the work."""

    def __init__(self, task: Task[Example, B], count: int, engine: Engine) -> None:
        self.task, self.engine = task, engine
        self._features = OfflineFeatures().to(engine.device).eval()
        numbers = torch.linspace(0, task.samples - 1, min(count, task.samples)).long().tolist()
        # Where the network is spread over processes, all must compute the same.
        self._numbers: Sequence[int] = numbers if engine.sharded else numbers[engine.process :: engine.processes]
        self._data: Statistics | None = None

    @torch.no_grad()
    def measure(self) -> float:
        """The distance now; all processes call this."""
        if self._data is None:
            self._data = self._statistics(self.task.real(self._numbers))
        return frechet_distance(self._statistics(self.task.made(self._numbers)), self._data)

    def _statistics(self, batches: Iterable[Tensor]) -> Statistics:
        moments = Moments(self._features.dim)
        for pixels in batches:
            moments.add(self._features(pixels.to(self.engine.device)))
        found = [moments] if self.engine.sharded else self.engine.gather(moments)
        together = found[0]
        for other in found[1:]:
            together.merge(other)
        return together.statistics(self._features.name)
