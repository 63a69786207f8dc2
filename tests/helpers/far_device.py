"""A GPU that is not there: tensors that say they lie on one and are refused beside those of the computer.

Torch's FakeTensorMode has such tensors too, but without values, which the sampler and the optimizer ask for, and a torch
without CUDA takes no gradients of them. Here the values lie in the computer's memory and only the placement is made up: what
runs on them would meet no tensor of another device on a GPU, and gives the same numbers as on the processor.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
_MOVES = (Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.pin_memory)
_MIXES = (Tensor.copy_, Tensor.__setitem__)  # of two devices, as torch allows
_ASKS = (Tensor.device.__get__, Tensor.is_cuda.__get__, Tensor.is_pinned)  # type: ignore[attr-defined]
_LOCAL = (Tensor.numpy, Tensor.__array__)


class FarTensor(Tensor):
    """Lies on `DEVICE`, as far as anything asks."""


class DevicesMeetError(AssertionError):
    """Tensors of two devices in one operation."""


class FarDevice(TorchFunctionMode):
    """While it lasts `DEVICE` is a device like others; whatever comes of its tensors lies there."""

    def __torch_function__(
        self, call: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        given = [one for one in tree_flatten((args, named))[0] if isinstance(one, Tensor)]
        far = any(isinstance(one, FarTensor) for one in given)
        with torch._C.DisableTorchFunctionSubclass():
            if call in _ASKS:
                here = DEVICE if far else call(args[0])
                return {_ASKS[0]: here, _ASKS[1]: far, _ASKS[2]: False}[call]
            if call in _MOVES:
                return _moved(call, args, named)
            if call is torch._has_compatible_shallow_copy_type:  # a weight that moves is replaced
                return len({isinstance(one, FarTensor) for one in given}) == 1
            if far and call in _LOCAL:
                raise TypeError("a tensor of a GPU is no array")
            named.pop("pin_memory", None)
            wanted = named.get("device")
            if wanted is not None:
                far = torch.device(wanted) == DEVICE
                named["device"] = torch.device("cpu") if far else wanted
            if any(torch._C._functorch.is_batchedtensor(one) for one in given):
                return call(*args, **named)  # inside of vmap tensors have lost their kind
            if far:
                _check(call, args, given, named.get("generator"))
            return tree_map(lambda one: _laid(one, far, given), call(*args, **named))


def _moved(call: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """A tensor where it was, or on another device: then a copy."""
    tensor, *how = args
    before = isinstance(tensor, FarTensor)
    after, dtype = {Tensor.cuda: True, Tensor.cpu: False}.get(call, before), tensor.dtype
    for one in (*how, *named.values()) if call is Tensor.to else ():
        if isinstance(one, torch.device | str):
            after = torch.device(one).type == "cuda"
        elif isinstance(one, torch.dtype):
            dtype = one
        elif isinstance(one, Tensor):
            after, dtype = isinstance(one, FarTensor), one.dtype
    if after != before:
        return Tensor.to(tensor, dtype, copy=True).as_subclass(FarTensor if after else Tensor)
    made: Tensor = Tensor.to(tensor, dtype)
    return made.as_subclass(FarTensor) if after and made is not tensor else made


def _check(call: Callable[..., Any], args: tuple[Any, ...], given: list[Tensor], generator: Any) -> None:
    """Numbers without axes may meet a GPU's tensors, as may the indices of one; nothing else of the computer's."""
    if generator is not None:
        raise DevicesMeetError(f"{call}: a generator of the processor on a GPU")
    near = [one for one in given if not isinstance(one, FarTensor) and one.dim()]
    if call in _MIXES or not near:
        return
    if call is Tensor.__getitem__ and isinstance(args[0], FarTensor):
        return
    shapes = [(tuple(one.shape), "GPU" if isinstance(one, FarTensor) else "CPU") for one in given]
    raise DevicesMeetError(f"{getattr(call, '__name__', call)}: tensors of two devices, {shapes}")


def _laid(found: Any, far: bool, given: list[Tensor]) -> Any:
    if not isinstance(found, Tensor) or any(found is one for one in given):
        return found
    return found.as_subclass(FarTensor) if far else found


@contextmanager
def far_device(patch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """`DEVICE`, which engines take for the process's own."""
    patch.setattr(accelerate.Accelerator, "device", property(lambda self: DEVICE))
    patch.setattr(torch.cuda, "synchronize", lambda *_: None)
    with FarDevice():
        yield DEVICE
