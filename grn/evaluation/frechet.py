"""Statistics of features and the Frechet distance between two sets of pictures.

Axes
    features      float [B, D]
    mean          float64 [D]
    covariance    float64 [D, D], divided by n - 1

A set of pictures is summed up by the mean and covariance of its features. The distance between two sets is that
between the Gaussians with these moments: |mean1 - mean2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). It falls with the number of
pictures, so both numbers are reported with it, and only distances of the same network and numbers compare.
"""

import functools
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grn.errors import BadInputError, ModelMismatchError, UsageError
from grn.evaluation.blocks import Arrays
from grn.features.efficientnet import FeatureNetwork
from grn.files import atomic_path, display

_FORMAT, _VERSION = "grn-statistics", 1
_MEMBERS = ("mu", "sigma", "meta")
_MAX_BYTES = 1 << 30  # a file that claims more than 1 GiB of moments is not one


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of `count` pictures' features under the network called `network`.

    preparation: what was done to the pictures first (`grn.data.transforms.preparation`). network and preparation are ""
    for statistics from a file of another tool, which does not say.
    """

    network: str
    count: int
    mean: Tensor = field(repr=False)
    covariance: Tensor = field(repr=False)
    preparation: str = ""

    @functools.cached_property
    def factor(self) -> Tensor:
        """F [D, r] with F F^T = covariance, r its rank or D; kept for the next distance."""
        dim = len(self.mean)
        if 0 < self.count <= dim // 2:
            return _low_rank_factor(self.covariance, self.count)
        factor, failed = torch.linalg.cholesky_ex(self.covariance)
        if not failed:
            return factor
        try:
            values, vectors = map(torch.from_numpy, np.linalg.eigh(self.covariance.numpy()))
        except np.linalg.LinAlgError:  # nearly all eigenvalues being 0, which the quick way may not bear
            vectors, values, _ = torch.linalg.svd(self.covariance)
        return vectors * values.clamp_min(0).sqrt()

    def save(self, path: Path) -> None:
        """Write an .npz with the keys `mu` and `sigma`, as other tools name them, and `meta`.

        Equal statistics give equal bytes.
        """
        said = {"network": self.network, "count": self.count, "preparation": self.preparation}
        meta = json.dumps({"format": _FORMAT, "version": _VERSION, **said})
        arrays = {
            "mu": self.mean.numpy(),
            "sigma": self.covariance.numpy(),
            "meta": np.frombuffer(meta.encode(), np.uint8),
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what `save` wrote, or another tool's `mu` and `sigma`. Raises BadInputError."""
        try:
            with zipfile.ZipFile(path) as archive:
                named = [f"{name}.npy" for name in _MEMBERS]  # pictures may lie beside them, which are not read here
                claimed = sum(member.file_size for member in archive.infolist() if member.filename in named)
            if claimed > _MAX_BYTES:
                raise ValueError(f"{claimed} bytes unpacked (limit {_MAX_BYTES})")
            with np.load(path, allow_pickle=False) as arrays:
                meta = json.loads(bytes(arrays["meta"])) if "meta" in arrays else {}
                mean, covariance = (np.asarray(arrays[key], np.float64) for key in ("mu", "sigma"))
            _check(meta, mean, covariance)
            network, count = display(str(meta.get("network", ""))), int(meta.get("count", 0))
        except FileNotFoundError as error:
            raise BadInputError(f"{display(path)}: no such statistics file") from error
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            EOFError,
            RecursionError,
            MemoryError,
            zipfile.BadZipFile,
        ) as error:
            raise BadInputError(
                f"{display(path)}: not a statistics file ({display(str(error))}; expected mu and sigma)"
            ) from error
        preparation = display(str(meta.get("preparation", "")))
        return cls(network, count, torch.from_numpy(mean), torch.from_numpy(covariance), preparation)


