"""Does a generated picture show what was asked? Its nearest neighbours among real pictures tell.

Axes
    queries  float [N, D], features of generated pictures
    gallery  float [G, D], features of real pictures

A picture is compared, by the cosine of the features, with the real ones of its own group (a drawing style), each of
which has a name; rank r means that r - 1 pictures with other names are nearer than the nearest with the right name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grn.data.sources import Sample
from grn.errors import BadInputError, UsageError
from grn.features.efficientnet import FeatureNetwork


@dataclass(frozen=True)
class Label:
    """What a picture shows, and in which group it is looked for."""

    name: str
    group: str


@dataclass(frozen=True)
class Match:
    """How one generated picture fared: the rank of its name, and the name of its nearest neighbour."""

    wanted: Label
    nearest: str
    rank: int


@torch.inference_mode()
def features_of(batches: Iterable[Tensor], network: FeatureNetwork) -> Tensor:
    """Features [N, D] of all pictures of the batches."""
    return torch.cat([network(pixels).float().cpu() for pixels in batches])


def label_of(sample: Sample) -> Label:
    """From the sample's facts "name" and "style". Raises BadInputError where they are missing."""
    name, style = sample.info.get("name"), sample.info.get("style")
    if not isinstance(name, str) or not isinstance(style, str):
        raise BadInputError(
            f"{sample.key}: its JSON has no name and style; give a set made by recipes/emoji/prepare.py"
        )
    return Label(name, style)


def match(queries: Tensor, wanted: Sequence[Label], gallery: Tensor, labels: Sequence[Label]) -> list[Match]:
    """Rank the right name for every query. Raises UsageError where the gallery lacks it."""
    gallery, queries = F.normalize(gallery.double(), dim=1), F.normalize(queries.double(), dim=1)
    members: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label.group, []).append(row)
    found = []
    for query, label in zip(queries, wanted, strict=True):
        rows = members.get(label.group, [])
        right = torch.tensor([labels[row].name == label.name for row in rows], dtype=torch.bool)
        if not right.any():
            raise UsageError(
                f"no picture of {label.name!r} in {label.group!r} to compare with; "
                "name the set that holds it, too, with --among"
            )
        closeness = gallery[rows] @ query
        ahead = (closeness[~right] > closeness[right].max()).sum()
        found.append(Match(label, labels[rows[int(closeness.argmax())]].name, int(ahead) + 1))
    return found


def share_within(matches: Sequence[Match], k: int) -> float:
    """Share of the matches whose rank is at most k: top-k accuracy."""
    return sum(m.rank <= k for m in matches) / len(matches)
