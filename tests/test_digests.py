"""Digests are those of the bytes, and remembered as long as a file is as it was."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from grn.data.samples import FilePart
from grn.digests import digest_of, part_digests


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests" / "digests.sqlite"


def written(path: Path, data: bytes, age: float = 100) -> Path:
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def nothing_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.sha256", lambda *_: pytest.fail("hashed again"))


def test_parts_of_many_files_and_whole_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = written(tmp_path / "a", b"0123456789"), written(tmp_path / "b", b"x" * 3_000_000)
    parts = [FilePart(first, 2, 3), FilePart(first, 5, 0), FilePart(second), FilePart(first)]
    expected = [sha(b"234"), sha(b""), sha(b"x" * 3_000_000), sha(b"0123456789")]
    assert list(part_digests(parts)) == expected
    nothing_is_hashed(monkeypatch)
    assert list(part_digests(parts)) == expected


def test_a_file_that_changed_is_hashed_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"first")
    assert digest_of(path) == sha(b"first")
    for data in (b"other", b"longer than that", b"other"):  # also of one size and one time
        before = path.stat().st_mtime_ns
        written(path, data)
        os.utime(path, ns=(before, before))
        assert digest_of(path) == sha(data)


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a", b"first", age=0)
    assert digest_of(path) == sha(b"first")
    nothing_is_hashed(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="hashed again"):
        digest_of(path)


@pytest.mark.parametrize("damage", [b"", b"no data base" * 1000, None])
def test_a_memory_that_cannot_be_used_costs_only_time(tmp_path: Path, memory: Path, damage: bytes | None) -> None:
    path = written(tmp_path / "a", b"first")
    digest_of(path)
    if damage is None:
        memory.unlink()
        memory.mkdir()
    else:
        memory.write_bytes(damage)
    assert digest_of(path) == sha(b"first")
    assert digest_of(path) == sha(b"first")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_of(tmp_path / "none")
