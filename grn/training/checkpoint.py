"""Checkpoints of a run: written aside, verified by a manifest, never a half one under a final name.

    step-00001000/
        weights.safetensors     every module that is trained, keys prefixed by the module's name
        ema.safetensors         the moving average, keys of the model (absent without one)
        optimizer.pt            state of every optimizer (tensors and numbers only)
        shards/                 of a sharded run, in place of the three above: torch's distributed checkpoint, for any number of processes
        manifest.json           step, serial number, recipe, size and sha256 of each file, and the manifest's own sha256

All randomness of a step comes from (seed, step), so the step number is also the place in the data and the state of every generator.
The newest checkpoint is the one with the highest serial number: after going back to an earlier step, that is not the highest step.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed.checkpoint as dcp
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from grn.errors import ConfigError, EnvironmentFaultError, ModelMismatchError
from grn.files import display, sha256

MANIFEST = "manifest.json"
WEIGHTS, AVERAGE, OPTIMIZERS = "weights.safetensors", "ema.safetensors", "optimizer.pt"
_NAME = re.compile(r"step-(\d{8,18})(\.old-[0-9a-f]{32})?")
SHARDS = "shards"
_INDEX = f"{SHARDS}/.metadata"
_SHARD = re.compile(rf"{SHARDS}/(\.metadata|__\d{{1,9}}_\d{{1,9}}\.distcp)")
_MAX_MANIFEST_BYTES = 16 << 20


class Together(Protocol):
    """Processes that write one checkpoint together."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes what is written once."""

    @property
    def processes(self) -> int:
        """How many there are."""

    def wait(self) -> None:
        """For all of them."""

    def largest(self, values: Sequence[int]) -> list[int]:
        """The largest of each value over all of them."""


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileEntry(_Checked):
    """Of one file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(_Checked):
    """What a checkpoint says of itself."""

    step: int = Field(ge=0)
    serial: int = Field(0, ge=0, description="how many checkpoints this run wrote before; 0: by an older version")
    recipe: dict[str, JsonValue] | None = Field(None, description="resolved; none: by an older version")
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, on the CPU. recipe: resolved, if it is known. optimizers: by module, what optimizes it."""

    step: int
    recipe: dict[str, Any] | None
    weights: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizers: dict[str, Any]


