"""The processes and devices that a run has, and what they do together; accelerate and torch do the work.

With one process all of it is the identity.
"""

import atexit
import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from grn.errors import ConfigError

T = TypeVar("T")
_UNIT = re.compile(
    r"blocks\.\d+|encoder|decoder"
)  # of which one at a time is whole: a generator's blocks, an autoencoder's halves
_CALLED = ("prepare", "packed", "encode", "decode")  # besides forward
_HALVES = ("shrink", "conclude", "begin", "grow")  # what an autoencoder calls of its halves


class Engine:
    """Joins the processes that torchrun or accelerate started, if one did; the device is this process's own."""

    def __init__(
        self,
        parallel: Literal["ddp", "fsdp", "hybrid"] = "ddp",
        trackers: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        """parallel: every process holds the whole model; or a part of it (FSDP2); or a part, on every machine anew.

        trackers: where `track` sends figures, by accelerate's names; folder: where those that write files put them. Raises ConfigError
        for one whose package is not installed.
        """
        gpu = torch.cuda.is_available()
        joined = dist.is_initialized()
        if dist.is_torchelastic_launched() and not gpu and not joined:
            dist.init_process_group(
                "gloo"
            )  # accelerate's own call meets the addresses of processes that torchrun has restarted
        self._parallel = parallel
        self._shards: list[FSDPModule] = []
        self._ddp = DistributedDataParallelKwargs()
        self._accelerator = Accelerator(
            cpu=not gpu, kwargs_handlers=[self._ddp], log_with=list(trackers) or None, project_dir=folder
        )
        if absent := sorted(set(trackers) - {str(one) for one in self._accelerator.log_with}):
            raise ConfigError(f"run.trackers: the package {absent[0]} is not installed")
        if self.processes > 1 and not joined:
            atexit.register(dist.destroy_process_group)  # one that fails is noticed by those that wait for it

    @property
    def sharded(self) -> bool:
        """Whether checkpoints are written in parts, by all processes."""
        return self._parallel != "ddp"

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._accelerator.device

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self._accelerator.num_processes

    @property
    def process(self) -> int:
        """Number of this process."""
        return self._accelerator.process_index

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self._accelerator.is_main_process

    def distribute(
        self, modules: nn.ModuleDict, calls: dict[str, nn.Module], partly_used: Collection[str] = ()
    ) -> None:
        """Put what a step calls on the device, so that gradients become their mean over all processes.

        "model" is sharded where that was asked for, in place; everything else is wrapped by DDP. partly_used: names of those of
        which a step may leave weights alone: DDP has to look for these in every step.
        """
        modules.to(self.device)
        if self.sharded and self.processes > 1:
            self._shards = shard(modules["model"], self._mesh())
        for name, module in calls.items():
            trained = any(p.requires_grad for p in module.parameters())
            whole = trained and not (name == "model" and self._shards)
            self._ddp.find_unused_parameters = name in partly_used
            calls[name] = self._accelerator.prepare_model(module) if whole else module.to(self.device)

    def _mesh(self) -> DeviceMesh:
        if self._parallel == "fsdp":
            return init_device_mesh(self.device.type, (self.processes,))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.processes))
        names = ("replicate", "shard")
        return init_device_mesh(self.device.type, (self.processes // here, here), mesh_dim_names=names)

    @contextmanager
    def accumulating(self, calls: Iterable[nn.Module], last: bool) -> Iterator[None]:
        """Gradients stay in this process, but for the last part of a batch."""
        for part in self._shards:
            part.set_requires_gradient_sync(last)
        with ExitStack() as stack:
            if not last:
                for module in calls:
                    stack.enter_context(self._accelerator.no_sync(module))
            yield

    def whole_state(self, module: nn.Module) -> dict[str, Tensor]:
        """A module's weights, each whole: in the first process, all processes calling; nothing in the others where it is sharded."""
        if not self._shards:
            return module.state_dict()
        found = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def gather(self, value: T) -> list[T]:
        """Gather what every process has found."""
        return [value] if self.processes == 1 else list(gather_object([value]))

    @contextmanager
    def tracking(self, name: str, settings: Mapping[str, object]) -> Iterator[None]:
        """The trackers are told of a run and its settings, and that it has ended."""
        self._accelerator.init_trackers(name, {key: _plain(value) for key, value in settings.items()})
        try:
            yield
        finally:
            for tracker in self._accelerator.trackers:
                tracker.finish()

    def track(self, step: int, row: Mapping[str, float]) -> None:
        """Send figures to the trackers."""
        self._accelerator.log({name: value for name, value in row.items() if name != "step"}, step=step)

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over all processes."""
        if self.processes == 1:
            return list(values)
        found = self._accelerator.gather(torch.tensor([list(values)], device=self.device))
        return [int(value) for value in found.amax(0).tolist()]

    def missing_parts(self, count: int) -> int:
        """How many parts less this process has than another: where the model is spread over them, all call it as often."""
        return self.largest([count])[0] - count if self._shards else 0

    def wait(self) -> None:
        """Wait for all processes."""
        self._accelerator.wait_for_everyone()


def _plain(value: object) -> object:
    """What a tracker takes as a setting."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def shard(network: nn.Module, mesh: DeviceMesh) -> list[FSDPModule]:
    """Spread a network's weights over the processes of a mesh, block by block; returns what gathers them again, block by block.

    Networks are used through more than `forward`: each of their public methods gathers the weights that it needs.
    """
    # Outputs that are views may not be changed in place; nothing does while gradients are taken.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    parts = [*_units(network), network]
    for module in parts:
        methods = _methods(module)
        fully_shard(module, mesh=mesh)
        for name in methods:
            register_fsdp_forward_method(module, name)
    return [module for module in parts if isinstance(module, FSDPModule)]


def _units(network: nn.Module) -> list[nn.Module]:
    return [module for name, module in network.named_modules() if _UNIT.fullmatch(name)]


def _methods(module: nn.Module) -> list[str]:
    own = _CALLED if any(hasattr(module, name) for name in _CALLED) else _HALVES
    found = [(name, getattr(module, name, None)) for name in own]
    return [name for name, one in found if callable(one) and not isinstance(one, nn.Module)]
