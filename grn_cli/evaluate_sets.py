"""What the commands of `grn eval` measure on, with and against."""

import os
from pathlib import Path
from typing import Any

from grn.data.samples import Sample
from grn.data.sources import Source, open_source
from grn.data.transforms import batches, pick
from grn.errors import BadInputError, UsageError
from grn.evaluation.frechet import Statistics, gather
from grn.evaluation.generation import Drawn, captions, measure, spread
from grn.features.efficientnet import FeatureNetwork, OfflineFeatures
from grn.features.inception import InceptionFeatures
from grn.hub import registry
from grn.pipeline import Pipeline
from grn_cli.loading import device_of, load_pipeline
from grn_cli.options.evaluate import EMOJI, Adaptive, Choice, Features, Fid, Keep, Measuring, Model

Prompts = list[str] | list[int]


def feature_network(options: Measuring, device: str) -> FeatureNetwork:
    """The network that measures. Raises UsageError, ModelNotFoundError or ModelMismatchError."""
    if options.features is Features.offline:
        if options.inception is not None:
            raise UsageError("--inception: is used with --features inception only; give that too")
        return OfflineFeatures(options.resolution).to(device)
    if options.inception is None:
        raise UsageError("--features inception: needs the network's file; name it with --inception FILE")
    return InceptionFeatures(options.inception).to(device)


def open_set(path: Path, options: Keep, clips: bool = False) -> Source:
    """The pictures, or clips, of a set that --keep leaves.

    Raises BadInputError, also where nothing is left, and UsageError for a malformed --keep.
    """
    facts: dict[str, list[str | int]] = {}
    for text in options.keep or []:
        fact, _, values = text.partition("=")
        if not fact or not values:
            raise UsageError(f"--keep {text}: expected FACT=VALUE, as in style=3d,noto")
        wanted = values.split(",")
        facts[fact] = [*wanted, *(int(value) for value in wanted if value.isdecimal())]
    if path.parent == EMOJI and not path.exists():
        script = "prepare_video" if clips else "prepare"
        raise BadInputError(f"{path}: not there; make it with `python recipes/emoji/{script}.py`, or name another set")
    kept = open_source(path, clips).keep(**facts)
    if not len(kept):
        raise BadInputError(f"{path}: no picture has {' and '.join(options.keep or [])}; change --keep")
    return kept


def chosen(path: Path, options: Choice, clips: bool = False) -> list[Sample]:
    """The samples of a set that --num and --seed choose. Raises as `open_set` does."""
    return pick(open_set(path, options, clips), options.num, options.seed)


def load_model(options: Model, clips: bool = False) -> Pipeline:
    """clips: which of the embedded ones, if none is named. Raises as `load_pipeline` does."""
    return load_pipeline(options.model or registry.default_model(clips), options)


def overrides(options: Model, **more: Any) -> dict[str, Any]:
    """The fields of the model's SamplerConfig to change."""
    given = {"guidance": options.guidance, "temperature": options.temperature, **more}
    return {name: value for name, value in given.items() if value is not None}


def refuse_existing(path: Path | None, force: bool) -> None:
    """Raises UsageError where a file would be overwritten without --force."""
    if path is not None and os.path.lexists(path) and not force:
        raise UsageError(f"{path}: exists already; choose another name, or --force to overwrite it")


class Generation:
    """What the commands that generate share: the network that measures, then the model."""

    def __init__(self, options: Fid | Adaptive) -> None:
        self.options, self.device = options, device_of(options)
        self.network = feature_network(options, self.device)
        self.pipeline = load_model(options)

    def prompts(self) -> Prompts:
        """Captions, in turn where there are too few; class numbers for a class-to-image model."""
        options = self.options
        labels = getattr(self.pipeline.generator.config, "num_classes", None)
        if labels is not None:
            return spread(labels, options.num)
        source = options.captions or options.reference
        if source.suffix == ".npz":
            raise UsageError(f"{source}: holds statistics and no captions; name a captioned set with --captions")
        found = captions(pick(open_set(source, options), options.num, options.seed))
        return [found[i % len(found)] for i in range(options.num)]

    def draw(self, prompts: Prompts, description: str, **settings: Any) -> Drawn:
        """Generate a picture for every prompt and keep its features.

        settings: fields of SamplerConfig, None for the model's own.
        """
        options, size = self.options, self.options.batch_size
        seeds = range(options.seed, options.seed + len(prompts))
        results = self.pipeline.stream(prompts, seed=seeds, batch_size=size, **overrides(options, **settings))
        shown = options.console.progress(results, description, len(prompts))
        classes = options.features is Features.inception
        return measure(shown, self.network, batch_size=size, device=self.device, classes=classes)

    def reference(self) -> "Reference":
        """The real pictures, opened now so that what is wrong with them is said before hours of drawing."""
        path = self.options.reference
        return Reference(self, Statistics.load(path) if path.suffix == ".npz" else open_set(path, self.options))


class Reference:
    """Real pictures, or their statistics."""

    def __init__(self, work: Generation, found: Statistics | Source) -> None:
        self._work, self._found = work, found

    def statistics(self, size: int) -> Statistics:
        """Of pictures, at the size of the generated ones."""
        if isinstance(self._found, Statistics):
            return self._found
        work = self._work
        shown = work.options.console.progress(self._found, "reference")
        return gather(batches(shown, size, work.options.batch_size, work.device), work.network)
