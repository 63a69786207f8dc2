"""`grn eval video` and `grn eval motion`: what clips are worth, in numbers."""

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grn.data.samples import Sample
from grn.data.transforms import pick
from grn.digests import digest_of
from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.blocks import Arrays
from grn.evaluation.frechet import frechet_distance
from grn.evaluation.generation import captions
from grn.evaluation.video import THRESHOLD, clips_statistics, compare_motion, measure_clips
from grn.features.i3d import I3dFeatures
from grn.media import READ_CLIP_SUFFIXES, open_media, square
from grn.models.config import Clips
from grn_cli.errors import Batch
from grn_cli.evaluate.sets import Chosen, feature_network, identity_of, leads, load_model, open_set
from grn_cli.evaluate.shared import CLIPS, Shared
from grn_cli.generate.job import overrides
from grn_cli.loading import device_of
from grn_cli.options.evaluate import Motion, Video
from grn_cli.paths import expand

_SAME_RATE = 1.01  # containers round what they store


def video(options: Video) -> None:
    """Compare two sets of clips."""
    device = device_of(options)
    i3d = I3dFeatures(options.i3d, device) if options.i3d else None
    network = i3d or feature_network(options, device)
    found = [_clips(path) for path in (options.reference, options.clips)]
    rate = options.fps or _rate([clip for side in found for clip in side])
    shared = Shared(options.console)

    def measure(some: Iterable[Path]) -> Arrays:
        videos = (islice(_frames(clip, options.fps), 0, None, options.stride) for clip in some)
        return measure_clips(videos, network, options.frames, device)

    decides = [identity_of(network), options.fps, options.stride, options.frames if i3d else None]
    works = [shared.measure("clips", decides, _chosen(clips), measure, CLIPS) for clips in found]
    if not leads():
        return shared.finish()
    sides = [clips_statistics(blocks, network, options.frames) for blocks in works]
    distance, of = frechet_distance(*sides), "pairs" if i3d is None else "clips"
    record = {
        "kind": "clips",
        "fps": rate,
        "stride": options.stride,
        "frames": options.frames if i3d else 2,
        "frechet": distance,
        **({"fvd": distance, "preparation": i3d.preparation} if i3d else {}),
        "features": sides[0].network,
        of: sides[1].count,
        f"reference_{of}": sides[0].count,
    }
    name = "Frechet distance" if i3d is None else "FVD"
    taken = f"{sides[1].count} against {sides[0].count} {of}" + (f" of {options.frames} frames" if i3d else "")
    taken += f", stride {options.stride}" + (f", {rate:g} frames a second" if rate else "")
    resized = f", {i3d.preparation}" if i3d else ""
    text = f"{name} {distance:.3f} ({sides[0].network}{resized}; {taken})"
    options.console.result(record, text)
    return shared.finish()  # not before: what dies before it has said its result would lose all of it


def motion(options: Motion) -> None:
    """Generate clips of a set's captions, and compare how much they move."""
    console = options.console
    pipeline = load_model(options)
    clips = pipeline.clips
    if clips is None:
        raise UsageError(f"--model: {pipeline.name} draws still pictures, which do not move; name a video model")
    samples = pick(open_set(options.data, options, clips=True), options.num, options.seed)
    prompts = captions(samples)
    settings = overrides(options)
    seeds = range(options.seed, options.seed + len(prompts))
    size = clips.frames, pipeline.size, pipeline.size
    results = pipeline.stream(prompts, seed=seeds, size=size, batch_size=options.batch_size, **settings)
    drawn, real = compare_motion(
        (result.frames, _cropped(sample, clips, pipeline.size))
        for result, sample in zip(console.progress(results, "generate", len(prompts)), samples, strict=True)
    )
    record = {"model": pipeline.name, "threshold": THRESHOLD, "generated": asdict(drawn), "data": asdict(real)}
    rows = [
        [name, m.clips, m.difference, f"{m.moving:.1%}", "-" if m.flicker is None else f"{m.flicker:.1%}"]
        for name, m in (("generated", drawn), ("data", real))
    ]
    title = f"{pipeline.name}: clips of {clips.frames} frames of {pipeline.size}x{pipeline.size}; levels are of 255"
    console.result(record, title, *report.table(["", "clips", "difference", "moving", "flicker"], rows))


def _cropped(sample: Sample, clips: Clips, size: int) -> NDArray[np.uint8]:
    return sample.clip(clips.frames, clips.fps, fitted=partial(square, size=size))


def _clips(path: Path) -> list[Path]:
    return [item.path for item in expand([str(path)], READ_CLIP_SUFFIXES, Batch(alone=True)) if item.path is not None]


def _chosen(clips: list[Path]) -> Chosen:
    identity = " ".join(digest_of(clip).hex() for clip in clips)
    return Chosen(len(clips), identity, lambda some: clips[some.start : some.stop])


def _rate(clips: list[Path]) -> float | None:
    """The frames a second of all clips; None of pictures alone. UsageError where they differ: how much changes from one
    frame to the next is what is compared.
    """
    rates: dict[float, Path] = {}
    for clip in clips:
        with open_media(clip) as media:
            if media.fps is not None:
                rates.setdefault(media.fps, clip)
    if rates and max(rates) > min(rates) * _SAME_RATE:
        named = " and ".join(f"{rates[rate]} has {rate:g}" for rate in (min(rates), max(rates)))
        raise UsageError(f"clips of different rates: {named} frames a second; bring them to one with --fps")
    return min(rates, default=None)


def _frames(path: Path, fps: float | None) -> Iterable[Any]:
    with open_media(path, fps=fps) as media:
        yield from media
