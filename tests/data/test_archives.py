"""Compressed tars: unpacked once, never beyond what a set of pictures can be; joined tars read to their end."""

import gzip
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.tars import pack, png

from grn.data import archives
from grn.data.sources import open_source
from grn.errors import BadInputError, EnvironmentFaultError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tars"


def greys(path: Path | str) -> list[int]:
    return [int(sample.image()[0, -1, 0]) for sample in open_source(path)]


def packed(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data))
    return path


@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".TGZ"])
def test_a_compressed_tar_reads_as_its_content(tmp_path: Path, suffix: str) -> None:
    tar = pack(tmp_path / "d.tar", [(f"{n}.png", png(n)) for n in range(4)])
    assert greys(packed(tmp_path / f"e{suffix}", tar.read_bytes())) == [0, 1, 2, 3]


def test_processes_that_come_together_unpack_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "d.tgz", pack(tmp_path / "d.tar", [("a.png", png(3))]).read_bytes())
    unpacked, together, opened = list[object](), threading.Barrier(3), gzip.open

    def slow(*given: object) -> object:
        unpacked.append(given)
        time.sleep(0.5)
        return opened(*given)

    def read() -> Path:
        together.wait()
        return archives.plain_tar(path)

    monkeypatch.setattr("gzip.open", slow)
    with ThreadPoolExecutor(3) as pool:
        found = {one.result() for one in [pool.submit(read) for _ in range(3)]}
    assert len(found) == len(unpacked) == 1
    (plain,) = found
    assert list(plain.parent.iterdir()) == [plain]


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = pack(tmp_path / "d.tar", [("a.png", png(1)), ("z.bin", bytes(3 << 20))]).read_bytes()
    bomb = packed(tmp_path / "d.tgz", tar)
    assert greys(bomb) == [1]  # small ones may be of anything
    for made in cache.iterdir():
        made.unlink()
    monkeypatch.setattr(archives, "_ALWAYS", 1 << 20)
    with pytest.raises(BadInputError, match=r"d\.tgz: unpacks to more than 100 times its size"):
        greys(bomb)
    assert not list(cache.iterdir())


def test_what_is_no_tar_is_refused_before_it_is_unpacked(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(BadInputError, match=r"d\.tgz: holds no tar"):
        greys(packed(tmp_path / "d.tgz", b"text " * 1000))
    with pytest.raises(BadInputError, match=r"e\.tgz: holds no tar"):
        greys(packed(tmp_path / "e.tgz", b""))
    assert not list(cache.iterdir())


def test_a_disk_that_would_be_full_is_named(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tgz = packed(tmp_path / "d.tgz", pack(tmp_path / "d.tar", [("a.png", png(1))]).read_bytes())
    monkeypatch.setattr(archives, "_LEFT_FREE", 1 << 60)
    with pytest.raises(EnvironmentFaultError, match=r"MiB are free, too few to unpack .*d\.tgz"):
        greys(tgz)
    assert not list(cache.iterdir())


def test_an_archive_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tgz = packed(tmp_path / "d.tgz", pack(tmp_path / "d.tar", [("a.png", png(1))]).read_bytes())
    os.utime(tgz, (time.time() - 100,) * 2)
    assert greys(tgz) == [1]
    monkeypatch.setattr("hashlib.sha256", lambda *_: pytest.fail("hashed again"))
    assert greys(tgz) == [1]


def test_joined_tars_are_read_to_the_end(tmp_path: Path) -> None:
    first, second = (pack(tmp_path / f"{n}.tar", [("same.png", png(n)), (f"{n}.png", png(10 + n))]) for n in (1, 2))
    joined = tmp_path / "joined.tar"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert greys(joined) == [1, 11, 2, 12]
    joined.write_bytes(first.read_bytes() + bytes(512 * 7) + second.read_bytes() + bytes(5120))
    assert greys(joined) == [1, 11, 2, 12]
    whole = first.read_bytes() + second.read_bytes()
    second_start = len(first.read_bytes())
    end = len(whole.rstrip(b"\0"))
    for length in range(second_start + 1, end, 100):
        joined.write_bytes(whole[:length])
        with pytest.raises(BadInputError, match=r"joined\.tar: "):
            open_source(joined)
    joined.write_bytes(first.read_bytes() + b"something else" * 100)
    with pytest.raises(BadInputError, match="something else behind its end mark, at byte"):
        open_source(joined)
