"""A measurement that was ended goes on to the same figures, whether of features or of reconstructions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from grn.evaluation.frechet import gather
from grn.evaluation.kept import Kept
from grn.evaluation.reconstruction import evaluate_rounds
from tests.evaluation.test_reconstruction import Corners, PixelTokenizer


@pytest.fixture(autouse=True)
def _written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "every", 0.0)


def pictures() -> torch.Tensor:
    return torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def ending(count: int) -> Iterator[torch.Tensor]:
    yield from pictures()[:count].split(2)
    raise KeyboardInterrupt


def test_statistics_go_on_to_the_same(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        gather(ending(6), Corners(), kept=Kept(tmp_path / "kept"))
    kept = Kept(tmp_path / "kept")
    assert kept.done == 6
    found, plain = gather(pictures()[6:].split(2), Corners(), "p", kept), gather(pictures().split(2), Corners(), "p")
    assert (found.count, found.preparation) == (11, "p")
    assert torch.equal(found.mean, plain.mean)
    assert torch.equal(found.covariance, plain.covariance)
    kept.clear()
    kept.clear()
    assert Kept(tmp_path / "kept").done == 0


def test_all_was_measured_when_it_ended(tmp_path: Path) -> None:
    plain = gather(pictures().split(4), Corners(), kept=Kept(tmp_path / "kept"))
    assert torch.equal(gather([], Corners(), kept=Kept(tmp_path / "kept")).covariance, plain.covariance)


def test_reconstructions_go_on_to_the_same(tmp_path: Path) -> None:
    rounds = [1, 3, None]
    with pytest.raises(KeyboardInterrupt):
        evaluate_rounds(PixelTokenizer(), ending(4), rounds, Corners(), kept=Kept(tmp_path / "kept"))
    kept = Kept(tmp_path / "kept")
    assert kept.done == 4
    rest = pictures()[4:].split(2)
    found = evaluate_rounds(PixelTokenizer(), rest, rounds, Corners(), kept=kept)
    assert found == evaluate_rounds(PixelTokenizer(), pictures().split(2), rounds, Corners())


def test_damage_is_no_beginning(tmp_path: Path) -> None:
    gather(pictures().split(4), Corners(), kept=Kept(tmp_path / "kept"))
    data = (tmp_path / "kept").read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"x" + data):
        (tmp_path / "kept").write_bytes(damaged)
        kept = Kept(tmp_path / "kept")
        assert (kept.done, kept.tensors) == (0, {})


def test_nothing_is_written_before_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "every", 60.0)
    gather(pictures().split(4), Corners(), kept=Kept(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()
