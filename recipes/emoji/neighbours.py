"""Does a generated picture show what was asked? Its nearest neighbours among real pictures tell.

    python recipes/emoji/neighbours.py --model emoji --keep 3d,flat,noto --data data/emoji/train.tar --num 200

Captions of a set made by prepare.py are generated. Each picture is compared, by the cosine of the features of
efficientnet-lite0, with the real ones of its own style, each of which has a name: rank r means that r - 1 pictures with
other names are nearer than the nearest with the right name. Prints the shares of rank 1 and of rank 5 or less; with
--json, every match too. With --through, the very pictures of the captions as a tokenizer keeps them are compared instead:
the most that a generator of its codes can reach.

Axes
    queries  float [N, D], features of generated pictures
    gallery  float [G, D], features of real pictures
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sampling_options import add_sampling, option_of, sampling_of
from torch import Tensor

from grn import hbq
from grn.data.samples import Sample
from grn.data.sources import Source, open_source
from grn.data.transforms import batches, pick
from grn.errors import BadInputError, GrnError
from grn.evaluation.generation import captions
from grn.evaluation.references import Shown
from grn.features.efficientnet import FeatureNetwork, OfflineFeatures
from grn.media.pixels import from_batch
from grn.pipeline import Pipeline
from grn.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Label:
    """What a picture shows, and in which style it is drawn."""

    name: str
    style: str


@dataclasses.dataclass(frozen=True)
class Match:
    """How one generated picture fared: the rank of its name, and the name of its nearest neighbour."""

    wanted: Label
    nearest: str
    rank: int


@torch.inference_mode()
def features_of(pixels: Iterable[Tensor], network: FeatureNetwork) -> Tensor:
    """Features [N, D] of all pictures of the batches."""
    return torch.cat([network(batch).float().cpu() for batch in pixels])


def label_of(sample: Sample) -> Label:
    """From the sample's facts "name" and "style". Raises BadInputError where they are missing."""
    name, style = sample.info.get("name"), sample.info.get("style")
    if not isinstance(name, str) or not isinstance(style, str):
        raise BadInputError(f"{sample}: its JSON has no name and style; give a set made by prepare.py")
    return Label(name, style)


def match(queries: Tensor, wanted: Sequence[Label], gallery: Tensor, labels: Sequence[Label]) -> list[Match]:
    """Rank the right name for every query. Raises BadInputError where the gallery lacks it."""
    gallery, queries = F.normalize(gallery.double(), dim=1), F.normalize(queries.double(), dim=1)
    members: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label.style, []).append(row)
    found = []
    for query, label in zip(queries, wanted, strict=True):
        rows = members.get(label.style, [])
        right = torch.tensor([labels[row].name == label.name for row in rows], dtype=torch.bool)
        if not right.any():
            raise BadInputError(
                f"no picture of {label.name!r} in {label.style!r} to compare with; name the set that holds it, too, with --among"
            )
        closeness = gallery[rows] @ query
        ahead = (closeness[~right] > closeness[right].max()).sum()
        found.append(Match(label, labels[rows[int(closeness.argmax())]].name, int(ahead) + 1))
    return found


def share_within(matches: Sequence[Match], k: int) -> float:
    """Share of the matches whose rank is at most k: top-k accuracy."""
    return sum(m.rank <= k for m in matches) / len(matches)


@torch.inference_mode()
def kept(tokenizer: Tokenizer, rounds: int, samples: Sequence[Sample], batch_size: int) -> list[Shown]:
    """The samples' pictures as the tokenizer keeps them at so many rounds."""
    shown = []
    for pixels in batches(samples, None, batch_size, str(tokenizer.device)):
        indices = hbq.encode(tokenizer.features(pixels[:, :, None]), rounds).movedim(1, -1)
        shown += [Shown(frame) for frame in from_batch(tokenizer.decode(indices, rounds)[:, :, 0])]
    return shown


def compare(pipeline: Pipeline | Tokenizer, arguments: argparse.Namespace) -> dict[str, Any]:
    """Generate `arguments.num` captions of the set, or take their pictures through a tokenizer, and rank them; the record that --json prints."""
    device = arguments.device
    network = OfflineFeatures(arguments.resolution).to(device)
    samples = pick(_open(arguments.data, arguments.keep), arguments.num, arguments.seed)
    wanted = [label_of(sample) for sample in samples]
    styles = {label.style for label in wanted}
    places = arguments.among or [arguments.data]
    among = [s for path in places for s in _open(path, arguments.keep) if label_of(s).style in styles]
    if isinstance(pipeline, Tokenizer):
        drawn = kept(pipeline, arguments.rounds or pipeline.config.rounds, samples, arguments.batch_size)
    else:
        results = pipeline(
            captions(samples), seed=arguments.seed, batch_size=arguments.batch_size, **sampling_of(arguments)
        )
        drawn = [Shown(result.frames[0]) for result in results]
    size = min(drawn[0].frame.shape[:2])
    made, gallery = (
        features_of(batches(pictures, size, arguments.batch_size, device), network) for pictures in (drawn, among)
    )
    matches = match(made, wanted, gallery, [label_of(sample) for sample in among])
    return {
        "model": pipeline.name,
        "features": network.name,
        "generated": len(matches),
        "among": len(among),
        "top1": share_within(matches, 1),
        "top5": share_within(matches, 5),
        "matches": [{**dataclasses.asdict(m.wanted), "nearest": m.nearest, "rank": m.rank} for m in matches],
    }


def _open(path: Path, styles: str | None) -> Source:
    source = open_source(path)
    return source if styles is None else source.keep(style=styles.split(","))


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji", help="name or folder")
    parser.add_argument("--through", metavar="TOKENIZER", help="no model: pictures as this tokenizer keeps them")
    parser.add_argument("--rounds", type=int, help="with --through; else the tokenizer's own number")
    parser.add_argument("--data", type=Path, default=Path("data/emoji/train.tar"), help="whose captions are generated")
    parser.add_argument(
        "--among", type=Path, action="append", help="where neighbours are looked for; may be repeated; else --data"
    )
    parser.add_argument("--keep", metavar="STYLE,...", help="only pictures of these styles")
    parser.add_argument("--num", type=int, default=200, help="captions to generate")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random")
    add_sampling(parser)
    parser.add_argument("--resolution", type=int, default=224, help="side that the feature network sees")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures at a time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    arguments = parser.parse_args(argv)
    if arguments.rounds is not None and arguments.through is None:
        parser.error("--rounds: is of --through, and models have their own")
    if arguments.through is not None and (given := sampling_of(arguments)):
        parser.error(f"{option_of(next(iter(given)))}: is of models, and --through draws with none")
    try:
        what = (
            Pipeline.from_pretrained(arguments.model, arguments.device, torch.float32)
            if arguments.through is None
            else Tokenizer.from_pretrained(arguments.through, arguments.device)
        )
        record = compare(what, arguments)
    except GrnError as error:
        print(f"neighbours: error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(record))
    else:
        sets = "{generated} pictures by {model} among {among}, {features}".format(**record)
        print("top 1 {top1:.1%}, top 5 {top5:.1%} ".format(**record) + f"({sets})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
