"""The kernel distance between two sets of pictures (KID): squared maximum mean discrepancy of their features.

The kernel is k(x, y) = (x.y / D + 1)^3 and the estimate unbiased, so it does not fall with the number of pictures and
may be below 0 for sets that are alike. Axes: features float [N, D].
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grn.errors import UsageError

SUBSETS, SUBSET_SIZE = 100, 1000
_SEED = 2020


def kernel_distance(
    first: Tensor, second: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE
) -> tuple[float, float]:
    """Compute the kernel distance (KID): mean and standard deviation over random subsets of both sets.

    Subsets are drawn from the features in an order of their own, so that the order in which pictures came in does not
    matter; only one pair of subsets is in memory at a time. Raises UsageError for fewer than 2 pictures on a side.
    """
    if min(len(first), len(second)) < 2:
        raise UsageError(
            f"a kernel distance needs at least 2 pictures on each side, found {min(len(first), len(second))}; give more"
        )
    orders = _order(first), _order(second)
    if max(len(first), len(second)) <= subset_size:
        return _discrepancy(_rows(first, orders[0]), _rows(second, orders[1])), 0.0
    size, rng = min(subset_size, len(first), len(second)), np.random.default_rng(_SEED)
    found = []
    for _ in range(subsets):
        chosen = [order[rng.choice(len(order), size, replace=False)] for order in orders]
        found.append(_discrepancy(_rows(first, chosen[0]), _rows(second, chosen[1])))
    return float(np.mean(found)), float(np.std(found))


def _discrepancy(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy."""
    within = sum((_kernel(side, side).sum() - _self(side).sum()) / (len(side) * (len(side) - 1)) for side in (x, y))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _self(x: Tensor) -> Tensor:
    """The kernel of each row with itself."""
    return (x.square().sum(1) / x.shape[1] + 1) ** 3


def _rows(features: Tensor, numbers: NDArray[np.intp]) -> Tensor:
    return features[torch.from_numpy(numbers)].to("cpu", torch.float64)


def _order(features: Tensor) -> NDArray[np.intp]:
    """The numbers of the rows sorted by their first values, whatever order they came in."""
    keys = features[:, : min(8, features.shape[1])].detach().cpu().numpy()
    return np.lexsort(keys.T[::-1])
