"""From the order of a run to the batches of this process, on its device."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import torch
from torch.utils.data import DataLoader, Dataset

from grn.data.bad import Bad
from grn.errors import BadInputError, GrnError
from grn.training.config import DataConfig, RunConfig
from grn.training.task import B, Example, Loss, Slot, Task

_ATTEMPTS = 100  # in a row that cannot be read


@dataclass(frozen=True)
class Part(Generic[B]):
    """A part of a step's batch that is computed at once, and the slots that its examples are from."""

    slots: tuple[Slot, ...]
    batch: B
    bad_samples: Mapping[int, str] = field(default_factory=dict)
    """What was wrong with those that others stand in for, by their numbers."""

    def bad(self, loss: Loss) -> list[int]:
        """The numbers of the samples whose own loss is not finite."""
        if loss.samples is None:
            return []
        finite = loss.samples.isfinite().tolist()
        return [slot.number for slot, fine in zip(self.slots, finite, strict=True) if not fine]

    def pin_memory(self) -> "Part[B]":
        """For a quick copy to a GPU; the data loader asks for it by this name."""
        pin = getattr(self.batch, "pin_memory", None)
        return Part(self.slots, pin(), self.bad_samples) if pin else self


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
    data: DataConfig,
    first: int,
    device: torch.device,
    share: tuple[int, int] = (1, 0),
    on_bad: Callable[[list[str]], None] = lambda messages: None,
) -> Iterator[tuple[list[Part[B]], float]]:
    """From step `first` on, each step's batch in `config.accumulate` parts, or in packed ones of at most
    `config.tokens_per_batch` tokens, and the seconds that were waited for it.

    share: how many processes there are, and the number of this one. on_bad: told of samples that cannot be read; another
    one stands in for each, the same whenever the run is repeated. Raises BadInputError where they are more than
    `data.most_bad`, and what the task's `read` does else.
    """
    slots = (part for step in range(first, config.steps) for part in slots_of(task, config, step, *share))
    loader: DataLoader[Any] = DataLoader(  # typed by what it reads, not by what it gives: parts, or an error
        _Reader(task),
        batch_sampler=_Once(slots),
        num_workers=data.workers,
        collate_fn=_Collate(task, config.tokens_per_batch),
        pin_memory=device.type == "cuda",
        worker_init_fn=_outlive if data.workers else None,
    )
    parts: list[Part[B]] = []
    bad = Bad(data.most_bad, task.samples)
    start = time.monotonic()
    for found in loader:
        if isinstance(found, GrnError):
            raise found
        for part in found:
            if messages := bad.add(len(part.slots), part.bad_samples):
                on_bad(messages)
            parts.append(Part(part.slots, part.batch.to(device)))
        if config.tokens_per_batch or len(parts) == config.accumulate:
            yield parts, time.monotonic() - start
            parts, start = [], time.monotonic()


def _outlive(worker: int) -> None:
    """A worker leaves it to the run to end: whoever ends all processes of a job at once wants its checkpoint first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def packs(tokens: Sequence[int], most: int) -> list[list[int]]:
    """Which of several examples share a sequence of at most `most` tokens: the largest first, each where it fits first.

    One that is larger than that is alone.
    """
    found: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(tokens)), key=lambda n: -tokens[n]):
        place = next((i for i, left in enumerate(room) if tokens[number] <= left), len(found))
        if place == len(found):
            found.append([])
            room.append(most)
        found[place].append(number)
        room[place] -= tokens[number]
    return [sorted(one) for one in found]


class _Once:
    """An iterable for the data loader, which goes through its sampler once."""

    def __init__(self, slots: Iterator[list[Slot]]) -> None:
        self.slots = slots

    def __iter__(self) -> Iterator[list[Slot]]:
        return self.slots


@dataclass(frozen=True)
class _Read(Generic[Example]):
    """An example, the slot that it is of, and what was wrong with the samples that it stands in for, by their numbers."""

    slot: Slot
    example: Example
    bad: dict[int, str]


class _Reader(Dataset[Any], Generic[Example, B]):
    def __init__(self, task: Task[Example, B]) -> None:
        self.task = task

    def __getitem__(self, slot: Slot) -> _Read[Example] | GrnError:
        bad: dict[int, str] = {}
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    return _Read(slot, self.task.read(slot), bad)
                except BadInputError as error:
                    bad[slot.number] = str(error)
                    slot = slot._replace(number=self.task.other(slot, attempt))
            return BadInputError(f"{len(bad)} samples one after the other cannot be read: {next(iter(bad.values()))}")
        except GrnError as error:
            return error  # raised in a worker process, its message would grow a traceback


class _Collate(Generic[Example, B]):
    """The parts of examples, or the first error among them. tokens: most of a part; None: there is one part."""

    def __init__(self, task: Task[Example, B], tokens: int | None) -> None:
        self.task, self.tokens = task, tokens

    def __call__(self, found: Sequence[_Read[Example] | GrnError]) -> list[Part[B]] | GrnError:
        read = []
        for one in found:
            if isinstance(one, GrnError):
                return one
            read.append(one)
        if self.tokens is None:
            return [self._part(read)]
        sizes = [self.task.tokens(one.example) for one in read]
        return [self._part([read[n] for n in numbers]) for numbers in packs(sizes, self.tokens)]

    def _part(self, read: Sequence[_Read[Example]]) -> Part[B]:
        bad = {number: message for one in read for number, message in one.bad.items()}
        return Part(tuple(one.slot for one in read), self.task.collate([one.example for one in read]), bad)
