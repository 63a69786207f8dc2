"""`grn env`: what is installed and found."""

import importlib.metadata
import os
import platform
import re
from typing import Any

import torch

import grn
from grn.hub import download
from grn.hub.resolve import converted_folder
from grn_cli.options.models import Env
from grn_cli.recipes import folder

_VARIABLES = re.compile(r"GRN_\w+|HF_HUB_OFFLINE|HF_HOME|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES")


def env(options: Env) -> None:
    """Versions, devices, folders and the variables that change what grn does."""
    threads = torch.get_num_threads()
    found: dict[str, Any] = {
        "grn": grn.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: _version(name) for name in _requirements()},
        "processor": f"{threads} thread{'s' * (threads != 1)}, {torch.backends.cpu.get_cpu_capability()}",
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        "package": os.path.dirname(grn.__file__),  # noqa: PTH120
        "models": str(converted_folder("").parent / "models"),
        "hub cache": str(download.cache_folder()),
        "recipes": str(folder() or "not installed"),
        **{name: value for name, value in sorted(os.environ.items()) if _VARIABLES.fullmatch(name)},
    }
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in found.items()}
    options.console.result(found, *(f"{name:32} {value}" for name, value in shown.items()))


def _requirements() -> list[str]:
    """What grn says that it needs, of the core and of the extras."""
    try:
        wanted = importlib.metadata.requires("grn") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        wanted = ["torch", "numpy", "pydantic", "typer"]
    return list(dict.fromkeys(re.split(r"[^\w.-]", one)[0] for one in wanted))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
