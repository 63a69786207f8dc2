"""Checkpoints of a run: written aside, verified by a manifest, never a half one under a final name.

    step-00001000/
        weights.safetensors     every module that is trained, keys prefixed by the module's name
        ema.safetensors         the moving average, same keys (absent without EMA)
        optimizer.pt            state of every optimizer (tensors and numbers only)
        manifest.json           step, and size and sha256 of each file

All randomness of a step comes from (seed, step), so the step number is also the place in the data and the state of every generator.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from grn.errors import ConfigError, EnvironmentFaultError

_NAME = re.compile(r"step-(\d{8})")


def save_checkpoint(
    run: Path,
    step: int,
    weights: dict[str, Tensor],
    ema: dict[str, Tensor] | None,
    optimizers: dict[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of `step` and delete all but the newest `keep`. EnvironmentFaultError if it cannot be written."""
    final = run / f"step-{step:08d}"
    aside = run / f"{final.name}.tmp-{uuid.uuid4().hex}"
    try:
        aside.mkdir(parents=True)
        save_file(_plain(weights), aside / "weights.safetensors")
        if ema is not None:
            save_file(_plain(ema), aside / "ema.safetensors")
        torch.save(optimizers, aside / "optimizer.pt")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(aside.iterdir())}
        (aside / "manifest.json").write_text(json.dumps({"step": step, "files": files}, indent=1))
        for path in aside.iterdir():
            _flush(path)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
        _flush(run)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise EnvironmentFaultError(
            f"{final}: checkpoint could not be written ({error}); free some space and resume"
        ) from error
    for old in sorted(p for p in run.iterdir() if _NAME.fullmatch(p.name))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for stray in run.glob("step-*.tmp-*"):
        shutil.rmtree(stray, ignore_errors=True)
    return final


def newest_checkpoint(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose manifest verifies, and what is wrong with each newer one.

    (None, []) where there is none at all. ConfigError where there are some and all are damaged: starting over would hide that.
    """
    problems: list[str] = []
    for path in sorted((p for p in run.glob("step-*") if _NAME.fullmatch(p.name)), reverse=True):
        problem = verify_checkpoint(path)
        if problem is None:
            return path, problems
        problems.append(problem)
    if problems:
        raise ConfigError(
            f"{run}: no checkpoint can be resumed from ({'; '.join(problems)}); restore one or use a new run folder"
        )
    return None, []


def verify_checkpoint(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        files = json.loads((path / "manifest.json").read_text())["files"]
        for name, entry in files.items():
            file = path / Path(name).name
            if file.stat().st_size != entry["bytes"] or _sha256(file) != entry["sha256"]:
                return f"{file}: differs from the manifest"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path}: {type(error).__name__}: {error}"
    return None


def load_checkpoint(path: Path) -> tuple[int, dict[str, Tensor], dict[str, Tensor] | None, dict[str, Any]]:
    """(step, weights, ema or None, optimizer states) of a verified checkpoint, on the CPU."""
    step = json.loads((path / "manifest.json").read_text())["step"]
    ema = load_file(path / "ema.safetensors") if (path / "ema.safetensors").exists() else None
    optimizers = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
    return step, load_file(path / "weights.safetensors"), ema, optimizers


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