class Checkpoints:
    """Those of one run folder."""

    def __init__(self, run: Path, keep: int = 2) -> None:
        """keep: how many good ones are left, the newest, when another one is written."""
        self.run, self.keep = run, keep
        self._good: dict[Path, tuple[tuple[str, int, int], ...]] = {}

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then delete what is older than the newest `keep` good ones.

        Raises EnvironmentFaultError where it cannot be written; those that are there stay as they are.
        """
        aside = self.run / f"step-{checkpoint.step:08d}.tmp-{uuid.uuid4().hex}"
        with self._writing(aside):
            aside.mkdir(parents=True)
            self._write(aside, checkpoint)
            return self._finish(aside, checkpoint.step, checkpoint.recipe)

    def save_shards(self, step: int, recipe: dict[str, Any], state: dict[str, Any], engine: "Together") -> Path:
        """The same of a state whose tensors are spread over processes, all of which call this; each writes its own part.

        Raises EnvironmentFaultError in all of them where it cannot be written in one.
        """
        aside = self.run / f"step-{step:08d}.tmp-shards"
        final = self.run / f"step-{step:08d}"
        if engine.first:
            shutil.rmtree(aside, ignore_errors=True)
        engine.wait()
        with self._writing(aside):
            dcp.save(state, checkpoint_id=aside / SHARDS, no_dist=engine.processes == 1)
        failure: EnvironmentFaultError | None = None
        if engine.first:
            try:
                with self._writing(aside):
                    self._finish(aside, step, recipe)
            except EnvironmentFaultError as error:
                failure = error
        if engine.largest([failure is not None])[0]:
            raise failure or EnvironmentFaultError(f"{display(final)}: the first process could not write its manifest")
        return final

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint that verifies, and what is wrong with each one that may be newer.

        (None, []) where there is none at all. ConfigError where there are some and all are damaged: starting over would hide that.
        """
        problems: list[str] = []
        for path in self._newest_first():
            problem = self.problem(path)
            if problem is None:
                return path, problems
            problems.append(problem)
        if problems:
            raise ConfigError(
                f"{display(self.run)}: no checkpoint can be resumed from ({'; '.join(problems)}); "
                "restore one or use a new run folder"
            )
        return None, []

    def problem(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None. One that was found good is read again only once its files have changed."""
        state = tuple(sorted(_states(path)))
        if state and self._good.get(path) == state:
            return None
        problem = verify_checkpoint(path)
        if problem is None:
            self._good[path] = state
        return problem

    @contextmanager
    def _writing(self, aside: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
            shutil.rmtree(aside, ignore_errors=True)
            final = aside.with_name(aside.name.partition(".")[0])
            raise EnvironmentFaultError(
                f"{display(final)}: checkpoint could not be written ({_cause(error)}); free some space and resume"
            ) from error

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        save_file(_plain(checkpoint.weights), folder / WEIGHTS)
        if checkpoint.average is not None:
            save_file(_plain(checkpoint.average), folder / AVERAGE)
        with (folder / OPTIMIZERS).open("wb") as file:
            torch.save(checkpoint.optimizers, file)

    def _finish(self, aside: Path, step: int, recipe: dict[str, Any] | None) -> Path:
        """Describe what is in a folder, make it durable, give it its name and delete what is too old."""
        files = {
            path.relative_to(aside).as_posix(): FileEntry(bytes=path.stat().st_size, sha256=sha256(path))
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        }
        serial = 1 + max((_serial(path) for path in self._found()), default=0)
        (aside / MANIFEST).write_bytes(_encode(Manifest(step=step, serial=serial, recipe=recipe, files=files)))
        for path in (*aside.rglob("*"), aside):
            _flush(path)
        final = self.run / f"step-{step:08d}"
        if final.exists():
            final.rename(self.run / f"{final.name}.old-{uuid.uuid4().hex}")  # found until the new one has its place
        aside.rename(final)
        _flush(self.run)
        self._prune()
        return final

    def _prune(self) -> None:
        """Delete what is older than `keep` good checkpoints, and what a killed process left half written."""
        good = 0
        for path in self._newest_first():
            if good >= self.keep or (good and ".old-" in path.name):
                # Out of the way first: deleted in part, it would be a damaged checkpoint.
                with suppress(OSError):
                    path.rename(path.with_name(f"{path.name.partition('.')[0]}.tmp-{uuid.uuid4().hex}"))
            elif self.problem(path) is None:
                good += 1
        for stray in self.run.glob("step-*.tmp-*"):
            shutil.rmtree(stray, ignore_errors=True)

    def _found(self) -> list[Path]:
        return [path for path in self.run.glob("step-*") if _NAME.fullmatch(path.name)]

    def _newest_first(self) -> list[Path]:
        """By serial number; of those that do not tell theirs, by step, before the others: what is damaged may be the newest."""

        def age(path: Path) -> tuple[float, str]:
            serial = _serial(path)
            return (float("inf") if serial < 0 else serial), path.name

        return sorted(self._found(), key=age, reverse=True)


def verify_checkpoint(path: Path) -> str | None:
    """What is wrong with a checkpoint, in one line, or None."""
    try:
        manifest = read_manifest(path)
    except (OSError, ValueError, RecursionError) as error:
        return f"{display(path / MANIFEST)}: {_cause(error)}"
    name = _NAME.fullmatch(path.name)
    if name and int(name[1]) != manifest.step:
        return f"{display(path / MANIFEST)}: is of step {manifest.step}"
    sharded = is_sharded(manifest)
    if missing := ({_INDEX} if sharded else {WEIGHTS, OPTIMIZERS}) - manifest.files.keys():
        return f"{display(path / MANIFEST)}: names no {sorted(missing)[0]}"
    known = {name for name in manifest.files if _SHARD.fullmatch(name)} if sharded else {WEIGHTS, OPTIMIZERS, AVERAGE}
    if odd := manifest.files.keys() - known:
        return f"{display(path / MANIFEST)}: names {display(sorted(odd)[0])!r}, which no checkpoint holds"
    for file, entry in manifest.files.items():
        try:
            if (path / file).stat().st_size != entry.bytes or sha256(path / file) != entry.sha256:
                return f"{display(path / file)}: differs from the manifest"
        except OSError as error:
            return f"{display(path / file)}: {error.strerror or error}"
    return None


def is_sharded(manifest: "Manifest") -> bool:
    """Whether a checkpoint was written in parts."""
    return any(name.startswith(f"{SHARDS}/") for name in manifest.files)


def load_shards(path: Path, state: dict[str, Any], alone: bool) -> None:
    """Fill a state, of the shapes and processes that there are now, from a verified sharded checkpoint.

    alone: there is one process. Its index is a pickle: only a run's own folder may be read. Raises ModelMismatchError where it does not fit.
    """
    try:
        dcp.load(state, checkpoint_id=path / SHARDS, no_dist=alone)
    except CheckpointException as error:  # of any process; what else may come is a process that has died
        raise ModelMismatchError(
            f"{display(path)}: does not fit this recipe ({_cause(error)}); use the recipe it was made with"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """What a verified checkpoint holds. Raises ModelMismatchError where it is none of this program's."""
    manifest = read_manifest(path)
    try:
        average = load_file(path / AVERAGE) if AVERAGE in manifest.files else None
        optimizers = torch.load(path / OPTIMIZERS, map_location="cpu", weights_only=True)
        weights = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise EnvironmentFaultError(f"{display(path)}: cannot be read ({_cause(error)}); check the disk") from error
    except Exception as error:
        # Unpickling fails in many ways, and torch's own advice, to allow any code, is for files that one trusts.
        raise ModelMismatchError(
            f"{display(path / OPTIMIZERS)}: holds other things than numbers ({type(error).__name__}); "
            "resume from a checkpoint that was written here"
        ) from error
    return Checkpoint(manifest.step, manifest.recipe, weights, average, optimizers)


def _encode(manifest: Manifest) -> bytes:
    """The manifest and its own digest, in the only spelling that is believed."""
    content = manifest.model_dump(mode="json")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return json.dumps({"content": content, "sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1).encode()


def read_manifest(path: Path) -> Manifest:
    """Raises OSError, ValueError (ValidationError is one) or RecursionError."""
    file = path / MANIFEST
    if file.stat().st_size > _MAX_MANIFEST_BYTES:
        raise ValueError(f"larger than {_MAX_MANIFEST_BYTES} bytes")
    raw = file.read_bytes()
    tree = json.loads(raw)
    if isinstance(tree, dict) and "content" not in tree:
        return Manifest.model_validate(tree)  # an older version's, which had no digest of its own
    manifest = Manifest.model_validate(tree["content"] if isinstance(tree, dict) else tree)
    if _encode(manifest) != raw:
        raise ValueError("differs from its own sha256")
    return manifest


def _serial(path: Path) -> int:
    """-1 where it cannot be told."""
    try:
        return read_manifest(path).serial
    except (OSError, ValueError, RecursionError):
        return -1


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file."""
    try:
        for file in path.rglob("*"):
            stat = file.stat()
            yield str(file), stat.st_size, stat.st_mtime_ns
    except OSError:
        return


def _cause(error: BaseException) -> str:
    """The first line of what went wrong; the system's reason where one is behind it."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, CheckpointException) and error.failures:
        return _cause(next(iter(error.failures.values()))[0])  # of the first process that has failed
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and behind.strerror:
            return behind.strerror
        behind = behind.__cause__ or behind.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
