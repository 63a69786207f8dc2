"""What a training run is of, as the loop sees it: samples in an order, batches, losses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from grn.training.config import OptimizerConfig


class Slot(NamedTuple):
    """One place of a run: all randomness of its example follows from it and the run's seed."""

    step: int
    place: int
    """In the step's batch."""
    number: int
    """Of the sample that stands there."""


class Batch(Protocol):
    """Examples as tensors, of a task's own kind."""

    def __len__(self) -> int:
        """How many samples it holds."""

    @property
    def tokens(self) -> int:
        """Number of tokens of the examples."""

    def to(self, device: torch.device) -> Self:
        """Move to `device`."""


@dataclass(frozen=True)
class Loss:
    """One loss of a batch.

    trains: the module, by its name in `Task.modules`, whose weights lower it. value: float32 [], the mean over the samples.
    figures: for the log, each the mean over the entries of a tensor of any shape that are numbers.
    samples: [B], each sample's own, by which a bad one is found. operations: floating-point operations that it takes, forward and backward.
    """

    trains: str
    value: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    samples: Tensor | None = None
    operations: float = 0.0

    def detached(self) -> "Loss":
        """Detach from the graph of gradients."""
        return replace(self, value=self.value.detach(), samples=None if self.samples is None else self.samples.detach())


Example = TypeVar("Example")
B = TypeVar("B", bound=Batch)


class Task(Protocol[Example, B]):
    """What is trained."""

    modules: nn.ModuleDict
    """Every module with trained weights; "model" is the one that the run is for and that the average follows."""

    calls: dict[str, nn.Module]
    """By the same names, what `losses` calls in order to use them, and fixed networks that it needs beside.

    An engine puts these on its device, and wraps them where there are several.
    """

    @property
    def partly_used(self) -> Collection[str]:
        """The names in `calls` of what has weights that a step may leave alone."""

    @property
    def samples(self) -> int:
        """Number of samples."""

    def order(self, first: int, count: int) -> list[int]:
        """Return the numbers of the samples at `count` places of the run's endless order, from place `first`."""

    def other(self, slot: Slot, attempt: int) -> int:
        """Return the number of a sample that stands in for an unreadable one; it follows from slot and attempt alone."""

    def sample(self, number: int) -> str:
        """What messages call a sample."""

    def read(self, slot: Slot) -> Example:
        """Read one example, augmented with randomness from its slot alone; may run in a worker process."""

    def tokens(self, example: Example) -> int:
        """How many tokens of a packed sequence an example takes, with those of a text that stands in it."""

    def collate(self, examples: Sequence[Example]) -> B:
        """Join examples into one batch."""

    def made_up(self, count: int) -> list[Example]:
        """Make up examples of the recipe's shapes, to measure steps by; no data are read."""

    def settings(self, name: str) -> OptimizerConfig:
        """How the module of this name is optimized."""

    def losses(self, batch: B, step: int) -> list[Loss]:
        """Compute the training step up to the gradients: what each module is to lower."""

    def sheet(self, step: int, path: Path | None) -> None:
        """Show what the (averaged) model does now; None: take part in it, where the model is spread over processes."""

    def real(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        """The samples of these numbers as the model is to make them: pictures [B, 3, H, W] in [-1, 1], of clips the first frames.

        Those that cannot be read are left out, here and in `made`.
        """

    def made(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        """What the model, as it is, makes of these samples or of their captions or classes; the same on every call."""

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write a model folder with these (averaged) weights of the model."""
