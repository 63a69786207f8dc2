"""What the commands of `grn eval` measure on and with: sets, networks and models, by their options."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grn.data.samples import Sample
from grn.data.sources import Source, open_source
from grn.data.transforms import pick
from grn.errors import BadInputError, UsageError
from grn.evaluation.kept import Kept
from grn.features.efficientnet import FeatureNetwork, OfflineFeatures
from grn.features.inception import InceptionFeatures, find_weights
from grn.features.vision import VisionFeatures
from grn.files import cache_folder
from grn.hub import registry
from grn.pipeline import Pipeline
from grn_cli.loading import load_pipeline
from grn_cli.options.evaluate import EMOJI, Keep, Measuring, Model, Recon, Stats

INCEPTION_FILE = (
    "pt_inception-2015-12-05-6726825d.pth (of the pytorch-fid releases on GitHub); name it with --inception FILE, or put it "
    "into torch's cache (~/.cache/torch/hub/checkpoints)"
)


def feature_network(options: Measuring, device: str) -> FeatureNetwork:
    """The network that measures. Raises UsageError, ModelNotFoundError or ModelMismatchError."""
    name = options.features or ("offline" if options.inception is None else "inception")
    if name != "inception" and options.inception is not None:
        raise UsageError("--inception: is used with --features inception only; leave out one of them")
    if name == "offline":
        return OfflineFeatures(options.resolution).to(device)
    if name != "inception":
        return VisionFeatures(name, getattr(options, "offline", False)).to(device)
    weights = options.inception or find_weights()
    if weights is None:
        raise UsageError(f"--features inception: needs the network's file, {INCEPTION_FILE}")
    return InceptionFeatures(weights).to(device)


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


def left(source: Source, options: Stats | Recon, measuring: Mapping[str, Any]) -> tuple[list[Sample], Kept]:
    """The samples of a set that --num and --seed choose and that are not measured yet, and what was gathered of the others.

    measuring: what else decides what is gathered, as JSON.
    """
    samples = pick(source, options.num, options.seed)
    kept = kept_of([source.identity(), options.num, options.seed, measuring])
    if kept.done:
        options.console.info(f"{kept.done} of {len(samples)} are measured already")
    return samples[kept.done :], kept


def kept_of(decides: Any) -> Kept:
    """What an earlier run of the same measurement has gathered. decides: all that decides it, as JSON."""
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return Kept(cache_folder("evaluations", make=True) / f"{name}.safetensors")


def load_model(options: Model, clips: bool = False) -> Pipeline:
    """clips: which of the embedded ones, if none is named. Raises as `load_pipeline` does."""
    return load_pipeline(options.model or registry.default_model(clips), options)


def refuse_existing(path: Path | None, force: bool) -> None:
    """Raises UsageError where a file would be overwritten without --force."""
    if path is not None and os.path.lexists(path) and not force:
        raise UsageError(f"{path}: exists already; choose another name, or --force to overwrite it")


def leads() -> bool:
    """Whether this process speaks: of those that torchrun starts, the first."""
    return os.environ.get("RANK", "0") == "0"


def drawing_record(pipeline: Pipeline, given: Mapping[str, Any], negative_prompt: str = "") -> dict[str, Any]:
    """Everything that decides the picture of a prompt and a seed, as JSON. given: what is changed of the model's settings."""
    return {
        "weights": pipeline.generator.fingerprint,
        "tokenizer": pipeline.tokenizer.fingerprint,
        "text_encoder": pipeline.text.name if pipeline.text else None,
        "dtype": pipeline.dtype_name,
        "negative_prompt": negative_prompt,
        "sampling": pipeline.settings(**given).model_dump(mode="json"),
    }
