"""Generative Refinement Networks: a tokenizer for images and video, and a generator that refines whole token maps.

The parts that most programs need are here by name: `grn.Tokenizer`, `grn.Generator`, `grn.Pipeline`, `grn.Codes`. They are imported on
first use, so that importing grn alone costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grn.codes import Codes
    from grn.generator import Generator
    from grn.pipeline import Pipeline
    from grn.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["Codes", "Generator", "Pipeline", "Tokenizer", "__version__"]

_PLACES = {"Codes": "grn.codes", "Generator": "grn.generator", "Pipeline": "grn.pipeline", "Tokenizer": "grn.tokenizer"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'grn' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
