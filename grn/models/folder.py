"""Model folders: what is in one, read and written.

config.json         what `grn.models.config` describes; it is read once, when a folder is opened
model.safetensors   the weights, or shards and model.safetensors.index.json
README.md           the model card
tokenizer/          of a generator: a model folder too
text_encoder/       of a text model
words.txt           of one with a table of word vectors: the words that its captions had
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from grn.devices import checked
from grn.errors import ConfigError, EnvironmentFaultError, GrnError, ModelMismatchError, ModelNotFoundError
from grn.files import atomic_folder, atomic_path, display
from grn.models.config import FORMAT_VERSION, MODELS, ModelConfig
from grn.models.offload import offload_blocks
from grn.models.tensors import (
    CARD,
    CONFIG,
    INDEX,
    SHARD_BYTES,
    WEIGHTS,
    digest,
    read_weights,
    tensor_files,
    write_weights,
)
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.class_to_image import ClassToImage
from grn.networks.text_to_visual import TextToVisual
from grn.networks.umt5 import encoder_network
from grn.validation import describe

NETWORKS: dict[str, Callable[[Any], nn.Module]] = {
    "tokenizer": CausalAutoencoder,
    "class-to-image": ClassToImage,
    "text-to-visual": TextToVisual,
    "text-encoder": encoder_network,
}
"""What builds the network of each kind of model from its config."""
_MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose config.json has been read and checked."""

    path: Path
    config: ModelConfig

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        """Read config.json. ModelNotFoundError, ConfigError or EnvironmentFaultError name it and what is wrong."""
        return cls(path, parse_config(read_json(path / CONFIG), path / CONFIG))

    def load_weights(self, module: nn.Module, allow_nonfinite: bool = False) -> str:
        """Fill a network with the folder's weights, in the network's own type; returns their fingerprint.

        What the network has on "meta" is left there. The fingerprint is the sha256 of model.safetensors, or of the index,
        which holds its shards' own. It is of what is stored: the same weights stored in another type have another one.
        Raises ModelMismatchError where a file is damaged, is not the one that config.json was written with, does not fit
        the network either way, or holds values that are not finite (unless `allow_nonfinite`).
        """
        path = self._weights
        if not path.is_file():
            raise ModelNotFoundError(f"{display(path)}: no such file; a model folder holds {CONFIG} and {WEIGHTS}")
        found = digest(path)
        if found != self.config.weights_sha256:
            raise ModelMismatchError(
                f"{display(path)}: damaged or of another model (expected sha256 {self.config.weights_sha256[:12]} as "
                f"in {CONFIG}, found {found[:12]}); restore both files"
            )
        read_weights(path, module, allow_nonfinite)
        return found

    def load_network(
        self, device: str, dtype: torch.dtype | None, lay_out: Callable[[Any], nn.Module] = lambda network: network
    ) -> tuple[Any, str]:
        """The network with the folder's weights, ready to be used, and their fingerprint; dtype None is float32.

        lay_out: chooses how the weights lie in memory before there are any. Raises what `load_weights` does, and what
        `grn.devices.checked` does.
        """
        wanted = dtype or torch.float32
        checked(device)
        network = empty_network(
            lambda: lay_out(NETWORKS[self.config.kind](self.config.network).to(wanted)), device, wanted
        )
        fingerprint = self.load_weights(network)
        return network.eval().requires_grad_(False), fingerprint

    def load_offloaded(self, device: str, dtype: torch.dtype) -> Any:
        """A generator's or a text encoder's network of which only the block in use lies on the device.

        Raises what `load_weights` does.
        """
        blocks = "block" if self.config.kind == "text-encoder" else "blocks"
        network = empty_network(lambda: NETWORKS[self.config.kind](self.config.network), device, dtype, f"{blocks}.")
        self.load_weights(network)
        network.eval().requires_grad_(False)
        offload_blocks(network, blocks, tensor_files(self._weights), torch.device(device), dtype)
        return network

    @property
    def _weights(self) -> Path:
        """The file that stands for all weights."""
        return self.path / (INDEX if (self.path / INDEX).is_file() else WEIGHTS)


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


def parse_config(content: Mapping[str, Any], path: Path) -> ModelConfig:
    """The content of a config.json, checked whole; `path` is for messages. ConfigError names the first wrong key."""
    version = content.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(
            f"{display(path)}: format_version: expected 1 to {FORMAT_VERSION}, found {version!r:.60}; restore the file"
        )
    if version > FORMAT_VERSION:
        raise ConfigError(
            f"{display(path)}: written in format version {version} and this grn reads up to version {FORMAT_VERSION}; "
            "install a newer grn"
        )
    kind = content.get("kind")
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ConfigError(
            f"{display(path)}: kind: expected {', '.join(MODELS)}, found {kind!r:.60}; restore the file, "
            "or install a newer grn"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{display(path)}: {describe(error, model)}; restore the file") from error


def write_config(folder: Path, config: ModelConfig) -> None:
    """Replace a folder's config.json. EnvironmentFaultError where it cannot be written."""
    text = json.dumps(config.document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(folder / CONFIG) as path:
        path.write_text(text, encoding="utf-8", newline="\n")


def save_model(
    folder: Path,
    config: ModelConfig,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    card: str = "",
    shard_bytes: int = SHARD_BYTES,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Write a model folder, with other `files` by name; the fingerprint of its weights, which config.json gets too.

    The same input gives the same bytes. Weights of more than `shard_bytes` are written as shards of at most that size.
    A folder that is not there appears whole or not at all; of several processes that make the same one, each finds it
    made. In a folder that is there, each file is replaced whole, and one left between two files is refused by
    `load_weights`. Raises EnvironmentFaultError where the disk refuses.
    """
    folder = Path(folder)

    def write(where: Path) -> str:
        fingerprint = write_weights(where, state, dtype, shard_bytes)
        for name, content in {**files, CARD: card.encode()}.items():
            with atomic_path(where / name) as path:
                path.write_bytes(content)
        write_config(where, config.model_copy(update={"weights_sha256": fingerprint}))
        return fingerprint

    if folder.exists():
        return write(folder)
    fingerprint = ""
    with atomic_folder(folder, lambda made: _fingerprint(made) == fingerprint) as aside:
        fingerprint = write(aside)
    return fingerprint


def _fingerprint(folder: Path) -> str | None:
    try:
        return ModelFolder.open(folder).config.weights_sha256
    except GrnError:
        return None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number in JSON")


def empty_network(
    build: Callable[[], nn.Module], device: str, dtype: torch.dtype, left: str | None = None
) -> nn.Module:
    """A network whose values are not set: none is made at random, and no copy of it in another type or place is ever held.

    left: names that begin so stay on "meta".
    """
    with torch.device("meta"):
        network = build()
    lost = dict(network.named_buffers()).keys() - network.state_dict().keys()
    assert not lost, f"{sorted(lost)} would be left without values"
    network = network.to(dtype)
    # Not to_empty(): on "meta" it imports sympy, half a second.
    state = {name: t for name, t in network.state_dict().items() if left is None or not name.startswith(left)}
    empty = {name: torch.empty(t.shape, dtype=t.dtype, device=device) for name, t in state.items()}
    network.load_state_dict(empty, strict=left is None, assign=True)
    return network
