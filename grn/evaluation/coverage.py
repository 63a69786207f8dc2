"""Improved precision and recall: how many generated pictures lie among the real ones, and how many real ones are
reached.

A set's manifold is the union of balls around its features [N, D], each as wide as the way to its k-th nearest neighbour
in the set. Precision is the share of generated pictures inside the manifold of the real ones; recall the reverse.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grn.errors import UsageError

NEIGHBOURS = 3
_ROWS = 2048  # distances between so many rows are in memory at a time


@dataclass(frozen=True)
class Coverage:
    """Precision and recall, both in [0, 1]."""

    precision: float
    recall: float

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall; 0 where both are 0."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def precision_and_recall(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS) -> Coverage:
    """Compute precision and recall of features [N, D] against [M, D]. Raises UsageError where a set has too few neighbours."""
    if min(len(real), len(generated)) <= neighbours:
        raise UsageError(
            f"precision and recall with {neighbours} neighbours need at least {neighbours + 1} pictures on each side, "
            f"found {min(len(real), len(generated))}; give more"
        )
    return Coverage(
        precision=_share_inside(generated, real, _radii(real, neighbours)),
        recall=_share_inside(real, generated, _radii(generated, neighbours)),
    )


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, float64 [N]."""
    found = []
    for rows in features.split(_ROWS):
        nearest = torch.empty(len(rows), 0, dtype=torch.float64)
        for others in features.split(_ROWS):
            distances = torch.cat([nearest, _distances(rows, others)], 1)
            # The nearest of all is the row itself.
            nearest = distances.topk(min(neighbours + 1, distances.shape[1]), largest=False).values
        found.append(nearest[:, neighbours])
    return torch.cat(found)


def _share_inside(rows: Tensor, centres: Tensor, radii: Tensor) -> float:
    inside = 0
    for part in rows.split(_ROWS):
        hit = torch.zeros(len(part), dtype=torch.bool)
        for others, reach in zip(centres.split(_ROWS), radii.split(_ROWS), strict=True):
            hit |= (_distances(part, others) <= reach).any(1)
        inside += int(hit.sum())
    return inside / len(rows)


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """float64 [A, B], exact, so that a row's distance to itself is 0 and equal features lie on the same side."""
    return torch.cdist(rows.detach().to("cpu", torch.float64), others.detach().to("cpu", torch.float64))
