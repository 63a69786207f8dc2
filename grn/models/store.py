"""Model folders: where a name leads, and what is in the folder.

    config.json         format_version, kind, name, network (the fields of its config class), weights_sha256, ...
    model.safetensors   the weights
    README.md           the model card
    tokenizer/          of a generator: a model folder too
    text_encoder/       of a text model

A name is looked for as alias (grn.models.registry), folder, in the hub's cache, on the hub.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from grn.errors import ConfigError, EnvironmentFaultError, ModelMismatchError, ModelNotFoundError
from grn.files import atomic_path, display
from grn.models import registry
from grn.models.tensors import read_tensors, sha256, write_tensors
from grn.validation import describe

FORMAT_VERSION = 1
EMBEDDED = Path(__file__).parent / "embedded"
_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"
_MAX_CONFIG_BYTES = 1 << 20
_TYPES = {str: "a string", dict: "an object"}
_HUB_FILES = [
    f"{folder}{file}"
    for folder in ("", "tokenizer/", "text_encoder/")
    for file in (_CONFIG, "*.safetensors", "*.txt", _CARD)
]
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

    kind: "tokenizer" or "generator", what the caller needs; of a generator's folder a tokenizer is its own one.
    Raises ModelNotFoundError (where it looked, what to do), ModelMismatchError (a model of the other kind) or
    EnvironmentFaultError (network).
    """
    offline = offline or is_offline()
    entry = registry.ENTRIES.get(name)
    if entry is not None:
        found = _embedded(entry) if entry.embedded else _published(entry, offline)
    elif Path(name).expanduser().exists():
        found = _folder(name, Path(name).expanduser())
    elif _is_hub_name(name):
        found = _hub(name, offline)
    else:
        raise _unknown(name, kind)
    return _of_kind(name, found, kind)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def converted_folder(name: str) -> Path:
    """Where the converted weights of a published model are kept: $GRN_HOME/models/NAME, or ~/.cache/grn/models/NAME."""
    home = os.environ.get("GRN_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "grn"
    return Path(home).expanduser() / "models" / name


def load_config(folder: Path) -> dict[str, Any]:
    """Read and check the outer fields of a folder's config.json. ConfigError names the file and what is wrong."""
    path = folder / _CONFIG
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
            f"{display(path)}: no such file; a model folder holds {_CONFIG} and {_WEIGHTS}"
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


def network_config(config: Mapping[str, Any], cls: type[_Config], folder: Path) -> _Config:
    """The network's config out of a loaded config.json.

    Raises ConfigError with the first complaint, and the nearest key for an unknown one.
    """
    try:
        return cls.model_validate(config["network"])
    except ValidationError as error:
        raise ConfigError(
            f"{display(folder / _CONFIG)}: network: {describe(error, [cls])}; restore the file"
        ) from error


def load_weights(module: nn.Module, folder: Path, allow_nonfinite: bool = False) -> str:
    """Fill a network with a folder's weights, in the network's own type.

    Returns their fingerprint, the sha256 of model.safetensors. Raises ModelMismatchError where the file is damaged, is
    not the one that config.json was written with, does not fit the network either way, or holds values that are not
    finite (unless `allow_nonfinite`).
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        raise ModelNotFoundError(f"{display(path)}: no such file; a model folder holds {_CONFIG} and {_WEIGHTS}")
    expected = load_config(folder).get("weights_sha256")
    found = sha256(path)
    if found != expected:
        raise ModelMismatchError(
            f"{display(path)}: damaged or of another model (expected sha256 {str(expected)[:12]} as in {_CONFIG}, "
            f"found {found[:12]}); restore both files"
        )
    read_tensors(path, module, allow_nonfinite)
    return found


def save_model(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype, card: str = ""
) -> str:
    """Write a model folder; the fingerprint of its weights. The same input gives the same bytes.

    A folder that is not there appears whole or not at all. In one that is, each file is replaced whole, and a folder
    left between two files is refused by `load_weights`. Raises EnvironmentFaultError where the disk refuses.
    """
    folder = Path(folder)
    if folder.exists():
        return _write(folder, config, state, dtype, card)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".grn-{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be written ({error.strerror or error}); write elsewhere"
        ) from error
    try:
        fingerprint = _write(aside, config, state, dtype, card)
        aside.chmod(0o777 & ~_umask())  # mkdtemp's folders are for their owner only
        aside.rename(folder)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{display(folder)}: cannot be written ({error.strerror or error}); write elsewhere"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return fingerprint


def _write(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype, card: str) -> str:
    with atomic_path(folder / _WEIGHTS) as path:
        fingerprint = write_tensors(path, state, dtype)
    whole = {"format_version": FORMAT_VERSION, **config, "weights_sha256": fingerprint}
    for name, text in {
        _CARD: card,
        _CONFIG: json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }.items():
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8", newline="\n")
    return fingerprint


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number in JSON")


def _embedded(entry: registry.Entry) -> Resolved:
    folder = EMBEDDED / str(entry.embedded)
    if not (folder / _CONFIG).is_file():
        raise ModelNotFoundError(f"{entry.name}: weights are not here (looked in {display(folder)}); install grn again")
    return Resolved(folder, "embedded", (str(folder),))


def _published(entry: registry.Entry, offline: bool) -> Resolved:
    """The converted weights; the first time they are fetched and converted."""
    folder = converted_folder(entry.name)
    if (folder / _CONFIG).is_file():
        return Resolved(folder, "converted", (str(folder),))
    if entry.repo is None or entry.file is None:
        raise ModelNotFoundError(
            f"{entry.name}: weights are not here (looked in {display(folder)}) and the authors have published none; "
            f"train it with its recipe, or give the folder of your own"
        )
    looked = [str(folder), f"{_hub_cache()} for {entry.repo}/{entry.file}"]
    file, source = _hub_file(entry.repo, entry.file, local=True), "hub cache"
    if file is None and not offline:
        looked.append(f"https://huggingface.co/{entry.repo}")
        file, source = _hub_file(entry.repo, entry.file, local=False), "hub"
    if file is None:
        raise _absent(entry.name, looked, offline)
    from grn.models import published

    published.convert(file, folder, entry.name)
    return Resolved(folder, source, tuple(looked))


def _folder(name: str, folder: Path) -> Resolved:
    if (folder / _CONFIG).is_file():
        return Resolved(folder, "folder", (str(folder),))
    if folder.is_file():
        raise ModelNotFoundError(
            f"{display(name)}: is a file; give a model folder (published weights are fetched by name: grn models pull)"
        )
    hint = (
        f"; did you mean {display(folder / 'final')!r}?"
        if (folder / "final" / _CONFIG).is_file()
        else "; give a model folder"
    )
    raise ModelNotFoundError(f"{display(name)}: the folder holds no {_CONFIG}{hint}")


def _is_hub_name(name: str) -> bool:
    owner, slash, model = name.partition("/")
    plain = all(part and part[0].isalnum() and all(c.isalnum() or c in "._-" for c in part) for part in (owner, model))
    return bool(slash) and plain and name.isascii()


def _hub_cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _hub(name: str, offline: bool) -> Resolved:
    looked = [f"folder {name}", f"{_hub_cache()} for {name}"]
    folder = _hub_snapshot(name, local=True)
    if folder is not None:
        return Resolved(folder, "hub cache", tuple(looked))
    if not offline:
        looked.append(f"https://huggingface.co/{name}")
        folder = _hub_snapshot(name, local=False)
    if folder is None:
        raise _absent(name, looked, offline)
    return Resolved(folder, "hub", tuple(looked))


def _hub_snapshot(name: str, local: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    found = _fetch(name, lambda: snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=local))
    # A download that was cut short leaves a snapshot without all of its files.
    whole = found is not None and all((found / file).is_file() for file in (_CONFIG, _WEIGHTS))
    return found if whole else None


def _hub_file(repo: str, file: str, local: bool) -> Path | None:
    from huggingface_hub import hf_hub_download

    return _fetch(repo, lambda: hf_hub_download(repo, file, local_files_only=local))


def _fetch(name: str, download: Any) -> Path | None:
    """What a download gives, None where there is no such thing; EnvironmentFaultError where network or disk fail."""
    from huggingface_hub import errors

    try:
        return Path(download())
    except errors.LocalEntryNotFoundError as error:
        # Also raised for a failed connection, with the connection's error as its cause.
        if error.__cause__ is None:
            return None
        raise _network_fault(name, error.__cause__) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError):
        return None
    except (OSError, errors.HfHubHTTPError) as error:
        raise _network_fault(name, error) from error


def _network_fault(name: str, error: BaseException) -> EnvironmentFaultError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return EnvironmentFaultError(
        f"{name}: could not be fetched from the hub ({reason}); check the network and try again"
    )


def _absent(name: str, looked: list[str], offline: bool) -> ModelNotFoundError:
    remedy = (
        "allow the network once (without --offline and HF_HUB_OFFLINE), or give a model folder"
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
    if kind is None:
        return found
    is_tokenizer = load_config(found.folder)["kind"] == "tokenizer"
    if is_tokenizer == (kind == "tokenizer"):
        return found
    inner = found.folder / "tokenizer"
    if not is_tokenizer and (inner / _CONFIG).is_file():
        return Resolved(inner, found.source, found.looked_in)
    if is_tokenizer:
        raise ModelMismatchError(
            f"{display(name)}: is a tokenizer; name a generator ({', '.join(registry.names('generator'))}, or a folder)"
        )
    raise ModelMismatchError(
        f"{display(name)}: is a generator without a tokenizer in its folder; name a tokenizer "
        f"({', '.join(registry.names('tokenizer'))})"
    )
