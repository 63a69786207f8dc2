"""What `grn eval fid`, `adaptive` and `sweep` share: pictures of prompts, drawn once, and those they are held against."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from grn.data.sources import Source
from grn.data.transforms import Picture, batches, pick, preparation
from grn.errors import BadInputError, ModelMismatchError, UsageError
from grn.evaluation.blocks import Arrays
from grn.evaluation.frechet import Statistics, check_comparable, features_in, gather_condensed
from grn.evaluation.generation import Generated, Plan, Result, Work, captions, spread
from grn.evaluation.references import PicturesFile, open_reference_file
from grn.evaluation.rows import mapped_rows
from grn.evaluation.scores import Features as Measured
from grn.features.efficientnet import FeatureNetwork
from grn.features.inception import find_weights
from grn.files import atomic_path
from grn.hub import registry
from grn_cli.evaluate.sets import (
    INCEPTION_FILE,
    drawing_record,
    feature_network,
    identity_of,
    leads,
    load_model,
    open_set,
    whole,
)
from grn_cli.evaluate.shared import Shared, blocks_of, name_of
from grn_cli.generate.job import overrides, read_prompts
from grn_cli.loading import device_of
from grn_cli.options.evaluate import Adaptive, Fid, Sweep

_MOST_KEPT = 16  # statistics of references, 13 to 34 MB each
Prompts = list[str] | list[int]
Drawn = Fid | Adaptive | Sweep


class Generation:
    """What the commands that generate share: the network that measures, then the model."""

    def __init__(self, options: Drawn) -> None:
        self.shared = Shared(options.console)
        self.options, self.device = _as_published(options), device_of(options)
        self.network = feature_network(self.options, self.device)
        # What is wrong with it is said before a model is fetched, and hours of drawing.
        self._real = _open_reference(self.options, self.network, self.device)
        self.pipeline = load_model(options)
        self._pictures: Path | None = getattr(options, "save", None)

    def prompts(self) -> Prompts:
        """Captions, in turn where there are too few; class numbers for a class-to-image model. Of several runs, one after the
        other.
        """
        options = self.options
        many = options.num * getattr(options, "repeats", 1)
        labels = getattr(self.pipeline.generator.config, "num_classes", None)
        if labels is not None:
            if options.captions is not None:
                raise UsageError(f"--captions: {self.pipeline.name} draws from classes, not from words; leave it out")
            return spread(labels, options.num) * (many // options.num)
        source = options.captions or options.reference
        if source.suffix == ".npz":
            raise UsageError(f"{source}: holds no captions; name a captioned set with --captions")
        texts = source.suffix == ".txt"
        found = read_prompts(source) if texts else captions(pick(open_set(source, options), many, options.seed))
        return [found[i % len(found)] for i in range(many)]

    def draw(
        self, prompts: Prompts, description: str, keep: bool = False, seed: int | None = None, **settings: Any
    ) -> Generated | None:
        """Generate a picture for every prompt and measure it, sharing the work with other processes.

        keep: each picture's features, too. seed: of the first, if not --seed. settings: fields of SamplerConfig beside
        those of the options. None in a process that does not lead.
        """
        options, pipeline = self.options, self.pipeline
        given = {**({} if isinstance(options, Sweep) else overrides(options)), **settings}
        classes = hasattr(self.network, "probabilities")
        drawing = drawing_record(pipeline, given, options.negative_prompt)
        measuring = {"network": self.network.name, "classes": classes}
        plan = Plan(prompts, options.seed if seed is None else seed, drawing, measuring)
        folder = options.out / plan.digest if options.out else self.shared.folder(plan.digest)
        pictures = self._pictures / plan.digest if self._pictures and isinstance(options, Sweep) else self._pictures
        work = Work(folder, plan, self.network, device=self.device, classes=classes, pictures=pictures)
        left = work.blocks.left()
        if left < len(prompts):
            options.console.info(f"{len(prompts) - left} of {len(prompts)} pictures are drawn already")

        def draw(some: Sequence[Any], seeds: Sequence[int]) -> Iterable[Result]:
            return pipeline.stream(
                some, seed=seeds, batch_size=options.batch_size, negative_prompt=options.negative_prompt, **given
            )

        with options.console.bar(description, left) as bar:
            work.run(draw, bar.advance, lambda now: bar.to(left - now), wait=leads())
        if not leads():
            return None
        return work.collect(keep)

    def reference(self) -> "Reference":
        """The real pictures."""
        return Reference(self, *self._real)

    def finish(self) -> None:
        """Let go of the work that is not to be kept."""
        self.shared.finish()

    def record(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn and how, for a report. given: what is changed of the model's settings."""
        options = self.options
        return {
            "model": self.pipeline.name,
            "features": self.network.name,
            "generated": options.num,
            "seed": options.seed,
            "pictures": str(self._pictures.absolute()) if self._pictures else None,
            **drawing_record(self.pipeline, given, options.negative_prompt),
        }


