"""Any text encoder of transformers, from a folder that it has written: T5, BERT, CLIP's, the body of a language model."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from grn.errors import ModelMismatchError
from grn.files import display
from grn.text.network_encoder import MAX_TOKENS, NetworkEncoder, files_fingerprint

_log = logging.getLogger("grn")
# Model cards, and weights in other formats: the rest may be read, and each kind of tokenizer has files of its own.
_NOT_READ = {".md", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf"}
_MOST_LAYERS = 1000  # networks of a damaged config are not built without end


def load_transformers(
    folder: Path, content: Mapping[str, Any], device: str = "cpu", dtype: torch.dtype | None = None
) -> NetworkEncoder:
    """Read a folder's config and pieces; its weights, safetensors alone, when the first text comes. dtype None: as they are stored.

    content: of its config.json. Raises ModelMismatchError for one that holds no text encoder, or not all that one needs.
    """
    from transformers import AutoConfig, AutoTokenizer  # takes seconds, and embedded models do without

    what = f"{display(folder)}: no text encoder of transformers ({content.get('model_type')!r:.40})"
    try:
        _check_layers(content)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        width = int(config.hidden_size)
        limits = tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or MAX_TOKENS
        most = min(MAX_TOKENS, *map(int, limits))
        if most < 1:
            raise ValueError(f"reads at most {most} tokens (expected 1 or more)")

        def pieces(text: str) -> list[int]:
            # A text of no tokens at all could not be read; some mark neither beginning nor end.
            found: list[int] = tokenizer(text, truncation=True, max_length=most)["input_ids"] or [mark]
            if max(found) >= config.vocab_size:
                raise ModelMismatchError(
                    f"{what}: its tokenizer gives piece {max(found)}, and its network knows {config.vocab_size}"
                )
            return found

        marks = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
        mark = next((int(one) for one in marks if one is not None), 0)
    except Exception as error:  # the library raises anything of a bad folder
        raise ModelMismatchError(f"{what}: {_reason(error)}") from error

    def network() -> nn.Module:
        _log.info("%s: loading the text encoder on %s", folder.resolve().name, device)
        try:
            body = _body(folder, dtype)
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise ModelMismatchError(f"{what}: {_reason(error)}") from error
        return body.to(device)

    def fingerprint() -> str:
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix not in _NOT_READ]
        return files_fingerprint([path for path in files if not path.name.startswith(".")])

    return NetworkEncoder(width, pieces, folder.resolve().name, network, fingerprint)


def _check_layers(content: Mapping[str, Any]) -> None:
    parts = [content, *(part for part in content.values() if isinstance(part, dict))]
    for name, value in (pair for part in parts for pair in part.items()):
        if "layer" in name and isinstance(value, int) and value > _MOST_LAYERS:
            raise ValueError(f"{name}: {value} (expected at most {_MOST_LAYERS})")


def _body(folder: Path, dtype: torch.dtype | None) -> nn.Module:
    """What reads texts: of models of two halves the first, of one of texts and pictures that of texts, else all of it."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.utils import logging as said

    def loaded(family: Any) -> tuple[nn.Module, set[str]]:
        before, bars = said.get_verbosity(), said.is_progress_bar_enabled()
        said.disable_progress_bar()
        said.set_verbosity_error()  # what lacks is looked at below, and what is too much is another head's
        try:
            made, found = family.from_pretrained(
                folder, dtype=dtype or "auto", local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        finally:
            said.set_verbosity(before)
            if bars:
                said.enable_progress_bar()
        return made, set(found["missing_keys"])

    try:
        network, lacking = loaded(AutoModelForTextEncoding)
    except ValueError:  # it has no such body of its own
        network, lacking = loaded(AutoModel)
        if getattr(network.config, "is_encoder_decoder", False):
            network = network.get_encoder()  # type: ignore[operator]
        network = getattr(network, "text_model", network)
    # transformers fills what a file lacks with random numbers; poolers, which are not used, are often left out.
    if lacking := {key for key in lacking if "pooler" not in key}:
        raise ValueError(f"lacks weights of {min(lacking)}")
    return network


def _reason(error: Exception) -> str:
    return display((str(error).strip() or type(error).__name__).splitlines()[0])
