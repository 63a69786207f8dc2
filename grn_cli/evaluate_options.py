"""Options that the commands of `grn eval` share."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.options import Common, PartOptions

if TYPE_CHECKING:
    from grn.data.samples import Sample
    from grn.data.sources import Source
    from grn.evaluation.frechet import Statistics
    from grn.features.efficientnet import FeatureNetwork
    from grn.pipeline import Pipeline

    Prompts = list[str] | list[int]

SET = "FOLDER|TAR"
EMOJI = Path("data/emoji")  # where recipes/emoji/prepare.py puts its tars


class Features(str, Enum):
    """Networks that distances are measured with."""

    offline = "offline"
    inception = "inception"


@dataclass(frozen=True)
class FeatureOptions:
    """Which network measures, and how."""

    features: Annotated[
        Features,
        typer.Option(
            "--features",
            metavar="offline|inception",
            help="Feature network; with inception, the distance is FID as published.",
        ),
    ] = Features.offline
    inception: Annotated[
        Path | None,
        typer.Option(
            "--inception",
            metavar="FILE",
            help="The Inception weights, as TorchScript or a state dict. TorchScript is a program: trust its source.",
        ),
    ] = None
    resolution: Annotated[
        int,
        typer.Option(
            "--resolution", min=32, max=1024, help="Side to which the offline network resizes; less is faster."
        ),
    ] = 224
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at a time.")] = 32

    def network(self, device: str) -> "FeatureNetwork":
        """Load it. Raises UsageError, ModelNotFoundError or ModelMismatchError."""
        from grn.errors import UsageError
        from grn.features.efficientnet import OfflineFeatures
        from grn.features.inception import InceptionFeatures

        if self.features is Features.offline:
            if self.inception is not None:
                raise UsageError("--inception: is used with --features inception only; give that too")
            return OfflineFeatures(self.resolution).to(device)
        if self.inception is None:
            raise UsageError("--features inception: needs the network's file; name it with --inception FILE")
        return InceptionFeatures(self.inception).to(device)


@dataclass(frozen=True)
class KeepOptions:
    """Which pictures of a set count; the first fields of the options of every command that measures on one."""

    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="FACT=VALUE,...", help="Only pictures whose JSON says so; repeat it for other facts."
        ),
    ] = None

    def open(self, path: Path, clips: bool = False) -> "Source":
        """Open a set of pictures, or of clips. Raises BadInputError, also where nothing is kept, and UsageError for a malformed --keep."""
        from grn.errors import BadInputError, UsageError

        facts: dict[str, list[str | int]] = {}
        for text in self.keep or []:
            fact, _, values = text.partition("=")
            if not fact or not values:
                raise UsageError(f"--keep {text}: expected FACT=VALUE, as in style=3d,noto")
            wanted = values.split(",")
            facts[fact] = [*wanted, *(int(value) for value in wanted if value.isdecimal())]
        kept = open_set(path, clips).keep(**facts)
        if not len(kept):
            raise BadInputError(f"{path}: no picture has {' and '.join(self.keep or [])}; change --keep")
        return kept


@dataclass(frozen=True)
class ChoiceOptions(KeepOptions):
    """How many pictures of a set, and which."""

    num: Annotated[
        int | None,
        typer.Option("--num", "-n", min=1, metavar="N", help="Use so many of the pictures, drawn by --seed."),
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0

    def samples(self, path: Path, clips: bool = False) -> "list[Sample]":
        """Open a set and choose. Raises BadInputError."""
        from grn.data.transforms import pick

        return pick(self.open(path, clips), self.num, self.seed)


@dataclass(frozen=True)
class ModelOptions:
    """Which generator, and how it is sampled; what is not given is as the model's config says."""

    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="The embedded one if not given.")
    ] = None
    guidance: Annotated[float | None, typer.Option("--guidance", min=0, help="Guidance scale; 1 is none.")] = None
    temperature: Annotated[float | None, typer.Option("--temperature", help="Sampling temperature.")] = None

    def load(self, parts: PartOptions, common: Common, clips: bool = False) -> "Pipeline":
        """clips: which of the embedded ones, if none is named. Raises as `PartOptions.load` does."""
        from grn.hub import registry

        return parts.load(self.model or registry.default_model(clips), common)

    def overrides(self, **more: Any) -> dict[str, Any]:
        """The fields of the model's SamplerConfig to change."""
        given = {"guidance": self.guidance, "temperature": self.temperature, **more}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class SetOptions(KeepOptions):
    """What is generated, and the real pictures it is held against."""

    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            metavar="FILE.npz|FOLDER|TAR",
            help="Real pictures, or their statistics from `grn eval stats`.",
        ),
    ] = EMOJI / "train.tar"
    captions: Annotated[
        Path | None,
        typer.Option("--captions", metavar=SET, help="What to generate; the reference's captions if not given."),
    ] = None
    num: Annotated[int, typer.Option("--num", "-n", min=2, metavar="N", help="Pictures to generate.")] = 500
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0

    def prompts(self, pipeline: "Pipeline") -> "Prompts":
        """Captions, in turn where there are too few; class numbers for a class-to-image model."""
        from grn.data.transforms import pick
        from grn.errors import UsageError
        from grn.evaluation.generation import captions, spread

        labels = getattr(pipeline.generator.config, "num_classes", None)
        if labels is not None:
            return spread(labels, self.num)
        source = self.captions or self.reference
        if source.suffix == ".npz":
            raise UsageError(f"{source}: holds statistics and no captions; name a captioned set with --captions")
        found = captions(pick(self.open(source), self.num, self.seed))
        return [found[i % len(found)] for i in range(self.num)]

    def statistics(self, size: int, network: "FeatureNetwork", batch_size: int, common: Common) -> "Statistics":
        """Those of the reference; of pictures, at the size of the generated ones."""
        from grn.data.transforms import batches
        from grn.evaluation.frechet import Statistics, gather

        if self.reference.suffix == ".npz":
            return Statistics.load(self.reference)
        samples = common.console.progress(self.open(self.reference), "reference")
        return gather(batches(samples, size, batch_size, common.torch_device()), network)


def open_set(path: Path, clips: bool = False) -> "Source":
    """Open a set of pictures, or of clips. Raises BadInputError."""
    from grn.data.sources import open_source
    from grn.errors import BadInputError

    script = "prepare_video" if clips else "prepare"
    if path.parent == EMOJI and not path.exists():
        raise BadInputError(f"{path}: not there; make it with `python recipes/emoji/{script}.py`, or name another set")
    return open_source(path, clips)
