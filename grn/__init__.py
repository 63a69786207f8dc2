"""Generative Refinement Networks: a tokenizer for images and video, and a generator that refines whole token maps.

    import grn

    grn.Pipeline.from_pretrained("emoji")("a cat").save("cat.png")

What most programs need is here by name, and imported on first use: importing grn alone costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grn.codes import Codes as Codes
    from grn.editing import animated_picture as animated_picture
    from grn.editing import continued_clip as continued_clip
    from grn.editing import refined_picture as refined_picture
    from grn.errors import GrnError as GrnError
    from grn.errors import UsageError as UsageError
    from grn.generator import Generator as Generator
    from grn.media import VideoWriter as VideoWriter
    from grn.media import open_media as open_media
    from grn.media import read_image as read_image
    from grn.media import write_image as write_image
    from grn.networks.condition import ClassCondition as ClassCondition
    from grn.networks.condition import TextCondition as TextCondition
    from grn.networks.shapes import aspect_of as aspect_of
    from grn.networks.shapes import side_of as side_of
    from grn.networks.shapes import size_of as size_of
    from grn.pipeline import Part as Part
    from grn.pipeline import Pipeline as Pipeline
    from grn.refine.config import SamplerConfig as SamplerConfig
    from grn.refine.known import Known as Known
    from grn.refine.sampler import Sampler as Sampler
    from grn.refine.step import StepView as StepView
    from grn.result import Result as Result
    from grn.tokenizer import Tokenizer as Tokenizer

__version__ = "0.1.0"

_PLACES = {
    "ClassCondition": "grn.networks.condition",
    "Codes": "grn.codes",
    "Generator": "grn.generator",
    "GrnError": "grn.errors",
    "Known": "grn.refine.known",
    "Part": "grn.pipeline",
    "Pipeline": "grn.pipeline",
    "Result": "grn.result",
    "Sampler": "grn.refine.sampler",
    "SamplerConfig": "grn.refine.config",
    "StepView": "grn.refine.step",
    "TextCondition": "grn.networks.condition",
    "Tokenizer": "grn.tokenizer",
    "UsageError": "grn.errors",
    "VideoWriter": "grn.media",
    "animated_picture": "grn.editing",
    "aspect_of": "grn.networks.shapes",
    "continued_clip": "grn.editing",
    "open_media": "grn.media",
    "read_image": "grn.media",
    "refined_picture": "grn.editing",
    "side_of": "grn.networks.shapes",
    "size_of": "grn.networks.shapes",
    "write_image": "grn.media",
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'grn' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
