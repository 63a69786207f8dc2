"""`grn eval`: what models are worth, in numbers."""

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grn_cli.errors import Batch
from grn_cli.options import Common, command
from grn_cli.paths import expand

if TYPE_CHECKING:
    from grn.data.sources import Sample
    from grn.evaluation.features import FeatureNetwork

_SET = "FOLDER|TAR"


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
        from grn.evaluation.features import OfflineFeatures
        from grn.evaluation.inception import InceptionFeatures

        if self.features is Features.offline:
            if self.inception is not None:
                raise UsageError("--inception: is used with --features inception only; give that too")
            return OfflineFeatures(self.resolution).to(device)
        if self.inception is None:
            raise UsageError("--features inception: needs the network's file; name it with --inception FILE")
        return InceptionFeatures(self.inception).to(device)


@dataclass(frozen=True)
class ChoiceOptions:
    """How many pictures of a set, and which."""

    num: Annotated[
        int | None,
        typer.Option("--num", "-n", min=1, metavar="N", help="Use so many of the pictures, drawn by --seed."),
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0

    def samples(self, path: Path) -> "list[Sample]":
        """Open a set and choose. Raises BadInputError."""
        from grn.data.sources import open_source
        from grn.evaluation.pictures import pick

        return pick(open_source(path), self.num, self.seed)


@dataclass(frozen=True)
class StatsOptions:
    """The options of `grn eval stats`."""

    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write; NAME.npz if not given.")
    ] = None
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, metavar="N", help="Scale the short side to N and crop the centre first."),
    ] = None


@command
def stats(
    data: Annotated[Path, typer.Argument(metavar=_SET, help="Pictures.")],
    options: StatsOptions,
    choice: ChoiceOptions,
    features: FeatureOptions,
    common: Common,
) -> None:
    """Gather the feature statistics of a folder or tar of pictures, for `grn eval fid --reference`.

    Prints the path of the file written.
    """
    from grn.evaluation.frechet import gather
    from grn.evaluation.pictures import batches
    from grn.files import numbered

    out = options.out or numbered(Path(data.resolve().name).with_suffix(".npz"))
    _refuse_existing(out, common.force)
    samples = choice.samples(data)
    device = common.torch_device()
    network = features.network(device)
    shown = common.console.progress(samples, "pictures")
    found = gather(batches(shown, options.size, features.batch_size, device), network)
    found.save(out)
    record = {"output": str(out), "features": found.network, "pictures": found.count}
    common.console.result(record, str(out))
    common.console.info(f"{found.count} pictures, {found.network}")


@dataclass(frozen=True)
class ReconOptions:
    """The options of `grn eval recon`."""

    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="NAME|FOLDER", help="The embedded one if not given.")
    ] = None
    rounds: Annotated[
        str, typer.Option("--rounds", metavar="M,...", help="Numbers of rounds; 'none' is without quantization.")
    ] = "1,2,4,6,8,none"
    size: Annotated[
        int, typer.Option("--size", min=1, metavar="N", help="Scale the short side to N and crop the centre.")
    ] = 128
    lpips: Annotated[
        Path | None,
        typer.Option(
            "--lpips",
            metavar="FILE",
            help="Measure LPIPS too, with this TorchScript file (a program: trust its source).",
        ),
    ] = None
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw quality against rounds (.png, .svg, .pdf).")
    ] = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False


@command
def recon(
    data: Annotated[Path, typer.Option("--data", metavar=_SET, help="Pictures to take through the tokenizer.")],
    options: ReconOptions,
    choice: ChoiceOptions,
    features: FeatureOptions,
    common: Common,
) -> None:
    """What a tokenizer loses at each number of rounds: PSNR, SSIM, Frechet distance, bits per pixel."""
    from grn.evaluation import report
    from grn.evaluation.metrics import Lpips
    from grn.evaluation.pictures import batches
    from grn.evaluation.reconstruction import evaluate_rounds, parse_rounds
    from grn.models import registry
    from grn.tokenizer.tokenizer import Tokenizer

    rounds = parse_rounds(options.rounds)
    _refuse_existing(options.plot, common.force)
    samples = choice.samples(data)
    device = common.torch_device()
    name = options.tokenizer or registry.DEFAULT_TOKENIZER
    tokenizer = Tokenizer.from_pretrained(name, device, common.torch_dtype(), common.offline)
    network = features.network(device)
    lpips = Lpips(options.lpips) if options.lpips else None
    shown = common.console.progress(samples, "pictures")
    rows = evaluate_rounds(tokenizer, batches(shown, options.size, features.batch_size, device), rounds, network, lpips)
    headers = ["rounds", "bits/pixel", "PSNR", "SSIM", "Frechet", *(["LPIPS"] if lpips else [])]
    cells = [
        ["none" if r.rounds is None else r.rounds, r.bits_per_pixel, r.psnr, r.ssim, r.frechet, r.lpips] for r in rows
    ]
    pictures = f"{len(samples)} pictures of {options.size}x{options.size}"
    title = f"{tokenizer.name}, {pictures}; Frechet distance with {network.name}"
    record = {
        "tokenizer": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "features": network.name,
        "pictures": len(samples),
        "size": options.size,
        "rows": [_finite(asdict(row)) for row in rows],
    }
    if options.plot:
        report.plot_rounds(rows, network.name, options.plot)
    table = report.table(headers, [row[: len(headers)] for row in cells], options.markdown)
    common.console.result(record, title, *([""] if options.markdown else []), *table)


@command
def video(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Clip, or folder of clips.")],
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Clip, or folder of clips, to compare with it.")],
    features: FeatureOptions,
    common: Common,
) -> None:
    """Frechet distance between two sets of clips, by features of pairs of frames.

    This is not the FVD of the literature, which needs a video network.
    """
    from grn.evaluation.frechet import frechet_distance
    from grn.evaluation.video import gather_clips

    device = common.torch_device()
    network = features.network(device)
    sides = []
    for path in (reference, clips):
        shown = common.console.progress(_clips(path), "clips")
        sides.append(gather_clips((_frames(clip) for clip in shown), network, device))
    distance = frechet_distance(*sides)
    record = {
        "frechet": distance,
        "features": sides[0].network,
        "pairs": sides[1].count,
        "reference_pairs": sides[0].count,
    }
    text = f"Frechet distance {distance:.3f} ({sides[0].network}; {sides[1].count} against {sides[0].count} pairs)"
    common.console.result(record, text)


def _clips(path: Path) -> list[Path]:
    from grn.media import VIDEO_SUFFIXES

    return [item.path for item in expand([str(path)], VIDEO_SUFFIXES, Batch(alone=True)) if item.path is not None]


def _frames(path: Path) -> Iterable[Any]:
    from grn.media import open_media

    with open_media(path) as media:
        yield from media


def _refuse_existing(path: Path | None, force: bool) -> None:
    from grn.errors import UsageError

    if path is not None and os.path.lexists(path) and not force:
        raise UsageError(f"{path}: exists already; choose another name, or --force to overwrite it")


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: the PSNR of equal pictures becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
