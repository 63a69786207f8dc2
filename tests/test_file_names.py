"""Names that are too long for a file."""

from pathlib import Path

import pytest

from grn.errors import UsageError
from grn.files import atomic_folder, atomic_path, check_name, fitting, numbered


@pytest.mark.parametrize("name", ["a" * 300, "猫" * 100, "new/" + "a" * 300, "a" * 300 + "/a"])
def test_too_long_a_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    for make in (atomic_path, atomic_folder):
        with pytest.raises(UsageError, match=r"too long \(300 bytes"), make(tmp_path / name):
            pytest.fail("the work has begun")
    assert not any(tmp_path.iterdir())


def test_a_path_of_too_many_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the path is too long"):
        check_name(tmp_path.joinpath(*["a" * 200] * 30))
    check_name(tmp_path / "new" / ("a" * 255))


def test_long_stems_are_cut(tmp_path: Path) -> None:
    assert fitting("a" * 300, ".npz") == "a" * 251 + ".npz"
    assert fitting("猫" * 85, "-2.npz") == "猫" * 83 + "-2.npz"
    assert fitting("cat", ".npz") == "cat.npz"
    (tmp_path / ("a" * 251 + ".npz")).touch()
    assert numbered(tmp_path / ("a" * 251 + ".npz")).name == "a" * 249 + "-2.npz"
