"""What a model folder says of itself: one object a folder, which is its config.json.

    format_version, kind, name, weights_sha256      every model
    network                                         its dimensions: the config of its network's class
    sampling, clip_sampling, size, frames, fps,
    most_frames, stills                             a generator: how it is sampled, and what it makes
    tokenizer, text_encoder                         a generator: names of its parts, where its folder lacks them
    prompt_tag, image_prompt_tag, presets           a text model: what stands before a prompt, settings by name
    vocabulary_sha256                               a text encoder: of its tokenizer.json

Reading is in `grn.models.folder`. A key that this version does not know is kept and ignored, but not inside `network`,
`sampling` and `clip_sampling`: there it would change what a model computes.
"""

from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.umt5 import Umt5Config
from grn.refine.config import SamplerConfig, SamplerOverrides, check_clip_sampling, sampler_config

FORMAT_VERSION: Literal[1] = 1
MOST_FRAMES, MOST_PIXELS = 100_000, 65_536
_TEXT_MODEL_TOKENS = 16  # tokens a side of a text model's pictures where its folder names no size


class Clips(NamedTuple):
    """What a video model makes: frames that it was trained for, how many a second, and the most that it can make."""

    frames: int
    fps: float
    most: int = MOST_FRAMES


class ModelConfig(BaseModel):
    """What every model says of itself; `MODELS` has the class of each kind."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format_version: Literal[1] = FORMAT_VERSION
    kind: str
    name: str
    network: Any
    weights_sha256: str = Field("", description="of model.safetensors, or of the index of its shards")

    def document(self) -> dict[str, Any]:
        """The content of config.json: every setting that there is, those that are None left out."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"network": {"kind"}})


class TokenizerModelConfig(ModelConfig):
    """A tokenizer."""

    kind: Literal["tokenizer"] = "tokenizer"
    network: TokenizerConfig


class TextEncoderModelConfig(ModelConfig):
    """An encoder of prompts."""

    kind: Literal["text-encoder"] = "text-encoder"
    network: Umt5Config
    vocabulary_sha256: str | None = None


class GeneratorModelConfig(ModelConfig):
    """What generators of both kinds say of themselves."""

    sampling: SamplerConfig = SamplerConfig()
    clip_sampling: dict[str, Any] | None = Field(
        None, description="`sampling` defaults that differ for clips, of a model that draws pictures too"
    )
    size: int | None = Field(None, ge=1, le=MOST_PIXELS, strict=True, description="pixels a side of its pictures")
    frames: int = Field(1, ge=1, le=MOST_FRAMES, strict=True, description="of its clips; 1: it makes still pictures")
    fps: float | None = Field(None, ge=0.01, le=1000, strict=True, description="frames a second of its clips")
    most_frames: int | None = Field(None, ge=1, le=MOST_FRAMES, strict=True, description="of the longest clip")
    stills: bool = Field(False, strict=True, description="a model of clips draws a picture where none asks for a clip")
    tokenizer: str | None = Field(None, description="its tokenizer's name, where the folder holds none")
    text_encoder: str | None = Field(None, description="its text encoder's name, where the folder holds none")

    @model_validator(mode="after")
    def _check_clips(self) -> "GeneratorModelConfig":
        if self.frames > 1 and self.fps is None:
            raise ValueError(f"fps: missing, and clips of {self.frames} frames need it")
        if self.stills and self.frames == 1:
            raise ValueError("stills: is said of models that draw clips too, and frames is 1; leave it out")
        check_clip_sampling(self.sampling, self.clip_sampling, self.stills)
        if self.most_frames is not None and self.most_frames < self.frames:
            raise ValueError(f"most_frames: expected {self.frames} to {MOST_FRAMES}, found {self.most_frames}")
        return self

    @property
    def clips(self) -> Clips | None:
        """The clips that it makes, None for a model of still pictures."""
        if self.frames == 1 or self.fps is None:
            return None
        return Clips(self.frames, self.fps, self.most_frames or MOST_FRAMES)

    def sampled(self, clip: bool) -> SamplerConfig:
        """How it is sampled where it draws a clip, or a picture."""
        return sampler_config(self.sampling, **cast(SamplerOverrides, self.clip_sampling or {} if clip else {}))

    def pixels(self, stride: int) -> int:
        """Pixels a side of the pictures that it was trained for; `stride` is its tokenizer's."""
        return self.size or getattr(self.network, "size", _TEXT_MODEL_TOKENS) * stride


class ClassToImageModelConfig(GeneratorModelConfig):
    """A generator of pictures of a class."""

    kind: Literal["class-to-image"] = "class-to-image"
    network: ClassToImageConfig
    class_names: tuple[str, ...] = Field((), description="of its classes, in the order of their numbers")

    @model_validator(mode="after")
    def _check_names(self) -> "ClassToImageModelConfig":
        if self.class_names and len(self.class_names) != self.network.num_classes:
            raise ValueError(f"class_names: expected {self.network.num_classes}, found {len(self.class_names)}")
        return self


class Preset(BaseModel):
    """Settings that go together under a name, off unless they are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suffix: str = Field("", description="what stands behind a prompt")
    image_suffix: str = Field("", description="the same of prompts whose clip's first frame is given")
    negative_prompt: str = ""
    guidance: float | None = Field(None, ge=0, le=1000, description="scale s, None as the model has it")

    def beside(self, negative_prompt: str, overrides: SamplerOverrides) -> tuple[str, SamplerOverrides]:
        """The negative prompt and the sampling settings to draw with; what is said beside the preset counts."""
        chosen = overrides.copy()
        if self.guidance is not None and chosen.get("guidance") is None:
            chosen["guidance"] = self.guidance
        own = "" if chosen.get("guidance") == 1 else self.negative_prompt
        return negative_prompt or own, chosen


class TextToVisualModelConfig(GeneratorModelConfig):
    """A generator of pictures or clips of a text."""

    kind: Literal["text-to-visual"] = "text-to-visual"
    network: TextToVisualConfig
    prompt_tag: str = Field("", description="what its prompts were trained with before them; the empty prompt has none")
    image_prompt_tag: str = Field("", description="the same of prompts whose clip's first frame is given")
    presets: dict[str, Preset] = Field({}, description="settings that are used where their name is given")

    def tag(self, begun: bool) -> str:
        """What stands before a prompt. begun: whether its clip's first frame is given."""
        return self.image_prompt_tag if begun and self.image_prompt_tag else self.prompt_tag


MODELS: dict[str, type[ModelConfig]] = {
    "tokenizer": TokenizerModelConfig,
    "class-to-image": ClassToImageModelConfig,
    "text-to-visual": TextToVisualModelConfig,
    "text-encoder": TextEncoderModelConfig,
}
