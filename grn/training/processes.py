"""Training on several processes (torchrun): what they tell each other. With one process all of it is the identity."""

import atexit
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from grn.training.figures import Totals

_BUCKET = 1 << 25  # numbers sent at a time: one message for many small gradients, and no second copy of all large ones


def start() -> Accelerator:
    """Join the processes that torchrun started, if it did; the device is this process's own."""
    gpu = torch.cuda.is_available()
    joined = dist.is_initialized()
    accelerator = Accelerator(mixed_precision="bf16" if gpu else "no", cpu=not gpu)
    if accelerator.num_processes > 1 and not joined:
        atexit.register(dist.destroy_process_group)  # one that fails is noticed by those that wait for it
    return accelerator


def average_gradients(accelerator: Accelerator, gradients: Sequence[Tensor]) -> None:
    """Put into each gradient its mean over all processes."""
    if accelerator.num_processes == 1:
        return
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= accelerator.num_processes
        for gradient, mean in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (
            gradient.dtype != bucket[0].dtype or sum(g.numel() for g in bucket) + gradient.numel() > _BUCKET
        ):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def mean(accelerator: Accelerator, figures: Mapping[str, float]) -> dict[str, float]:
    """Figures, of the same names in all processes, averaged over them; what is not finite in one is so in all."""
    if accelerator.num_processes == 1:
        return dict(figures)
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=accelerator.device)
    dist.all_reduce(values)
    return dict(zip(figures, (values / accelerator.num_processes).tolist(), strict=True))


def gather(accelerator: Accelerator, totals: Totals) -> list[Totals]:
    """What every process has summed up."""
    return [totals] if accelerator.num_processes == 1 else list(gather_object([totals]))


def largest(accelerator: Accelerator, values: Sequence[int]) -> list[int]:
    """The largest of each value over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    found = torch.tensor(values, dtype=torch.int64, device=accelerator.device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return [int(value) for value in found.tolist()]
