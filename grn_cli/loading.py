"""From options to what computes: devices, number formats, models."""

import logging
import os
from typing import TYPE_CHECKING

import torch

from grn.devices import fast_type
from grn.errors import EnvironmentFaultError
from grn.hub import registry
from grn.tokenizer import Tokenizer
from grn_cli.options.shared import Computing, DType, ExactComputing, OnDevice, Parts

if TYPE_CHECKING:
    from grn.pipeline import Pipeline

_log = logging.getLogger("grn")


def torch_device(device: str, option: str = "--device") -> str:
    """The device that an option asks for. EnvironmentFaultError where it is not there."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        # torchrun numbers the processes of a machine: each gets a device of its own.
        own = os.environ.get("LOCAL_RANK", "")
        return f"cuda:{int(own) % found}" if found and own.isdigit() else "cuda" if found else "cpu"
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= found:
        raise EnvironmentFaultError(f"{option} {device}: no such device (found {found} CUDA devices); use {option} cpu")
    return device


def device_of(options: OnDevice) -> str:
    """Where a command computes. EnvironmentFaultError where that is not there."""
    return torch_device(options.device)


def torch_type(dtype: DType | None) -> torch.dtype | None:
    """torch's name for a number format."""
    found: torch.dtype | None = getattr(torch, dtype.value) if dtype else None
    return found


def load_tokenizer(name: str | None, options: Computing | ExactComputing) -> Tokenizer:
    """A tokenizer, by default the embedded one, in the device's fast format unless its codes are to be exact.

    Raises as `Tokenizer.from_pretrained` does.
    """
    device, dtype = device_of(options), torch_type(options.dtype)
    if dtype is None and not isinstance(options, ExactComputing):
        dtype = fast_type(device)
    made = Tokenizer.from_pretrained(name or registry.DEFAULT_TOKENIZER, device, dtype, options.offline)
    _log.info("tokenizer %s, weights %s, on %s in %s", made.name, made.fingerprint[:12], made.device, made.dtype_name)
    return made


def load_pipeline(name: str, options: Parts) -> "Pipeline":
    """A generator and its parts; a text encoder's network leaves once the prompts are encoded.

    Raises ModelNotFoundError, ConfigError, ModelMismatchError, UsageError or EnvironmentFaultError.
    """

    from grn.pipeline import Part, Pipeline  # which tokenizing does without

    def part(what: str, name: str | None, device: str | None, dtype: DType | None) -> Part:
        return Part(name, device and torch_device(device, f"--{what}-device"), torch_type(dtype))

    pipeline = Pipeline.from_pretrained(
        name,
        device_of(options),
        torch_type(options.dtype),
        options.offline,
        tokenizer=part("tokenizer", options.tokenizer, options.tokenizer_device, options.tokenizer_dtype),
        text=part("text", options.text_encoder, options.text_device, options.text_dtype),
        at_once="block" if options.offload else "part",
    )
    if options.compile is not None:
        pipeline.compiling = options.compile.value
        _log.info("%s: compile %s", pipeline.name, pipeline.compiling)
    return pipeline
