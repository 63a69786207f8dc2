"""How a model is sampled."""

from typing import Any, Literal, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Unpack

from grn.errors import UsageError
from grn.refine.schedule import PACE
from grn.validation import describe

Curve = Literal["identity", "cosine"]
RatioShown = Literal["scheduled", "kept"]
RatioOf = Literal["map", "drawn"]
Selection = Literal["random", "confidence"]
Fill = Literal["refine", "mask"]


class SamplerConfig(BaseModel):
    """How a model is sampled; its config.json holds the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(50, ge=1, le=10_000, description="T of a run that is not adaptive")
    adaptive: bool = Field(False, description="choose T from the entropy of each sample")
    tmin: int = Field(10, ge=1, le=10_000, description="fewest steps of an adaptive run")
    tmax: int = Field(50, ge=1, le=10_000, description="most steps of an adaptive run")
    k: float = Field(0.0, allow_inf_nan=False, description="T = round(clip(k * H + b, tmin, tmax))")
    b: float = Field(50.0, allow_inf_nan=False, description="see k")
    warmup: int = Field(5, ge=0, le=PACE - 1, description="t0: steps before the entropy is measured")
    guidance: float = Field(1.0, ge=0, le=1000, description="scale s; 1 is none")
    guidance_start: float = Field(
        0.0, ge=0, le=1, description="selection ratio above which the scale counts; 0 includes 0"
    )
    guidance_end: float = Field(1.0, ge=0, le=1, description="and below which")
    temperature: float = Field(1.0, gt=0, le=1000, description="tau: logits are divided by it")
    cooling: float = Field(
        0.0, ge=0, le=1, description="share of tau that an adaptive run loses a step below cooling_from, at most half"
    )
    cooling_from: int = Field(35, ge=0, le=10_000, description="T from which an adaptive run keeps the whole of tau")
    curve: Curve = Field("identity", description="from progress to the selection ratio")
    curve_factor: float = Field(0.999, gt=0, le=1, description="the selection ratio that the cosine curve ends at")
    ratio_shown: RatioShown = Field(
        "scheduled", description="what the network is told: the scheduled ratio or the share really kept"
    )
    ratio_of: RatioOf = Field(
        "map", description="what that is a share of: the whole map, or what is drawn of it where some is given"
    )
    selection: Selection = Field("random", description="which elements a step selects: any, or the surest")
    fill: Fill = Field(
        "refine",
        description="what unselected elements show: the random map, or nothing, when selected ones stay as they are",
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

    @property
    def most_steps(self) -> int:
        """T, or the most steps that an adaptive run takes."""
        return self.tmax if self.adaptive else self.steps


class SamplerOverrides(TypedDict, total=False):
    """Fields of `SamplerConfig` to change for one call; None leaves one as the model has it."""

    steps: int | None
    adaptive: bool | None
    tmin: int | None
    tmax: int | None
    k: float | None
    b: float | None
    warmup: int | None
    guidance: float | None
    guidance_start: float | None
    guidance_end: float | None
    temperature: float | None
    cooling: float | None
    cooling_from: int | None
    curve: Curve | None
    curve_factor: float | None
    ratio_shown: RatioShown | None
    ratio_of: RatioOf | None
    selection: Selection | None
    fill: Fill | None


def sampler_config(base: SamplerConfig, **overrides: Unpack[SamplerOverrides]) -> SamplerConfig:
    """`base` with the fields that are not None replaced. Raises UsageError in one line."""
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        return SamplerConfig.model_validate({**base.model_dump(), **chosen})
    except ValidationError as error:
        raise UsageError(describe(error, SamplerConfig)) from error


def check_clip_sampling(sampling: SamplerConfig, changed: dict[str, Any] | None, stills: bool) -> None:
    """Check what a model or a recipe says of `sampling` for clips alone. stills: whether it draws pictures too. Raises ValueError."""
    if changed is None:
        return
    if not stills:
        raise ValueError(
            "clip_sampling: is said of models that draw both pictures and clips, by stills; say it in sampling"
        )
    try:
        sampler_config(sampling, **cast(SamplerOverrides, changed))
    except UsageError as error:
        raise ValueError(f"clip_sampling: {error}") from error
