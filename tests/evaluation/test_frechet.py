"""Statistics, their file, the Frechet distance and the Inception score, against numpy, scipy and closed forms."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from grn.errors import BadInputError, ModelMismatchError, UsageError
from grn.evaluation.frechet import Moments, Statistics, features_in, frechet_distance, gather_condensed
from grn.evaluation.scores import inception_score


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + shift


def statistics(rows: torch.Tensor, network: str = "net") -> Statistics:
    moments = Moments(rows.shape[1])
    moments.add(rows)
    return moments.statistics(network)


def test_moments_equal_numpys_in_any_batches_and_order():
    rows = features(50, 7, seed=0, shift=1000.0)  # a large mean is what a naive sum of squares fails at
    streamed, first, second = Moments(7), Moments(7), Moments(7)
    for batch in rows.flip(0).split(8):
        streamed.add(batch)
    first.add(rows[:13])
    second.add(rows[13:])
    first.merge(second)
    for moments in (streamed, first):
        found = moments.statistics("net")
        assert found.count == 50
        np.testing.assert_allclose(found.mean, rows.double().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(rows.double().numpy().T), rtol=1e-9, atol=1e-9)


def test_distance_equals_the_formula_with_a_matrix_square_root():
    a, b = statistics(features(60, 9, seed=1)), statistics(features(80, 9, seed=2, shift=0.5))
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    trace = np.trace(a.covariance.numpy() + b.covariance.numpy() - 2 * root)
    expected = ((a.mean - b.mean).numpy() ** 2).sum() + trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_distance_of_a_shift_is_its_square_even_with_fewer_pictures_than_features():
    rows = features(6, 20, seed=3)
    assert frechet_distance(statistics(rows), statistics(rows)) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(statistics(rows), statistics(rows + 2)) == pytest.approx(20 * 4, rel=1e-5)


def test_distance_refuses_other_networks_but_takes_files_that_do_not_say():
    rows = features(10, 4, seed=4)
    with pytest.raises(ModelMismatchError, match=r"other-net \(4 features\)"):
        frechet_distance(statistics(rows), statistics(rows, "other-net"))
    with pytest.raises(ModelMismatchError, match="3 features"):
        frechet_distance(statistics(rows), statistics(rows[:, :3], ""))
    assert frechet_distance(statistics(rows), statistics(rows, "")) == pytest.approx(0, abs=1e-5)


def test_one_picture_has_no_covariance():
    with pytest.raises(UsageError, match="at least 2"):
        statistics(features(1, 4, seed=0))


def test_features_are_the_networks():
    class MeanColour:
        name, dim = "mean colour", 3

        def __call__(self, pixels):
            return pixels.mean((2, 3))

    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = gather_condensed([features_in(pixels.split(2), MeanColour())], 3).statistics("mean colour")
    assert found.count == 5
    torch.testing.assert_close(found.mean, pixels.mean((0, 2, 3)).double(), atol=1e-6, rtol=0)


def test_file_round_trip_is_exact_and_repeatable(tmp_path):
    stats = statistics(features(10, 4, seed=5))
    stats.save(tmp_path / "a.npz")
    stats.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = Statistics.load(tmp_path / "a.npz")
    assert (found.network, found.count) == ("net", 10)
    assert torch.equal(found.mean, stats.mean)
    assert torch.equal(found.covariance, stats.covariance)


def test_reads_another_tools_mu_and_sigma(tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(4), sigma=np.eye(4))
    found = Statistics.load(tmp_path / "theirs.npz")
    assert (found.network, found.count) == ("", 0)
    assert torch.equal(found.covariance, torch.eye(4, dtype=torch.float64))


def bad_files() -> dict[str, bytes]:
    def npz(**arrays) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    good = npz(mu=np.zeros(4), sigma=np.eye(4))
    lone = io.BytesIO()
    with zipfile.ZipFile(lone, "w") as archive:
        archive.writestr("mu.npy", b"not an array")
    return {
        "empty": b"",
        "text": b"hello",
        "cut": good[: len(good) // 2],
        "no sigma": npz(mu=np.zeros(4)),
        "shapes": npz(mu=np.zeros(4), sigma=np.eye(3)),
        "nan": npz(mu=np.full(4, np.nan), sigma=np.eye(4)),
        "objects": npz(mu=np.array([{}], object), sigma=np.eye(1)),
        "newer": npz(
            mu=np.zeros(4), sigma=np.eye(4), meta=np.frombuffer(b'{"format": "grn-statistics", "version": 9}', np.uint8)
        ),
        "meta": npz(mu=np.zeros(4), sigma=np.eye(4), meta=np.frombuffer(b"[1]", np.uint8)),
        "not npy": lone.getvalue(),
    }


@pytest.mark.parametrize("case", bad_files())
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    path = tmp_path / "bad.npz"
    path.write_bytes(bad_files()[case])
    with pytest.raises(BadInputError, match=r"bad\.npz: not a statistics file .*expected mu and sigma") as caught:
        Statistics.load(path)
    assert "\n" not in str(caught.value)


def test_missing_file_says_so():
    with pytest.raises(BadInputError, match="no such statistics file"):
        Statistics.load(Path("/nowhere/ref.npz"))


def test_inception_score_of_sure_and_even_guesses():
    sure = torch.eye(10).repeat(10, 1)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    assert inception_score([sure], 100, splits=1) == pytest.approx((10, 0), rel=1e-6)
    assert inception_score([torch.full((100, 10), 0.1)], 100) == pytest.approx((1, 0), abs=1e-6)
    with pytest.raises(UsageError, match="at least 10"):
        inception_score([sure[:9]], 9)


def test_a_set_to_itself_in_any_order_is_nothing_and_agrees_with_torchmetrics():
    rows = features(40, 64, seed=8).abs()  # fewer pictures than features, as in a quick look
    one = statistics(rows)
    assert frechet_distance(one, statistics(rows.flip(0))) < 1e-6
    assert frechet_distance(one, one) < 1e-6
    other = features(50, 64, seed=9).abs()
    theirs = FrechetInceptionDistance(_Given(64), normalize=True, input_img_size=(1, 64, 1))
    theirs.set_dtype(torch.float64)
    theirs.update(rows.double()[:, None, :, None], real=True)
    theirs.update(other.double()[:, None, :, None], real=False)
    assert frechet_distance(one, statistics(other)) == pytest.approx(float(theirs.compute()), rel=1e-3)


class _Given(torch.nn.Module):
    """A feature network whose pictures are their own features."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1)


def test_how_pictures_were_prepared_stays_in_the_file(tmp_path: Path):
    moments = Moments(3)
    moments.add(features(5, 3, seed=0))
    moments.statistics("net", "middle squares of 128 pixels").save(tmp_path / "s.npz")
    assert Statistics.load(tmp_path / "s.npz").preparation == "middle squares of 128 pixels"
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert Statistics.load(tmp_path / "theirs.npz").preparation == ""


@pytest.mark.parametrize("count", ["many", [], float("inf")])
def test_a_count_that_is_none_is_refused(tmp_path: Path, count: object):
    meta = json.dumps({"format": "grn-statistics", "version": 1, "count": count}).encode()
    np.savez(tmp_path / "s.npz", mu=np.zeros(2), sigma=np.eye(2), meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(BadInputError, match="not a statistics file"):
        Statistics.load(tmp_path / "s.npz")
