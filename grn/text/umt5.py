"""The published text encoder: umT5's encoder, in transformers' network.

Axes: L tokens of a text, D their width.

A folder of it is one of ours (`grn.hub.convert`) or one that transformers has written:

    config.json       with format_version and kind "text-encoder", or with model_type "umt5"
    model.safetensors or shards and their index
    tokenizer.json    pieces of text -> numbers, as the `tokenizers` library reads it
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import nn

from grn.errors import ConfigError, ModelMismatchError, ModelNotFoundError
from grn.files import display
from grn.models.config import TextEncoderModelConfig
from grn.models.folder import ModelFolder, empty_network, parse_config, read_json
from grn.models.tensors import CONFIG, INDEX, VOCABULARY, WEIGHTS, digest, read_weights, stored_type, tensor_names
from grn.networks.umt5 import Umt5Config, encoder_network
from grn.text.network_encoder import MAX_TOKENS, NetworkEncoder, files_fingerprint
from grn.validation import describe

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Pieces

_log = logging.getLogger("grn")


class Umt5Encoder(NetworkEncoder):
    """The encoder's network in one of the two kinds of folder."""

    def __init__(
        self,
        config: Umt5Config,
        pieces: "Pieces",
        name: str,
        load: Callable[[], nn.Module],
        fingerprint: Callable[[], str],
    ) -> None:
        super().__init__(config.width, lambda text: pieces.encode(text).ids, name, load, fingerprint)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        content: Mapping[str, Any] | None = None,
        offload: bool = False,
    ) -> "Umt5Encoder":
        """Read a folder; its weights are read when the first text comes. dtype None: as they are stored.

        content: of its config.json, where that has been read. offload: only the block in use lies on the device, in one of
        our folders. Raises ModelNotFoundError, ConfigError or
        ModelMismatchError.
        """
        if content is None:
            content = read_json(folder / CONFIG)
        weights = folder / (INDEX if (folder / INDEX).is_file() else WEIGHTS)
        if "format_version" in content:
            return cls._own(folder, content, weights, device, dtype, offload)
        config, name = _transformers_config(folder, content), folder.resolve().name
        _needed(weights)

        def network() -> nn.Module:
            _log.info("%s: loading the text encoder on %s", name, device)
            made = empty_network(lambda: encoder_network(config), device, dtype or stored_type(weights))
            files = _files(weights)
            read_weights(weights, made, False, files=files, rename=_encoder_names(files).get)
            return made

        def fingerprint() -> str:
            return files_fingerprint([folder / CONFIG, folder / VOCABULARY, *_files(weights)])

        return cls(config, _pieces(folder, config, None), name, network, fingerprint)

    @classmethod
    def _own(
        cls,
        folder: Path,
        content: Mapping[str, Any],
        weights: Path,
        device: str,
        dtype: torch.dtype | None,
        offload: bool,
    ) -> "Umt5Encoder":
        """One of our model folders."""
        model = ModelFolder(folder, parse_config(content, folder / CONFIG))
        if not isinstance(model.config, TextEncoderModelConfig):
            raise ModelMismatchError(f"{display(folder)}: is a {model.config.kind}; give the folder of a text encoder")
        config, name = model.config.network, model.config.name
        _needed(weights)

        def network() -> nn.Module:
            _log.info("%s: loading the text encoder on %s", name, device)
            kept = dtype or stored_type(weights)
            made: nn.Module = model.load_offloaded(device, kept) if offload else model.load_network(device, kept)[0]
            return made

        def fingerprint() -> str:
            own = model.config.weights_sha256  # which the weights are held against when they are read
            parts = [config.model_dump_json(), own or digest(weights), digest(folder / VOCABULARY)]
            return hashlib.sha256(" ".join(parts).encode()).hexdigest()

        return cls(config, _pieces(folder, config, model.config.vocabulary_sha256), name, network, fingerprint)


def _needed(weights: Path) -> None:
    if not weights.is_file():
        raise ModelNotFoundError(f"{display(weights)}: no such file; a text encoder's folder holds {WEIGHTS}")


def _transformers_config(folder: Path, raw: Mapping[str, Any]) -> Umt5Config:
    where = display(folder / CONFIG)
    if raw.get("feed_forward_proj", "gated-gelu") != "gated-gelu":
        raise ModelMismatchError(
            f"{where}: feed_forward_proj: expected gated-gelu, found {raw['feed_forward_proj']!r:.40}"
        )
    names = {
        "vocabulary": "vocab_size", "width": "d_model", "depth": "num_layers", "heads": "num_heads",
        "head_width": "d_kv", "hidden": "d_ff",
    }  # fmt: skip
    found = {ours: raw.get(theirs) for ours, theirs in names.items()}
    found["buckets"] = raw.get("relative_attention_num_buckets", 32)
    found["distance"] = raw.get("relative_attention_max_distance", 128)
    try:
        return Umt5Config(**found)
    except ValidationError as error:
        raise ConfigError(f"{where}: {describe(error, Umt5Config)}; restore the file") from error


def _pieces(folder: Path, config: Umt5Config, expected: str | None) -> "Pieces":
    from tokenizers import Tokenizer as Pieces

    path = folder / VOCABULARY
    if not path.is_file():
        raise ModelNotFoundError(f"{display(path)}: no such file; put the text encoder's {VOCABULARY} there")
    if expected is not None and digest(path) != expected:
        raise ModelMismatchError(f"{display(path)}: damaged or of another model; restore the file")
    try:
        pieces = Pieces.from_file(str(path))
        pieces.enable_truncation(MAX_TOKENS)
        pieces.no_padding()
        ended = bool(pieces.encode("").ids)
    except Exception as error:  # the library raises nothing more specific
        raise ConfigError(f"{display(path)}: cannot be used ({display(str(error))[:100]}); restore the file") from error
    if pieces.get_vocab_size() > config.vocabulary:
        raise ModelMismatchError(
            f"{display(path)}: has {pieces.get_vocab_size()} entries and the text encoder {config.vocabulary}; "
            "use the files of one model"
        )
    if not ended:
        raise ModelMismatchError(f"{display(path)}: marks no text's end, as umT5 needs; use the files of one model")
    return pieces


def _files(weights: Path) -> list[Path]:
    """The safetensors files of a transformers folder."""
    if weights.name != INDEX:
        return [weights]
    try:
        names = sorted({str(name) for name in json.loads(weights.read_bytes())["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        names = []
    files = [weights.parent / name for name in names if re.fullmatch(r"[\w.-]+\.safetensors", name)]
    if not files or len(files) < len(names) or not all(file.is_file() for file in files):
        raise ModelMismatchError(f"{display(weights)}: names no shards, or others than are there; restore the files")
    return files


def _encoder_names(files: list[Path]) -> dict[str, str]:
    """transformers' names of the tensors -> the encoder's own. The decoder's are left out: it is not used."""
    found: dict[str, str] = {}
    for file in files:
        for key in tensor_names(file):
            if not key.startswith("decoder.") and key != "lm_head.weight":
                found[key] = "embed_tokens.weight" if key == "shared.weight" else key.removeprefix("encoder.")
    if "shared.weight" in found:  # the same tensor, which some files hold twice
        found.pop("encoder.embed_tokens.weight", None)
    return found
