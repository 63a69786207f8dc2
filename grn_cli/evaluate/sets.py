"""What the commands of `grn eval` measure on and with: sets, networks and models, by their options."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grn.data.sources import Source, open_source
from grn.data.transforms import pick
from grn.digests import digest_of
from grn.errors import BadInputError, UsageError
from grn.evaluation import report
from grn.evaluation.references import PicturesFile, open_reference_file
from grn.features.efficientnet import FeatureNetwork, OfflineFeatures
from grn.features.i3d import I3dFeatures
from grn.features.inception import InceptionFeatures, find_weights
from grn.features.vision import VisionFeatures
from grn.files import cannot_write
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
    if path.parent == EMOJI and not os.path.lexists(path):
        script = "prepare_video" if clips else "prepare"
        raise BadInputError(f"{path}: not there; make it with `python recipes/emoji/{script}.py`, or name another set")
    kept = open_source(path, clips).keep(**facts)
    if not len(kept):
        raise BadInputError(f"{path}: no picture has {' and '.join(options.keep or [])}; change --keep")
    return kept


@dataclass(frozen=True)
class Chosen:
    """The samples of a set that are measured. identity: says which they are. take: those of these numbers."""

    count: int
    identity: str
    take: Callable[[range], Iterable[Any]]


def chosen(path: Path, options: Stats | Recon, clips: bool = False) -> Chosen:
    """The pictures or clips of a set that --keep, --num and --seed choose. Raises as `open_set`, and BadInputError for an
    .npz without pictures.
    """
    if path.suffix != ".npz":
        source = open_set(path, options, clips)
        samples = pick(source, options.num, options.seed)
        identity = f"{source.identity()} {options.num} {options.seed}"
        return Chosen(len(samples), identity, lambda some: samples[some.start : some.stop])
    pictures = open_reference_file(path).pictures
    if pictures is None:
        raise BadInputError(f"{path}: holds statistics already, and no pictures")
    if options.keep or clips:
        raise UsageError(f"{path}: holds pictures alone; leave out {'--keep' if options.keep else '--frames'}")
    numbers = pick(range(len(pictures)), options.num, options.seed)
    identity = f"{digest_of(path).hex()} {options.num} {options.seed}"
    return Chosen(len(numbers), identity, lambda some: pictures.chosen(numbers[some.start : some.stop]))


def whole(pictures: Source | PicturesFile) -> Chosen:
    """All of a set's pictures."""
    if isinstance(pictures, PicturesFile):
        return Chosen(len(pictures), digest_of(pictures.path).hex(), pictures.chosen)
    return Chosen(len(pictures), pictures.identity(), lambda some: pictures[some.start : some.stop])


def identity_of(network: FeatureNetwork | I3dFeatures) -> str:
    """Says which network measures: its name, and a digest of its weights and, of TorchScript, its program."""
    inner = getattr(network, "network", None)
    weights = network if isinstance(network, torch.nn.Module) else inner
    assert isinstance(weights, torch.nn.Module), "every network that measures has weights"
    digest = hashlib.sha256(str(getattr(inner, "code", "")).encode())
    for name, tensor in weights.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"{network.name} {digest.hexdigest()}"


def load_model(options: Model) -> Pipeline:
    """The model that is named, or else the default. Raises as `load_pipeline` does."""
    return load_pipeline(options.model or registry.default_model(), options)


def check_output(path: Path | None, force: bool) -> None:
    """Look before a measurement at what is written after it. UsageError where a file would be overwritten without --force,
    EnvironmentFaultError where its folder is not there.
    """
    if path is None or not leads():
        return
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path}: exists already; choose another name, or --force to overwrite it")
    if not path.parent.is_dir():
        raise cannot_write(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


def check_plot(path: Path | None, force: bool) -> None:
    """The same of a plot, which must be of a kind that can be drawn, too."""
    check_output(path, force)
    if path is not None:
        report.check_plot(path)


def leads() -> bool:
    """Whether this process speaks: of those that torchrun starts, the first."""
    return os.environ.get("RANK", "0") == "0"


def drawing_record(
    pipeline: Pipeline, given: Mapping[str, Any], negative_prompt: str = "", clip: bool | None = None
) -> dict[str, Any]:
    """Everything that decides the picture of a prompt and a seed, as JSON. given: what is changed of the model's settings."""
    return {
        "weights": pipeline.generator.fingerprint,
        "tokenizer": pipeline.tokenizer.fingerprint,
        "text_encoder": pipeline.text.name if pipeline.text else None,
        "text_weights": pipeline.text.fingerprint if pipeline.text else None,
        "dtype": pipeline.dtype_name,
        "negative_prompt": negative_prompt,
        "sampling": pipeline.settings(clip, **given).model_dump(mode="json"),
    }