def _check(meta: dict, mean: np.ndarray, covariance: np.ndarray) -> None:
    if not isinstance(meta, dict):
        raise ValueError(f"meta holds a {type(meta).__name__}, expected an object")
    if meta and (meta.get("format") != _FORMAT or meta.get("version") != _VERSION):
        raise ValueError(f"it is {meta.get('format')} version {meta.get('version')}, expected {_FORMAT} {_VERSION}")
    if mean.ndim != 1 or covariance.shape != (*mean.shape, *mean.shape) or not len(mean):
        raise ValueError(f"mu has the shape {list(mean.shape)} and sigma {list(covariance.shape)}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("it holds numbers that are not finite")


class Moments:
    """Mean and scatter of features, gathered batch by batch in float64; parts gathered apart can be merged."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Add a batch of features [B, D]."""
        features = features.detach().to("cpu", torch.float64)
        if not len(features):
            return
        mean = features.mean(0)
        centred = features - mean
        self.scatter.addmm_(centred.T, centred)
        self._move(len(features), mean)

    def merge(self, other: "Moments") -> None:
        """Add what another object has gathered."""
        if other.count:
            self.scatter += other.scatter
            self._move(other.count, other.mean)

    def _move(self, count: int, mean: Tensor) -> None:
        """Take in `count` features of this mean, whose squares about it are in the scatter already."""
        # Squares are summed about each part's own mean, so a large mean costs no digits.
        step, total = mean - self.mean, self.count + count
        self.scatter.addr_(step, step, alpha=self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total

    def statistics(self, network: str, preparation: str = "") -> Statistics:
        """Return the statistics so far. Raises UsageError for fewer than 2 pictures, which have no covariance."""
        if self.count < 2:
            raise UsageError(
                f"a Frechet distance needs at least 2 pictures on each side, found {self.count}; give more"
            )
        return Statistics(network, self.count, self.mean, self.scatter / (self.count - 1), preparation)


def gather_moments(parts: Iterable[Tensor], dim: int) -> Moments:
    """Gather the moments of features that come in parts [B, D]; without a part, empty moments of `dim` features."""
    moments: Moments | None = None
    for part in parts:
        moments = moments or Moments(part.shape[1])
        moments.add(part)
    return moments or Moments(dim)


@torch.inference_mode()
def features_in(batches: Iterable[Tensor], network: FeatureNetwork) -> Arrays:
    """Features of batches of pixels [B, 3, H, W] in [-1, 1], as a block of `grn.evaluation.blocks`."""
    return {"features": torch.cat([network(pixels).float().cpu() for pixels in batches]).numpy()}


def condensed(parts: Iterable[Tensor]) -> Arrays:
    """Features that come in parts [B, D], as arrays: themselves, or their moments where those are smaller."""
    rows: list[Tensor] = []
    moments: Moments | None = None
    for part in parts:
        rows.append(part.detach().float().cpu())
        if sum(map(len, rows)) > part.shape[1]:
            moments = moments or Moments(part.shape[1])
            moments.add(torch.cat(rows))
            rows = []
    if moments is None:
        return {"features": torch.cat(rows).numpy()} if rows else {}
    if rows:
        moments.add(torch.cat(rows))
    return {"count": np.array(moments.count), "mean": moments.mean.numpy(), "scatter": moments.scatter.numpy()}


def gather_condensed(blocks: Iterable[Arrays], dim: int) -> Moments:
    """Gather the moments of what `condensed` gave; without a feature, empty moments of `dim` features."""
    found: Moments | None = None
    for arrays in blocks:
        if "features" in arrays:
            features = torch.from_numpy(arrays["features"])
            found = found or Moments(features.shape[1])
            found.add(features)
        elif arrays:
            other = Moments(len(arrays["mean"]))
            other.count = int(arrays["count"])
            other.mean, other.scatter = torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["scatter"])
            found = found or Moments(len(other.mean))
            found.merge(other)
    return found or Moments(dim)


def _low_rank_factor(matrix: Tensor, rank: int) -> Tensor:
    """F [D, rank] with F F^T = matrix [D, D], positive and of at most this rank: few pictures then cost no decomposition of all of it."""
    random = torch.randn(len(matrix), rank, dtype=matrix.dtype, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(matrix @ random).Q
    basis = torch.linalg.qr(matrix @ basis).Q  # once more, for the directions in which there is little
    values, vectors = torch.linalg.eigh(basis.T @ matrix @ basis)
    return basis @ (vectors * values.clamp_min(0).sqrt())


def check_comparable(first: tuple[str, int], second: tuple[str, int]) -> None:
    """Compare two networks by name ("" unknown) and number of features. Raises ModelMismatchError where they differ."""
    if first[1] != second[1] or (first[0] and second[0] and first[0] != second[0]):
        named = [f"{name or 'an unnamed network'} ({dim} features)" for name, dim in (first, second)]
        raise ModelMismatchError(
            f"the statistics come from different networks, {named[0]} and {named[1]}; compute both with the same one"
        )


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Compute the squared Frechet distance of the two Gaussians, 0 for equal ones.

    Raises ModelMismatchError where the features come from different networks.
    """
    check_comparable((first.network, len(first.mean)), (second.network, len(second.mean)))
    # The singular values of F1^T F2 are the roots of the eigenvalues of S1 S2, exact however few the pictures.
    cross = torch.linalg.svdvals(first.factor.T @ second.factor).sum()
    trace = first.covariance.trace() + second.covariance.trace() - 2 * cross
    return max(0.0, float((first.mean - second.mean).square().sum() + trace))