def _open_reference(
    options: Drawn, network: FeatureNetwork, device: str
) -> tuple[Statistics | None, Source | PicturesFile | None]:
    """What --reference holds. Raises BadInputError, and ModelMismatchError for statistics of another network than this."""
    path = options.reference
    if path.suffix != ".npz":
        return None, open_set(path, options)
    found = open_reference_file(path)
    if found.statistics is None:
        return None, found.pictures
    dim = network(torch.zeros(1, 3, 32, 32, device=device)).shape[1]  # a grey picture tells how many features there are
    try:
        check_comparable((found.statistics.network, len(found.statistics.mean)), (network.name, dim))
    except ModelMismatchError:
        if found.pictures is None:
            raise
        return None, found.pictures  # there to be measured
    return found.statistics, found.pictures


def keep_report(folder: Path | None, record: Mapping[str, Any]) -> None:
    """Write a result as report.json into the folder that its work is kept in, if there is one."""
    if folder is not None:
        with atomic_path(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


class Reference:
    """Real pictures, their statistics, or both."""

    def __init__(self, work: Generation, statistics: Statistics | None, pictures: Source | PicturesFile | None) -> None:
        self._work, self._statistics, self.pictures = work, statistics, pictures

    def features(self, keep: bool = False) -> Measured | None:
        """Of pictures, at the size of the generated ones. keep: each picture's own, too, where there are pictures; else what an
        earlier command measured is taken. None in a process that does not lead.
        """
        work, statistics, size = self._work, self._statistics, self._work.pipeline.size
        if statistics is not None and statistics.preparation not in ("", preparation(size)):
            work.options.console.warn(
                f"{work.options.reference}: is of pictures that were prepared otherwise ({statistics.preparation}; the generated "
                f"ones are {preparation(size)}); make it with `grn eval stats --size {size}` to get the pictures' own distance"
            )
        if self.pictures is None or (statistics is not None and not keep):
            assert statistics is not None, "a reference has pictures or statistics"
            return Measured(statistics)
        samples, decides = whole(self.pictures), [identity_of(work.network), size]
        kept = work.shared.cache / f"statistics-{name_of([samples.identity, decides])}.npz"
        if not keep and (found := _load(kept)) is not None:
            work.options.console.detail(f"{work.options.reference}: was measured before, {kept}")
            return Measured(found)
        work.options.console.info(f"measuring the {samples.count} pictures of {work.options.reference}")
        batch_size = work.options.batch_size

        def measure(some: Iterable[Picture]) -> Arrays:
            return features_in(batches(some, size, batch_size, work.device), work.network)

        blocks = work.shared.measure("reference", decides, samples, measure, blocks_of(batch_size))
        if not leads():
            return None
        found = gather_condensed(blocks, work.network.dim).statistics(work.network.name, preparation(size))
        found.save(kept)
        _make_room(kept.parent)
        rows = mapped_rows(torch.from_numpy(block["features"]) for block in blocks) if keep else None
        return Measured(statistics or found, rows)


def _load(path: Path) -> Statistics | None:
    """Statistics that were kept; None where there are none that can be read."""
    try:
        return Statistics.load(path)
    except BadInputError:
        return None


def _make_room(folder: Path) -> None:
    """Leave the newest of the statistics that are kept."""
    there = sorted(folder.glob("statistics-*.npz"), key=lambda path: path.stat().st_mtime)
    for path in there[:-_MOST_KEPT]:
        path.unlink(missing_ok=True)


def _as_published(options: Drawn) -> Drawn:
    """A published model's distance is to be FID: with Inception where its weights are found; else what is used instead is
    said now, before hours of drawing.
    """
    entry = registry.ENTRIES.get(options.model or "")
    if options.features is not None or options.inception is not None or entry is None or entry.embedded:
        return options
    weights = find_weights()
    if weights is not None:
        options.console.detail(f"FID with Inception's weights in {weights}")
        return replace(options, inception=weights)
    options.console.warn(
        f"no weights of Inception are found: measuring with efficientnet-lite0 instead, whose distances cannot be held against "
        f"published FIDs. For FID: {INCEPTION_FILE}"
    )
    return options
