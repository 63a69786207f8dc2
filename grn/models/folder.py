"""Model folders: what is in one, read and written.

config.json         format_version, kind, name, network (the fields of its config class), weights_sha256, ...
model.safetensors   the weights, or shards and model.safetensors.index.json
README.md           the model card
tokenizer/          of a generator: a model folder too
text_encoder/       of a text model
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from grn.errors import ConfigError, EnvironmentFaultError, GrnError, ModelMismatchError, ModelNotFoundError
from grn.files import atomic_path, display
from grn.models.tensors import CARD, CONFIG, INDEX, SHARD_BYTES, WEIGHTS, read_weights, sha256, write_weights
from grn.validation import describe

FORMAT_VERSION = 1
_MAX_CONFIG_BYTES = 1 << 20
_TYPES = {str: "a string", dict: "an object"}
_Config = TypeVar("_Config", bound=BaseModel)


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a small JSON file. ModelNotFoundError or ConfigError name the file and what is wrong."""
    try:
        size = path.stat().st_size
        if size > _MAX_CONFIG_BYTES:
            raise ConfigError(
                f"{display(path)}: too large (expected at most {_MAX_CONFIG_BYTES} bytes, found {size}); "
                "restore the file"
            )
        config = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ModelNotFoundError(
            f"{display(path)}: no such file; a model folder holds {CONFIG} and {WEIGHTS}"
        ) from None
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(path)}: cannot be read ({error.strerror or error}); check the disk"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{display(path)}: not a JSON document ({type(error).__name__}: {error}); restore the file"
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{display(path)}: expected an object, found {type(config).__name__}; restore the file")
    return config


def load_config(folder: Path) -> dict[str, Any]:
    """Read and check the outer fields of a folder's config.json. Raises as `read_json` does."""
    path = folder / CONFIG
    config = read_json(path)
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(
            f"{display(path)}: format_version: expected 1 to {FORMAT_VERSION}, found {version!r}; restore the file"
        )
    if version > FORMAT_VERSION:
        raise ConfigError(
            f"{display(path)}: written in format version {version} and this grn reads up to version {FORMAT_VERSION}; "
            "install a newer grn"
        )
    for key, wanted in {"kind": str, "name": str, "network": dict}.items():
        if not isinstance(config.get(key), wanted):
            raise ConfigError(
                f"{display(path)}: {key}: expected {_TYPES[wanted]}, found {config.get(key)!r:.60}; restore the file"
            )
    return config


def update_config(folder: Path, section: str, values: Mapping[str, Any]) -> None:
    """Replace some values of one section of a folder's config.json. Raises as `load_config`, or EnvironmentFaultError."""
    config = load_config(folder)
    config[section] = {**config.get(section, {}), **values}
    try:
        with atomic_path(folder / CONFIG) as path:
            path.write_text(_as_json(config), encoding="utf-8", newline="\n")
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder / CONFIG)}: cannot be written ({error.strerror or error}); copy the folder to a place of yours"
        ) from error


def network_config(config: Mapping[str, Any], cls: type[_Config], folder: Path) -> _Config:
    """The network's config out of a loaded config.json.

    Raises ConfigError with the first complaint, and the nearest key for an unknown one.
    """
    try:
        return cls.model_validate(config["network"])
    except ValidationError as error:
        raise ConfigError(f"{display(folder / CONFIG)}: network: {describe(error, [cls])}; restore the file") from error


def load_weights(module: nn.Module, folder: Path, allow_nonfinite: bool = False) -> str:
    """Fill a network with a folder's weights, in the network's own type.

    Returns their fingerprint: the sha256 of model.safetensors, or of the index, which holds its shards' own. It is of
    what is stored: the same weights stored in another type have another one. Raises ModelMismatchError where a file is
    damaged, is not the one that config.json was written with, does not fit the network either way, or holds values
    that are not finite (unless `allow_nonfinite`).
    """
    path = folder / (INDEX if (folder / INDEX).is_file() else WEIGHTS)
    if not path.is_file():
        raise ModelNotFoundError(f"{display(path)}: no such file; a model folder holds {CONFIG} and {WEIGHTS}")
    expected = load_config(folder).get("weights_sha256")
    found = sha256(path)
    if found != expected:
        raise ModelMismatchError(
            f"{display(path)}: damaged or of another model (expected sha256 {str(expected)[:12]} as in {CONFIG}, "
            f"found {found[:12]}); restore both files"
        )
    read_weights(path, module, allow_nonfinite)
    return found


def save_model(
    folder: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    card: str = "",
    shard_bytes: int = SHARD_BYTES,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Write a model folder, with other `files` by name; the fingerprint of its weights. The same input gives the same
    bytes.

    Weights of more than `shard_bytes` are written as shards of at most that size. A folder that is not there appears
    whole or not at all; of several processes that make the same one, each finds it made. In a folder that is there,
    each file is replaced whole, and one left between two files is refused by `load_weights`. Raises
    EnvironmentFaultError where the disk refuses.
    """
    folder = Path(folder)

    def write(where: Path) -> str:
        fingerprint = write_weights(where, state, dtype, shard_bytes)
        for name, content in files.items():
            with atomic_path(where / name) as path:
                path.write_bytes(content)
        _write_texts(where, {**config, "weights_sha256": fingerprint}, card)
        return fingerprint

    if folder.exists():
        return write(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".grn-{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be written ({error.strerror or error}); write elsewhere"
        ) from error
    try:
        fingerprint = write(aside)
        aside.chmod(0o777 & ~_umask())  # mkdtemp's folders are for their owner only
        _appear(aside, folder, fingerprint)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be written ({error.strerror or error}); write elsewhere"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return fingerprint


def _write_texts(folder: Path, config: Mapping[str, Any], card: str) -> None:
    whole = {"format_version": FORMAT_VERSION, **config}
    for name, text in {CARD: card, CONFIG: _as_json(whole)}.items():
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _as_json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _appear(aside: Path, folder: Path, fingerprint: str) -> None:
    """Give a finished folder its name, unless another process has made the same one meanwhile."""
    try:
        aside.rename(folder)
    except OSError:
        try:
            made = load_config(folder).get("weights_sha256")
        except GrnError:
            made = None
        if made != fingerprint:
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number in JSON")


def empty_network(build: Callable[[], nn.Module], device: str, dtype: torch.dtype) -> nn.Module:
    """A network whose values are not set: nothing is drawn, and no copy of it in another type or place is ever held."""
    with torch.device("meta"):
        network = build()
    lost = dict(network.named_buffers()).keys() - network.state_dict().keys()
    assert not lost, f"{sorted(lost)} would be left without values"
    return network.to(dtype).to_empty(device=device)


def load_network(
    build: Callable[[], nn.Module], folder: Path, device: str, dtype: torch.dtype | None
) -> tuple[nn.Module, str]:
    """The network with a folder's weights, ready to be used, and their fingerprint; dtype None is float32.

    Raises what `grn.models.folder.load_weights` does.
    """
    network = empty_network(build, device, dtype or torch.float32)
    fingerprint = load_weights(network, folder)
    return network.eval().requires_grad_(False), fingerprint
