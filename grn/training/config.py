"""What a recipe (TOML) holds: everything that decides a training run.

A recipe's `kind` says what is trained. `load_recipe` reads one, applies overrides (section.key=value) and checks every key.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from grn.devices import fast_type
from grn.errors import ConfigError, UsageError
from grn.files import display
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.compiling import Compiling
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.refine.config import Fill, SamplerConfig
from grn.validation import describe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Bounds beyond which nothing is meant: numbers there overflow, or ask for more than any machine has.
Weight = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
Steps = Annotated[int, Field(ge=0, le=10**9)]


def _switch(value: object) -> object:
    """Older recipes say true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(_Section):
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


class DataConfig(_Section):
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


class OptimizerConfig(_Section):
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


class RunConfig(_Section):
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
        description="most tokens of a packed sequence: each device packs its share of a batch into as few as hold it; none: `accumulate` parts",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides everything random")
    ema: Share = Field(
        0.999, description="decay of the weights' moving average, which is what is kept in the end; 0: none"
    )
    save_every: int = Field(1000, ge=1, le=10**9, description="steps between checkpoints")
    keep: int = Field(2, ge=2, le=10**6, description="good checkpoints kept")
    log_every: int = Field(50, ge=1, le=10**9, description="steps between lines of log.jsonl")
    sheet_every: int = Field(1000, ge=1, le=10**9, description="steps between sample sheets")
    distance_every: int = Field(
        0,
        ge=0,
        le=10**9,
        description="steps between quick Frechet distances of the averaged model to the data; 0: none",
    )
    distance_pictures: int = Field(512, ge=2, le=10**6, description="how many pictures of each those are of")
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="where figures go beside log.jsonl; each is a package that has to be there"
    )
    recompute: bool = Field(
        False, description="compute each block once more in the backward pass: much less memory, a third more work"
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
        if self.recompute and self.compile == "on":
            raise ValueError(
                'compile "on": blocks that are computed once more are not compiled; leave out one of the two'
            )
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


class TokenizerLosses(_Section):
    """Weights of the losses; 0 leaves one out."""

    l1: Weight = Field(1.0, description="mean absolute difference")
    l2: Weight = Field(0.0, description="mean squared difference")
    perceptual: Weight = Field(1.0, description="difference of the features of EfficientNet-Lite0")
    lpips: Path | None = Field(
        None,
        description="TorchScript file of LPIPS, for the perceptual loss; none: features that come with the package",
    )
    motion: Weight = Field(0.0, description="of clips: how much each place changes from frame to frame, whichever way")
    gan: Weight = Field(0.1, description="what the PatchGAN discriminator says, scaled by the gradients of the others")
    gan_start: Steps = Field(0, description="step from which the discriminator counts")
    gan_lr: Positive = Field(1e-4, description="the discriminator's learning rate")
    gan_network: Literal["small", "patchgan"] = Field(
        "small", description="three levels with group norms, or the published four with batch norms"
    )
    gan_betas: tuple[Decay, Decay] = Field((0.5, 0.9), description="the averages of its AdamW")
    gan_weight_decay: Weight = Field(0.01, description="of its AdamW")

    @model_validator(mode="after")
    def _check_use(self) -> "TokenizerLosses":
        for name in ("gan_start", "gan_lr", "gan_network", "gan_betas", "gan_weight_decay"):
            if not self.gan and getattr(self, name) != TokenizerLosses.model_fields[name].default:
                raise ValueError(f"{name}: there is no discriminator with gan = 0; leave it out")
        if self.lpips is not None and not self.perceptual:
            raise ValueError("lpips: there is no perceptual loss with perceptual = 0; leave it out")
        return self


class TokenizerRecipe(_Section):
    """Reconstruction, perceptual and PatchGAN losses on pictures and clips quantized to a random number of rounds."""

    kind: Literal["tokenizer"] = Field(description="what is trained")
    name: str = Field(description="the model's, and its run folder's")
    network: TokenizerConfig
    data: DataConfig
    run: RunConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    losses: TokenizerLosses = TokenizerLosses()
    rounds: dict[str, Weight] = Field({"4": 1.0}, description='share of each number of rounds; "none": not quantized')
    decoder_only: bool = Field(False, description="leave the encoder as it is, so that codes made with it stay valid")

    @model_validator(mode="after")
    def _check(self) -> "TokenizerRecipe":
        for rounds in self.rounds:
            if rounds != "none" and not (rounds.isdigit() and 1 <= int(rounds) <= 16):
                raise ValueError(f'rounds: {rounds!r} is neither a number from 1 to 16 nor "none"')
        if sum(self.rounds.values()) <= 0:
            raise ValueError("rounds: at least one share must be above 0")
        if self.optimizer.name == "muon":
            raise ValueError(
                'optimizer.name "muon" is for the matrices of generators; a tokenizer is made of convolutions: use "adamw"'
            )
        if self.losses.gan_network == "patchgan" and self.data.size < 24:
            raise ValueError(
                'losses.gan_network "patchgan": sees nothing in crops below 24 pixels; take a larger data.size'
            )
        if self.run.recompute:
            raise ValueError("run.recompute: is of a generator's blocks; a tokenizer has none: leave it out")
        if self.losses.motion and self.data.frames == 1:
            raise ValueError("losses.motion: is of clips, and there are none; leave it at 0")
        if self.run.tokens_per_batch is not None:
            raise ValueError("run.tokens_per_batch: is for generators; a tokenizer's samples are of one size")
        if any(source.codes for source in self.data.sources):
            raise ValueError("data.sources codes: a tokenizer learns from pictures and clips; name those")
        if self.data.sizes:
            raise ValueError("data.sizes is for text models; a tokenizer's crops are squares of data.size")
        if self.data.size % self.network.stride:
            raise ValueError(
                f"data.size {self.data.size} is not a multiple of the network's stride {self.network.stride}"
            )
        if self.network.whole_frames(self.data.frames) != self.data.frames:
            raise ValueError(
                f"data.frames {self.data.frames} is not 1 + a multiple of the network's time stride {self.network.time_stride}"
            )
        return self


class RatioConfig(_Section):
    """Selection ratios in training: how each sample's is drawn, and what the network is told of it."""

    drawn: Literal["logit-normal", "uniform"] = Field(
        "logit-normal", description="from what: the sigmoid of a normal, or all ratios alike"
    )
    mean: float = Field(-0.8, ge=-20, le=20, description="of the normal")
    deviation: float = Field(0.8, gt=0, le=20, description="of the normal")
    shown: Literal["drawn", "kept"] = Field(
        "drawn", description="what the network is told: the ratio that was drawn, or the share of elements really kept"
    )

    @model_validator(mode="after")
    def _check_use(self) -> "RatioConfig":
        for name in ("mean", "deviation"):
            if self.drawn == "uniform" and getattr(self, name) != RatioConfig.model_fields[name].default:
                raise ValueError(f'{name}: is of the normal; with drawn = "uniform" leave it out')
        return self


class WordsConfig(_Section):
    """How often a caption's words are turned away from where they are, and how far (`grn.training.words`)."""

    turned: Share = Field(0.0, description="share of the captions")
    degrees: float = Field(60.0, ge=0, le=90, description="largest angle")


class GeneratorRecipe(_Section):
    """Cross-entropy on randomly corrupted token maps (algorithm 2)."""

    kind: Literal["generator"] = Field(description="what is trained")
    name: str = Field(description="the model's, and its run folder's")
    network: Annotated[ClassToImageConfig | TextToVisualConfig, Field(discriminator="kind")]
    tokenizer: str = Field(description="name or folder of the tokenizer whose codes are generated")
    text_encoder: Path | None = Field(None, description="name or folder of the text encoder; text models need one")
    data: DataConfig
    run: RunConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    ratio: RatioConfig = RatioConfig()
    fill: Fill = Field(
        "refine", description="what unselected elements show: a random map (algorithm 2), or nothing (mask training)"
    )
    drop_condition: Share = Field(0.1, description="share of the samples without their condition, for guidance")
    words: WordsConfig = WordsConfig()
    cut: Share = Field(0.0, description="share of the steps whose clips are cut to a random shorter length")
    sheet_prompts: tuple[str, ...] = Field((), description="drawn on the sample sheets; captions of the data if empty")
    sampling: SamplerConfig = Field(SamplerConfig(), description="sampling defaults written into the model's config")

    @model_validator(mode="after")
    def _check(self) -> "GeneratorRecipe":
        for source in self.data.sources:
            if source.resize is not None:
                raise ValueError(f"{source.path}: resize is for tokenizers; a generator's codes are of centre crops")
        if self.data.frames > 1 and self.data.fps is None:
            raise ValueError("data.fps: a generator of clips is told how many frames a second it draws; set it")
        if isinstance(self.network, ClassToImageConfig) and (self.data.sizes or self.data.frames > 1):
            raise ValueError(
                "data.sizes and data.frames are for text models; class-to-image networks have fixed positions"
            )
        if self.run.parallel != "ddp" and self.optimizer.name == "muon":
            raise ValueError('run.parallel: Muon needs whole matrices; take "ddp", or optimizer.name = "adamw"')
        if self.fill != self.sampling.fill:
            raise ValueError(
                f'fill is "{self.fill}" and sampling.fill "{self.sampling.fill}": a model is drawn from as it is trained; '
                "give both the same value"
            )
        if self.fill == "mask" and self.network.target == "flip":
            raise ValueError('fill "mask": a masked element has no bit to flip; take network.target "bit" or "ind"')
        if self.cut and self.data.frames == 1:
            raise ValueError("cut: there are no clips to cut; leave it at 0")
        if self.words.turned and self.text_encoder is None:
            raise ValueError("words.turned: there are no words without text_encoder; leave it at 0")
        if not self.words.turned and self.words != WordsConfig():
            raise ValueError("words.degrees: no words are turned; set words.turned or leave it out")
        if self.sheet_prompts and isinstance(self.network, ClassToImageConfig):
            raise ValueError("sheet_prompts: a class-to-image network draws its first classes; leave them out")
        return self


Recipe = Annotated[TokenizerRecipe | GeneratorRecipe, Field(discriminator="kind")]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TokenizerRecipe | GeneratorRecipe:
    """Read and check a recipe. Relative paths in it stay relative to the current folder.

    Raises ConfigError naming the file and the key, with the nearest known key for a misspelt one; UsageError for a malformed override.
    """
    try:
        tree = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{display(path)}: no such recipe; see the recipes folder for examples") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{display(path)}: not a readable TOML recipe ({error})") from error
    for override in overrides:
        _override(tree, override)
    try:
        return TypeAdapter(Recipe).validate_python(tree)
    except ValidationError as error:
        family = TokenizerRecipe if tree.get("kind") == "tokenizer" else GeneratorRecipe
        raise ConfigError(f"{display(path)}: {describe(error, family)}") from error


def _override(tree: dict[str, Any], override: str) -> None:
    """Set a dotted key to a TOML value; a value that is not TOML is taken as a string."""
    key, equals, text = override.partition("=")
    shown = display(override)[:200]
    if not equals or not key.strip():
        raise UsageError(f"{shown}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    except RecursionError:
        raise UsageError(f"{shown}: nested too deep") from None
    *parents, last = key.strip().split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{shown}: {part} is not a section")
    tree[last] = value
