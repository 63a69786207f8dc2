"""Published .npz files of pictures and statistics: streamed, and refused where they lie."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from grn.errors import BadInputError
from grn.evaluation.references import PicturesFile, open_reference_file


def pictures(count: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 6, 5, 3), np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pictures_come_in_order_and_again(tmp_path: Path, save) -> None:
    save(tmp_path / "p.npz", pictures())
    found = open_reference_file(tmp_path / "p.npz")
    assert found.statistics is None
    assert found.pictures is not None
    assert len(found.pictures) == 7
    for _ in range(2):
        assert np.array_equal(np.stack([one.image() for one in found.pictures]), pictures())


def test_pictures_of_some_numbers_are_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "p.npz", pictures())
    found, opened = PicturesFile(tmp_path / "p.npz"), list[object]()
    archive = zipfile.ZipFile
    monkeypatch.setattr("zipfile.ZipFile", lambda *args, **named: opened.append(args) or archive(*args, **named))
    for numbers in ([0, 1], [3], [4, 6], [2, 6], [], [0]):
        shown = [one.image() for one in found.chosen(numbers)]
        assert len(shown) == len(numbers)
        assert all(np.array_equal(image, pictures()[n]) for n, image in zip(numbers, shown, strict=True))
    assert len(opened) == 3  # again for 2 after 6, and for 0


def test_statistics_and_pictures_of_one_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", pictures(), mu=np.zeros(4), sigma=np.eye(4))
    both = open_reference_file(tmp_path / "both.npz")
    assert both.statistics is not None
    assert both.statistics.mean.shape == (4,)
    assert both.pictures is not None
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    assert open_reference_file(tmp_path / "stats.npz").pictures is None


def test_statistics_are_found_beside_many_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the reference batches of 2 GB that are published: what limits statistics does not limit pictures."""
    monkeypatch.setattr("grn.evaluation.frechet._MAX_BYTES", 500)
    more = {"mu_s": np.zeros(90), "sigma_s": np.eye(90)}
    np.savez(tmp_path / "batch.npz", pictures(), mu=np.zeros(4), sigma=np.eye(4), **more)
    found = open_reference_file(tmp_path / "batch.npz")
    assert found.statistics is not None
    assert found.pictures is not None
    assert len(found.pictures) == 7
    np.savez(tmp_path / "large.npz", mu=np.zeros(40), sigma=np.eye(40))
    with pytest.raises(BadInputError, match=r"bytes unpacked \(limit 500\)"):
        open_reference_file(tmp_path / "large.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), r"arr_0 is float32 \[2, 4, 4, 3\]"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"\[2, 3, 4, 4\]"),
        (np.zeros((4, 4, 3), np.uint8), r"\[4, 4, 3\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"\[0, 4, 4, 3\]"),
        (np.asfortranarray(pictures()), "column by column"),
        (np.array([object()]), "object"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "p.npz", array)
    with pytest.raises(BadInputError, match=rf"p\.npz: not a file of pictures \(.*{message}"):
        open_reference_file(tmp_path / "p.npz")


def _forged(shape: str) -> bytes:
    member = io.BytesIO()
    np.lib.format.write_array(member, pictures())
    return member.getvalue().replace(b"(7, 6, 5, 3)", shape.encode())


@pytest.mark.parametrize("shape", ["(9, 6, 5, 3)", "(1, 6, 5, 3)", "(99999999999, 6, 5, 3)"])
def test_a_header_that_lies_is_refused(tmp_path: Path, shape: str) -> None:
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("arr_0.npy", _forged(shape) if len(shape) < 13 else _forged("(7, 6, 5, 3)") + bytes(100_000))
    with pytest.raises(BadInputError, match="are stored for pictures of"):
        PicturesFile(tmp_path / "p.npz")


def test_damage_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, pictures())
    whole = path.read_bytes()
    for data in (b"", b"text", whole[: len(whole) // 2], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        path.write_bytes(data)
        with pytest.raises(BadInputError, match=r"p\.npz: not a") as caught:
            list(open_reference_file(path).pictures or [])
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInputError, match="no such statistics file"):
        open_reference_file(tmp_path / "none.npz")
