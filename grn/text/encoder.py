"""Encoders of prompts: what a generator needs of one, and how a folder of one is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from grn.models.folder import read_json
from grn.models.tensors import CONFIG
from grn.networks.condition import TextCondition, Texts
from grn.text.word_vectors import StaticWordVectors


class TextEncoder(Protocol):
    """What the pipeline needs of an encoder of prompts."""

    name: str

    @property
    def dim(self) -> int:
        """The size of a token."""

    @property
    def fingerprint(self) -> str:
        """Says what the tokens of a prompt follow from, weights and vocabulary, in 64 hexadecimal digits.

        Files that have none of their own are hashed, once as long as they stay as they are. EnvironmentFaultError where
        they cannot be read.
        """

    def check(self, prompt: str) -> None:
        """Raise BadInputError where the prompt cannot be read."""

    def notes(self, prompt: str) -> list[str]:
        """What a person should know of how the prompt is read, a line each."""

    def length(self, prompt: str) -> int:
        """How many tokens `encode` makes of a prompt, without doing so."""

    def encode(self, prompts: Sequence[str]) -> TextCondition | Texts:
        """The tokens of each prompt."""

    def release(self) -> None:
        """Let go of what only encoding needs; it comes back when it is needed again."""


def load_text_encoder(
    folder: Path, device: str = "cpu", dtype: torch.dtype | None = None, offload: bool = False
) -> TextEncoder:
    """The text encoder in a folder: word vectors, umT5 as `grn.hub.convert` writes it, or any as transformers does.

    device, dtype (None: as stored) and offload (only the block in use lies on the device; of our folders) are not for word
    vectors, which are no network. Raises ModelNotFoundError, ConfigError or
    ModelMismatchError.
    """
    path = folder / CONFIG
    content = read_json(path) if path.is_file() else {}
    if "model_type" in content and content["model_type"] != "umt5":
        from grn.text.transformers_encoder import load_transformers

        return load_transformers(folder, content, device, dtype)
    if "format_version" in content or "model_type" in content:
        from grn.text.umt5 import Umt5Encoder

        return Umt5Encoder.load(folder, device, dtype, content, offload)
    return StaticWordVectors.load(folder, content or None)
