"""The sections that recipes of both kinds have: data, optimizer and run."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from grn.devices import fast_type
from grn.networks.compiling import Compiling

# Bounds beyond which nothing is meant: numbers there overflow, or ask for more than any machine has.
Weight = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
Steps = Annotated[int, Field(ge=0, le=10**9)]


def _switch(value: object) -> object:
    """Older recipes say true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class Section(BaseModel):
    """A table of a recipe: every key is known, nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Section):
    """One place with pictures or clips, and how often it is drawn from in relation to its size."""

    path: Annotated[str, BeforeValidator(lambda path: str(path) if isinstance(path, Path) else path)] = Field(
        description="a folder, tar or list, a range of them `name-{000..012}.tar`, a URL, or `datasets:NAME:SPLIT`"
    )
    clips: bool = Field(False, description="take animations and videos, of data.frames frames each, and no pictures")
    codes: bool = Field(False, description="tars of tokenized data, instead of pictures and clips; for generators")
    weight: float = Field(1.0, ge=1e-6, le=1e6, description="how often it is drawn from, in relation to its size")
    captions: dict[str, Weight] = Field(
        {}, description="how often captions of each type are drawn, where samples have several; none: as the data say"
    )
    tag: str = Field("", description="put before each caption, and left out with it")
    keep: dict[str, tuple[str | int | float | bool, ...]] = Field(
        {}, description="only samples whose JSON facts have one of these values"
    )
    resize: tuple[int, int] | None = Field(
        None, description="range of the short side before a random crop; none: resize to data.size and crop the centre"
    )


class DataConfig(Section):
    """Pictures and clips, and how they become square crops of `size` pixels."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1, description="where the samples come from")
    size: int = Field(256, ge=1, le=4096, description="pixels a side of what the network sees")
    sizes: tuple[tuple[int, int], ...] = Field(
        (), description="(width, height) pairs, of which each sample takes the nearest in shape; none: size x size"
    )
    frames: int = Field(1, ge=1, le=100_000, description="frames of a clip: 1 + n * the tokenizer's time stride")
    fps: float | None = Field(
        None,
        ge=1e-3,
        le=1000,
        description="frames a second that clips are resampled to; none: as they are. A generator draws at this rate",
    )
    flip: bool = Field(False, description="mirror half of the samples, left to right")
    workers: int = Field(0, ge=0, le=64, description="processes that read and prepare samples; 0: the training's own")
    cache: float = Field(
        16.0, ge=0, le=1e6, description="GiB of decoded pictures and clips that are kept in the cache folder; 0: none"
    )

    most_bad: Share = Field(
        0.01, description="share of samples that cannot be read that stops the run; fewer are skipped and named"
    )

    @model_validator(mode="after")
    def _check_sources(self) -> "DataConfig":
        if any(source.clips for source in self.sources) != (self.frames > 1):
            raise ValueError(
                f"frames {self.frames}: clips of more than one frame and data.sources with clips = true go together"
            )
        if self.fps is not None and self.frames == 1:
            raise ValueError("fps: says how clips are resampled, and there are none; leave it out")
        for source in self.sources:
            if source.resize is not None and not self.size <= source.resize[0] <= source.resize[1]:
                raise ValueError(
                    f"{source.path}: resize {list(source.resize)} must be a range that starts at size {self.size} or above"
                )
        return self


class OptimizerConfig(Section):
    """AdamW, or Muon for matrices with AdamW for the rest."""

    name: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: for the matrices inside the blocks, AdamW for the rest"
    )
    lr: Positive = Field(1e-4, description="largest learning rate")
    matrix_lr: Positive = Field(0.02, description="Muon's rate, for the matrices inside the blocks")
    betas: tuple[Decay, Decay] = Field((0.9, 0.95), description="AdamW's averages of gradients and of their squares")
    weight_decay: Weight = Field(0.0, description="of AdamW, each step times the rate")
    warmup_steps: Steps = Field(0, description="steps in which the rate rises linearly from 0")
    final_lr: Share = Field(
        1.0, description="share of the rate that a linear decay over the last `decay_steps` ends at"
    )
    decay_steps: Steps = Field(0, description="steps of the decay at the end; 0: the rate stays")
    clip: Positive = Field(1.0, description="largest norm of the whole gradient")

    @model_validator(mode="after")
    def _check_use(self) -> "OptimizerConfig":
        if self.matrix_lr != OptimizerConfig.model_fields["matrix_lr"].default and self.name != "muon":
            raise ValueError('matrix_lr: is Muon\'s rate; set name = "muon" or leave it out')
        if bool(self.decay_steps) != (self.final_lr != 1):
            raise ValueError("decay_steps and final_lr: a decay needs both, its length and where it ends")
        return self


class RunConfig(Section):
    """How long, how often, with what randomness."""

    steps: int = Field(ge=1, le=10**9, description="how many")
    batch_size: int = Field(ge=1, le=10**6, description="samples a step, over all devices")
    accumulate: int = Field(
        1, ge=1, le=10**6, description="parts that each device computes its share of a batch in: less memory"
    )
    tokens_per_batch: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="most tokens of a packed sequence, text in it included: each device packs its share of a batch into as few as hold it; "
        "none: `accumulate` parts",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides everything random")
    ema: Share = Field(
        0.999, description="decay of the weights' moving average, which is what is kept in the end; 0: none"
    )
    save_every: Steps = Field(1000, description="steps between checkpoints; 0: at the end alone")
    keep: int = Field(2, ge=2, le=10**6, description="good checkpoints kept")
    log_every: Steps = Field(50, description="steps between lines of log.jsonl; 0: at the end alone")
    sheet_every: Steps = Field(1000, description="steps between sample sheets, and one at the end; 0: none")
    distance_every: Steps = Field(
        0, description="steps between quick Frechet distances of the averaged model to the data; 0: none"
    )
    distance_pictures: int = Field(512, ge=2, le=10**6, description="how many pictures of each those are of")
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="where figures go beside log.jsonl; each is a package that has to be there"
    )
    recompute: bool = Field(
        False,
        description="compute each block once more in the backward pass: much less memory, a third more work; compiled text blocks but for attention",
    )
    parallel: Literal["ddp", "fsdp", "hybrid"] = Field(
        "ddp",
        description="of several processes: each holds the whole model, a part of it, or a part that every machine has anew",
    )
    bad_steps: int = Field(
        3,
        ge=1,
        le=10**6,
        description="steps in a row whose loss or gradient is not finite that stop the run; fewer are skipped",
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        None, description="what most of the network is computed in; none: bfloat16 where the device is faster in it"
    )
    compile: Annotated[Compiling, BeforeValidator(_switch)] = Field(
        "auto", description="compile the network: where the run is long enough to pay for it, always or never"
    )
    init: Path | str | None = Field(None, description="model to start from: a name or a model folder")

    @model_validator(mode="after")
    def _check_use(self) -> "RunConfig":
        if not self.distance_every and self.distance_pictures != RunConfig.model_fields["distance_pictures"].default:
            raise ValueError("distance_pictures: no distances are measured; set distance_every or leave it out")
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> "RunConfig":
        if self.tokens_per_batch is not None and self.accumulate != 1:
            raise ValueError("accumulate: the number of parts follows from tokens_per_batch; leave it out")
        return self

    def lowered(self, device: str) -> bool:
        """Whether a network is computed in bfloat16 on this kind of device."""
        if self.precision is None:
            return fast_type(device) == torch.bfloat16
        return self.precision == "bfloat16"
