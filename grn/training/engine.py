"""The processes and devices that a run has, and what they do together; accelerate and torch do the work.

With one process all of it is the identity.
"""

import atexit
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import nn

from grn.training.figures import Totals


class Engine:
    """Joins the processes that torchrun or accelerate started, if one did; the device is this process's own."""

    def __init__(self) -> None:
        gpu = torch.cuda.is_available()
        joined = dist.is_initialized()
        # Pictures leave the weights of a joint tokenizer's time axis alone: not every step uses every weight.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._accelerator = Accelerator(cpu=not gpu, kwargs_handlers=[unused])
        if self.processes > 1 and not joined:
            atexit.register(dist.destroy_process_group)  # one that fails is noticed by those that wait for it

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._accelerator.device

    @property
    def processes(self) -> int:
        """How many there are."""
        return self._accelerator.num_processes

    @property
    def process(self) -> int:
        """The number of this one."""
        return self._accelerator.process_index

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self._accelerator.is_main_process

    @property
    def first_here(self) -> bool:
        """Whether this is the one that prepares data on this machine."""
        return self._accelerator.is_local_main_process

    def distribute(self, calls: dict[str, nn.Module]) -> None:
        """Put what a step calls on the device, wrapped so that gradients become their mean over all processes."""
        for name, module in calls.items():
            trained = any(p.requires_grad for p in module.parameters())
            calls[name] = self._accelerator.prepare_model(module) if trained else module.to(self.device)

    @contextmanager
    def accumulating(self, calls: Iterable[nn.Module], last: bool) -> Iterator[None]:
        """Gradients stay in this process, but for the last part of a batch."""
        with ExitStack() as stack:
            if not last:
                for module in calls:
                    stack.enter_context(self._accelerator.no_sync(module))
            yield

    def gather(self, totals: Totals) -> list[Totals]:
        """What every process has summed up."""
        return [totals] if self.processes == 1 else list(gather_object([totals]))

    def largest(self, values: Sequence[int]) -> list[int]:
        """The largest of each value over all processes."""
        if self.processes == 1:
            return list(values)
        found = self._accelerator.gather(torch.tensor([list(values)], device=self.device))
        return [int(value) for value in found.amax(0).tolist()]

    def wait(self) -> None:
        """For all processes."""
        self._accelerator.wait_for_everyone()
