"""How a model is sampled."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grn.errors import UsageError
from grn.refine.schedule import PACE
from grn.validation import describe


class SamplerConfig(BaseModel):
    """How a model is sampled; its config.json holds the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(50, ge=1, le=10_000, description="T of a run that is not adaptive")
    adaptive: bool = Field(False, description="choose T from the entropy of each sample")
    tmin: int = Field(10, ge=1, le=10_000)
    tmax: int = Field(50, ge=1, le=10_000)
    k: float = Field(0.0, allow_inf_nan=False, description="T = round(clip(k * H + b, tmin, tmax))")
    b: float = Field(50.0, allow_inf_nan=False)
    warmup: int = Field(5, ge=0, le=PACE - 1, description="t0: steps before the entropy is measured")
    guidance: float = Field(1.0, ge=0, le=1000, description="scale s; 1 is none")
    guidance_start: float = Field(
        0.0, ge=0, le=1, description="selection ratio above which the scale counts; 0 includes 0"
    )
    guidance_end: float = Field(1.0, ge=0, le=1, description="and below which")
    temperature: float = Field(1.0, gt=0, le=1000, description="tau: logits are divided by it")
    curve: Literal["identity", "cosine"] = "identity"
    ratio_shown: Literal["scheduled", "kept"] = Field(
        "scheduled", description="what the network is told: the scheduled ratio or the share really kept"
    )
    selection: Literal["random", "confidence"] = "random"
    fill: Literal["refine", "mask"] = Field(
        "refine", description="what unselected elements show: the random map, or nothing"
    )

    @model_validator(mode="after")
    def _check(self) -> "SamplerConfig":
        if self.tmin > self.tmax:
            raise ValueError(f"tmin {self.tmin} is above tmax {self.tmax}")
        if self.adaptive and self.tmin <= self.warmup:
            raise ValueError(
                f"tmin {self.tmin} must be above the warm-up of {self.warmup} steps, after which T is chosen"
            )
        if self.guidance_start > self.guidance_end:
            raise ValueError(f"guidance_start {self.guidance_start} is above guidance_end {self.guidance_end}")
        return self


def sampler_config(base: SamplerConfig, **overrides: Any) -> SamplerConfig:
    """`base` with the fields that are not None replaced. Raises UsageError in one line."""
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        return SamplerConfig(**{**base.model_dump(), **chosen})
    except ValidationError as error:
        raise UsageError(describe(error, [SamplerConfig])) from error
