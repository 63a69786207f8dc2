"""What a recipe (TOML) holds: everything that decides a training run.

A recipe's `kind` says what is trained. `load_recipe` reads one, applies overrides (section.key=value) and checks every key.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from grn.errors import ConfigError, UsageError
from grn.files import atomic_path, display
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.refine.config import Fill, SamplerConfig, check_clip_sampling
from grn.training.config import DataConfig, Decay, OptimizerConfig, Positive, RunConfig, Section, Share, Steps, Weight
from grn.validation import describe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class TokenizerLosses(Section):
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


class TokenizerRecipe(Section):
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


class RatioConfig(Section):
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


class WordsConfig(Section):
    """How often a caption's words are turned away from where they are, and how far (`grn.training.words`)."""

    turned: Share = Field(0.0, description="share of the captions")
    degrees: float = Field(60.0, ge=0, le=90, description="largest angle")


class GeneratorRecipe(Section):
    """Cross-entropy on randomly corrupted token maps (algorithm 2)."""

    kind: Literal["generator"] = Field(description="what is trained")
    name: str = Field(description="the model's, and its run folder's")
    network: Annotated[ClassToImageConfig | TextToVisualConfig, Field(discriminator="kind")]
    tokenizer: str = Field(description="name or folder of the tokenizer whose codes are generated")
    text_encoder: Path | None = Field(
        None, description="name or folder of the text encoder, umT5 or any of transformers; text models need one"
    )
    text_device: str | None = Field(
        None, description="where a text encoder's network computes, as cpu or cuda:7; none: each process's own device"
    )
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
    stills: bool = Field(
        False, description="trained on clips and pictures, the model draws a picture where none asks for a clip"
    )
    sheet_prompts: tuple[str, ...] = Field((), description="drawn on the sample sheets; captions of the data if empty")
    sampling: SamplerConfig = Field(SamplerConfig(), description="sampling defaults written into the model's config")
    clip_sampling: dict[str, Any] | None = Field(
        None, description="sampling defaults that differ for clips, of a model that draws pictures too (`stills`)"
    )

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
        if self.stills and len({source.clips for source in self.data.sources}) == 1:
            raise ValueError("stills: is said of a model that learns both pictures and clips; give sources of both")
        check_clip_sampling(self.sampling, self.clip_sampling, self.stills)
        if self.stills and len({source.tag for source in self.data.sources}) > 1:
            raise ValueError("stills: a model that draws both puts one tag before its prompts; give all sources one")
        if self.text_device is not None and self.text_encoder is None:
            raise ValueError("text_device: there is no text encoder; leave it out")
        if self.words.turned and self.text_encoder is None:
            raise ValueError("words.turned: there are no words without text_encoder; leave it at 0")
        if not self.words.turned and self.words != WordsConfig():
            raise ValueError("words.degrees: no words are turned; set words.turned or leave it out")
        if self.sheet_prompts and isinstance(self.network, ClassToImageConfig):
            raise ValueError("sheet_prompts: a class-to-image network draws its first classes; leave them out")
        return self

    @property
    def drawn_frames(self) -> int:
        """Frames that the model draws where no number is asked for."""
        return 1 if self.stills else self.data.frames


Recipe = Annotated[TokenizerRecipe | GeneratorRecipe, Field(discriminator="kind")]


def save_recipe(recipe: TokenizerRecipe | GeneratorRecipe, path: Path) -> None:
    """Write every setting, as `load_recipe` reads it."""
    with atomic_path(path) as aside:
        aside.write_text(text_of(recipe), encoding="utf-8")


def text_of(recipe: TokenizerRecipe | GeneratorRecipe) -> str:
    """Every setting, as TOML."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


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
