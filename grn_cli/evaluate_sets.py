"""What the commands of `grn eval` measure on, with and against."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from grn.data.samples import Sample
from grn.data.sources import Source, open_source
from grn.data.transforms import Picture, batches, pick, preparation
from grn.errors import BadInputError, ModelMismatchError, UsageError
from grn.evaluation.frechet import Statistics, check_comparable, gather
from grn.evaluation.generation import Generated, captions, measure, spread
from grn.evaluation.references import PicturesFile, open_reference_file
from grn.evaluation.scores import Features as Measured
from grn.evaluation.scores import features_of, of_features
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

    def draw(self, prompts: Prompts, description: str, **settings: Any) -> Generated:
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
        return Reference(self)


class Reference:
    """Real pictures, their statistics, or both."""

    def __init__(self, work: Generation) -> None:
        """Raises BadInputError, and ModelMismatchError for statistics of another network than the one that measures."""
        self._work, path = work, work.options.reference
        self._statistics: Statistics | None = None
        self.pictures: Source | PicturesFile | None = None
        if path.suffix != ".npz":
            self.pictures = open_set(path, work.options)
            return
        found = open_reference_file(path)
        self._statistics, self.pictures = found.statistics, found.pictures
        if self._statistics is not None:
            # One grey picture tells how many features there are.
            dim = work.network(torch.zeros(1, 3, 32, 32, device=work.device)).shape[1]
            measured = work.network.name, dim
            try:
                check_comparable((self._statistics.network, len(self._statistics.mean)), measured)
            except ModelMismatchError:
                if self.pictures is None:
                    raise
                self._statistics = None  # of another network; the pictures are there to be measured

    def features(self, size: int, keep: bool = False) -> Measured:
        """Of pictures, at the size of the generated ones. keep: each picture's own, too, where there are pictures."""
        work, statistics = self._work, self._statistics
        if statistics is not None and statistics.preparation not in ("", preparation(size)):
            work.options.console.warn(
                f"{work.options.reference}: is of pictures that were prepared otherwise ({statistics.preparation}; the generated "
                f"ones are {preparation(size)}); make it with `grn eval stats --size {size}` to get the pictures' own distance"
            )
        if self.pictures is None or (statistics is not None and not keep):
            assert statistics is not None, "a reference has pictures or statistics"
            return Measured(statistics)
        pictures: Iterable[Picture] = self.pictures
        shown = work.options.console.progress(pictures, "reference", len(self.pictures))
        pixels = batches(shown, size, work.options.batch_size, work.device)
        if not keep:
            return Measured(gather(pixels, work.network, preparation(size)))
        found = features_of(pixels, work.network)
        own = of_features(found, work.network.name, preparation(size))
        return Measured(statistics or own.statistics, found)
