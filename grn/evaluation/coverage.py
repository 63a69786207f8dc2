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
_ROWS = 1024  # distances of so many rows are in memory at a time


@dataclass(frozen=True)
class Coverage:
    """Both in [0, 1]."""

    precision: float
    recall: float

    @property
    def f_score(self) -> float:
        """Their harmonic mean; 0 where both are 0."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def precision_and_recall(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS) -> Coverage:
    """Of features [N, D] and [M, D]. Raises UsageError for sets without that many neighbours."""
    if min(len(real), len(generated)) <= neighbours:
        raise UsageError(
            f"precision and recall with {neighbours} neighbours need at least {neighbours + 1} pictures on each side, "
            f"found {min(len(real), len(generated))}; give more"
        )
    real, generated = (side.detach().to("cpu", torch.float64) for side in (real, generated))
    return Coverage(
        precision=_share_inside(generated, real, _radii(real, neighbours)),
        recall=_share_inside(real, generated, _radii(generated, neighbours)),
    )


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest other row."""
    # The nearest of all is the row itself.
    return torch.cat([torch.cdist(rows, features).kthvalue(neighbours + 1, 1).values for rows in features.split(_ROWS)])


def _share_inside(rows: Tensor, centres: Tensor, radii: Tensor) -> float:
    inside = [(torch.cdist(part, centres) <= radii).any(1) for part in rows.split(_ROWS)]
    return float(torch.cat(inside).double().mean())
