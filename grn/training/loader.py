"""From the order of a run to the batches of this process, on its device."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch.utils.data import DataLoader, Dataset

from grn.errors import GrnError
from grn.training.config import RunConfig
from grn.training.task import B, Example, Loss, Slot, Task


@dataclass(frozen=True)
class Part(Generic[B]):
    """A part of a step's batch that is computed at once, and the slots that its examples are from."""

    slots: tuple[Slot, ...]
    batch: B

    def bad(self, loss: Loss) -> list[int]:
        """The numbers of the samples whose own loss is not finite; of all, where none stands out."""
        numbers = [slot.number for slot in self.slots]
        if loss.samples is None:
            return numbers
        finite = loss.samples.isfinite().tolist()
        return [number for number, fine in zip(numbers, finite, strict=True) if not fine] or numbers

    def pin_memory(self) -> "Part[B]":
        """For a quick copy to a GPU; the data loader asks for it by this name."""
        pin = getattr(self.batch, "pin_memory", None)
        return Part(self.slots, pin()) if pin else self


def slots_of(
    task: Task[Example, B], config: RunConfig, step: int, processes: int = 1, process: int = 0
) -> Iterator[list[Slot]]:
    """The slots of every part of a step that are this process's share."""
    numbers = task.order(step * config.batch_size, config.batch_size)
    mine = [Slot(step, place, numbers[place]) for place in range(process, config.batch_size, processes)]
    size = len(mine) // config.accumulate
    yield from (mine[start : start + size] for start in range(0, len(mine), size))


def load_parts(
    task: Task[Example, B],
    config: RunConfig,
    first: int,
    device: torch.device,
    workers: int = 0,
    share: tuple[int, int] = (1, 0),
) -> Iterator[tuple[list[Part[B]], float]]:
    """From step `first` on, each step's batch in `config.accumulate` parts, and the seconds that were waited for it.

    share: how many processes there are, and the number of this one. Raises what the task's `read` does.
    """
    slots = (part for step in range(first, config.steps) for part in slots_of(task, config, step, *share))
    loader: DataLoader[Any] = DataLoader(  # typed by what it reads, not by what it gives: parts, or an error
        _Reader(task),
        batch_sampler=_Once(slots),
        num_workers=workers,
        collate_fn=_Collate(task),
        pin_memory=device.type == "cuda",
    )
    parts: list[Part[B]] = []
    start = time.monotonic()
    for part in loader:
        if isinstance(part, GrnError):
            raise part
        parts.append(Part(part.slots, part.batch.to(device)))
        if len(parts) == config.accumulate:
            yield parts, time.monotonic() - start
            parts, start = [], time.monotonic()


class _Once:
    """An iterable for the data loader, which goes through its sampler once."""

    def __init__(self, slots: Iterator[list[Slot]]) -> None:
        self.slots = slots

    def __iter__(self) -> Iterator[list[Slot]]:
        return self.slots


class _Reader(Dataset[tuple[Slot, Example] | GrnError], Generic[Example, B]):
    def __init__(self, task: Task[Example, B]) -> None:
        self.task = task

    def __getitem__(self, slot: Slot) -> tuple[Slot, Example] | GrnError:
        try:
            return slot, self.task.read(slot)
        except GrnError as error:
            return error  # raised in a worker process, its message would grow a traceback


class _Collate(Generic[Example, B]):
    """A part, or the first error among its examples."""

    def __init__(self, task: Task[Example, B]) -> None:
        self.task = task

    def __call__(self, found: Sequence[tuple[Slot, Example] | GrnError]) -> Part[B] | GrnError:
        read = []
        for one in found:
            if isinstance(one, GrnError):
                return one
            read.append(one)
        return Part(tuple(slot for slot, _ in read), self.task.collate([example for _, example in read]))
