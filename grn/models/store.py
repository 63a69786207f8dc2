"""Model folders: where a name leads, and what is in the folder.

    config.json         format_version, kind, name, network (the fields of its config class), weights_sha256, ...
    model.safetensors   the weights, or shards and model.safetensors.index.json
    README.md           the model card
    tokenizer/          of a generator: a model folder too
    text_encoder/       of a text model

A name is looked for as alias (grn.models.registry), folder, in the hub's cache, on the hub.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from grn.errors import ConfigError, EnvironmentFaultError, GrnError, ModelMismatchError, ModelNotFoundError
from grn.files import atomic_path, display
from grn.models import hub, registry
from grn.models.layout import CARD, CONFIG, INDEX, WEIGHTS
from grn.models.tensors import SHARD_BYTES, read_weights, sha256, write_weights
from grn.validation import describe

FORMAT_VERSION = 1
EMBEDDED = Path(__file__).parent / "embedded"
_MAX_CONFIG_BYTES = 1 << 20
_log = logging.getLogger("grn")
_TYPES = {str: "a string", dict: "an object"}
_Config = TypeVar("_Config", bound=BaseModel)


@dataclass(frozen=True)
class Resolved:
    """A model folder and how it was found.

    source: "embedded", "folder", "converted", "hub cache" or "hub". looked_in: every place tried, in order.
    """

    folder: Path
    source: str
    looked_in: tuple[str, ...]


def resolve(name: str, offline: bool = False, kind: str | None = None) -> Resolved:
    """Find the model folder of an alias, folder path or hub name ("owner/model").

    kind: "tokenizer", "text-encoder" or "generator", what the caller needs; of a generator's folder the first two are
    its own ones. The folder of a text encoder may be in another format than ours.
    Raises ModelNotFoundError (where it looked, what to do), ModelMismatchError (a model of the other kind) or
    EnvironmentFaultError (network).
    """
    offline = offline or hub.is_offline()
    entry = registry.ENTRIES.get(name)
    if entry is not None:
        found = _embedded(entry) if entry.embedded else _published(entry, offline)
    elif (path := _existing(name)) is not None:
        found = _folder(name, path)
    elif hub.is_name(name):
        found = _hub(name, offline)
    else:
        raise _unknown(name, kind)
    found = _of_kind(name, found, kind)
    place = "" if str(found.folder) == name else f", {display(found.folder)}"
    _log.info("%s: %s%s", display(name), found.source, place)
    return found


def converted_folder(name: str) -> Path:
    """Where the converted weights of a published model are kept: $GRN_HOME/models/NAME, or ~/.cache/grn/models/NAME."""
    home = os.environ.get("GRN_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "grn"
    return Path(home).expanduser() / "models" / name


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
    for name, text in {
        CARD: card,
        CONFIG: _as_json(whole),
    }.items():
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


def _embedded(entry: registry.Entry) -> Resolved:
    folder = EMBEDDED / str(entry.embedded)
    if not (folder / CONFIG).is_file():
        raise ModelNotFoundError(f"{entry.name}: weights are not here (looked in {display(folder)}); install grn again")
    return Resolved(folder, "embedded", (str(folder),))


def _published(entry: registry.Entry, offline: bool) -> Resolved:
    """The converted weights; the first time they are fetched and converted."""
    folder = converted_folder(entry.name)
    if (folder / CONFIG).is_file():
        return Resolved(folder, "converted", (str(folder),))
    if entry.repo is None or entry.file is None:
        raise ModelNotFoundError(
            f"{entry.name}: weights are not here (looked in {display(folder)}) and the authors have published none; "
            f"train it with its recipe, or give the folder of your own"
        )
    # The small file first: a repository without it is not worth many gigabytes.
    wanted = [*([entry.vocabulary] if entry.vocabulary else []), entry.file]
    looked = [str(folder), f"{hub.cache_folder()} for {' and '.join(f'{entry.repo}/{file}' for file in wanted)}"]
    files, source = hub.files(entry.repo, wanted, local=True), "hub cache"
    if files is None and not offline:
        looked.append(f"https://huggingface.co/{entry.repo}")
        files, source = hub.files(entry.repo, wanted, local=False), "hub"
    if files is None:
        raise _absent(entry.name, looked, offline)
    from grn.models import published

    _log.info("%s: converting %s", entry.name, display(files[-1]))
    vocabulary = files[0] if entry.vocabulary else None
    published.convert(files[-1], folder, entry.name, vocabulary=vocabulary)
    return Resolved(folder, source, tuple(looked))


def _existing(name: str) -> Path | None:
    """The file or folder of that name, None where there is none or the system could have none."""
    try:
        path = Path(name).expanduser()
        path.lstat()
    except (OSError, ValueError, RuntimeError):  # not there; with a NUL; of an unknown user
        return None
    return path if name else None


def _folder(name: str, folder: Path) -> Resolved:
    if (folder / CONFIG).is_file():
        return Resolved(folder, "folder", (str(folder),))
    if folder.is_file():
        raise ModelNotFoundError(
            f"{display(name)}: is a file; give a model folder (published weights are fetched by name: grn models pull)"
        )
    hint = (
        f"; did you mean {display(folder / 'final')!r}?"
        if (folder / "final" / CONFIG).is_file()
        else "; give a model folder"
    )
    raise ModelNotFoundError(f"{display(name)}: the folder holds no {CONFIG}{hint}")


def _hub(name: str, offline: bool) -> Resolved:
    looked = [f"folder {name}", f"{hub.cache_folder()} for {name}"]
    folder, source = hub.snapshot(name, local=True), "hub cache"
    if folder is None and not offline:
        looked.append(f"https://huggingface.co/{name}")
        folder, source = hub.snapshot(name, local=False), "hub"
    if folder is None:
        raise _absent(name, looked, offline)
    return Resolved(folder, source, tuple(looked))


def _absent(name: str, looked: list[str], offline: bool) -> ModelNotFoundError:
    remedy = (
        f"run `grn models pull {name}` once with the network (without --offline and HF_HUB_OFFLINE), "
        "or give a model folder"
        if offline
        else "give a model folder"
    )
    return ModelNotFoundError(f"{name}: weights are not here (looked in {', '.join(map(display, looked))}); {remedy}")


def _unknown(name: str, kind: str | None) -> ModelNotFoundError:
    known = registry.names(kind)
    near = get_close_matches(name, known, 3, 0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(known)}"
    return ModelNotFoundError(
        f"{display(name)}: no model of that name (looked among the known names and for a folder; "
        f"hub names are OWNER/MODEL); {remedy}"
    )


def _of_kind(name: str, found: Resolved, kind: str | None) -> Resolved:
    if kind == "text-encoder":
        inner = found.folder / "text_encoder"
        return (
            replace(found, folder=inner) if (inner / CONFIG).is_file() else found
        )  # it is read by who knows its formats
    if kind is None:
        return found
    is_a = load_config(found.folder)["kind"]
    is_generator = is_a not in ("tokenizer", "text-encoder")
    if is_a == kind or (is_generator and kind == "generator"):
        return found
    if is_generator:
        inner = found.folder / "tokenizer"
        if (inner / CONFIG).is_file():
            return replace(found, folder=inner)
        raise ModelMismatchError(
            f"{display(name)}: is a generator without a tokenizer in its folder; name a tokenizer "
            f"({', '.join(registry.names('tokenizer'))})"
        )
    raise ModelMismatchError(
        f"{display(name)}: is a {is_a.replace('-', ' ')}; name a {kind} ({', '.join(registry.names(kind))}, or a folder)"
    )
