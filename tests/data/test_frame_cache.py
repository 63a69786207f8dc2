"""Frames come back as they were put, from any process; damage, a full disk and a limit cost only time."""

import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.forked import code_of_child, limit_files

from grn.data.frame_cache import FrameCache, make_room

KEY = bytes(range(16))


def frames(count: int = 3, seed: int = 0, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side + 1, 3), np.uint8)


def cache(tmp_path: Path, limit: int = 1 << 20) -> FrameCache:
    return FrameCache(tmp_path / "frames" / "one", limit)


def found(cache: FrameCache, key: bytes = KEY) -> np.ndarray:
    got = cache.get(key)
    assert got is not None
    return got


def test_frames_come_back_here_and_in_other_processes(tmp_path: Path) -> None:
    first, second = cache(tmp_path), cache(tmp_path)
    assert first.get(KEY) is None
    for number in range(20):
        writer = (first, second)[number % 2]
        assert writer.put(bytes([number] * 16), frames(1 + number % 3, number, 5 + number))
    for reader in (first, second, cache(tmp_path), pickle.loads(pickle.dumps(first))):
        for number in range(20):
            assert np.array_equal(found(reader, bytes([number] * 16)), frames(1 + number % 3, number, 5 + number))
    assert not found(first, bytes(16)).flags.writeable


def test_a_worker_writes_a_shard_of_its_own(tmp_path: Path) -> None:
    parent = cache(tmp_path)
    parent.put(KEY, frames())
    assert code_of_child(lambda: parent.put(b"c" * 16, frames(2, 1)) and np.array_equal(found(parent), frames())) == 1
    assert np.array_equal(found(parent, b"c" * 16), frames(2, 1))
    assert len(list((tmp_path / "frames" / "one").glob("*.frames"))) == 2


def test_damage_is_seen_and_decoded_again(tmp_path: Path) -> None:
    cache(tmp_path).put(KEY, frames())
    (shard,), (index,) = (list((tmp_path / "frames" / "one").glob(f"*.{end}")) for end in ("frames", "index"))
    whole, record = shard.read_bytes(), index.read_bytes()
    for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], b"", None):
        if damaged is None:
            shard.unlink()
        else:
            shard.write_bytes(damaged)
        assert cache(tmp_path).get(KEY) is None
    shard.write_bytes(whole)
    assert np.array_equal(found(cache(tmp_path)), frames())
    for at in range(len(record)):
        index.write_bytes(record[:at] + bytes([record[at] ^ 4]) + record[at + 1 :])
        assert cache(tmp_path).get(KEY) is None
        index.write_bytes(record[:at])
        assert cache(tmp_path).get(KEY) is None
    repaired = cache(tmp_path)
    assert repaired.put(KEY, frames(1, 7))
    assert np.array_equal(found(repaired), frames(1, 7))


def test_an_error_in_the_middle_keeps_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield frames()[0]
        raise ValueError("damaged")

    one = cache(tmp_path)
    one.put(b"a" * 16, frames())
    with pytest.raises(ValueError, match="damaged"):
        one.put(KEY, broken())
    assert one.get(KEY) is None
    assert one.put(KEY, frames(2, 5))
    assert np.array_equal(found(one), frames(2, 5))
    assert np.array_equal(found(one, b"a" * 16), frames())


def test_the_limit_is_kept_and_no_sample_takes_all(tmp_path: Path) -> None:
    size = frames(1).nbytes
    small = cache(tmp_path, 20 * size)
    assert not small.put(KEY, frames(2))  # more than a sixteenth
    kept = sum(small.put(bytes([n] * 16), frames(1, n)) for n in range(40))
    assert kept == 20
    assert np.array_equal(found(small, bytes(16)), frames(1, 0))
    beside = FrameCache(tmp_path / "frames" / "two", 20 * size)
    assert not beside.put(KEY, frames(1))


def test_a_disk_that_refuses_ends_keeping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "one").write_bytes(b"in the way")
    refused = cache(tmp_path)
    assert not refused.put(KEY, frames())
    assert not refused.put(KEY, frames())
    assert [record.message for record in caplog.records if "no longer kept" in record.message] == [
        f"{tmp_path}/frames/one: decoded pictures are no longer kept (File exists)"
    ]


def test_a_cache_that_is_deleted_meanwhile_is_begun_anew(tmp_path: Path) -> None:
    one = cache(tmp_path)
    assert one.put(KEY, frames())
    before = found(one)
    shutil.rmtree(one.folder)
    assert np.array_equal(before, frames())
    assert one.put(b"b" * 16, frames(2, 5))
    assert np.array_equal(found(one, b"b" * 16), frames(2, 5))
    assert one.room() == min(one.limit - frames(2).nbytes, one.room())  # counted, as what is found is


def test_files_that_go_meanwhile_count_nothing(tmp_path: Path) -> None:
    one = cache(tmp_path)
    other = tmp_path / "frames" / "other"
    other.mkdir(parents=True)
    (other / "gone.frames").symlink_to("nowhere")
    assert one.put(KEY, frames())
    make_room(tmp_path / "frames", 1, [one.folder, tmp_path / "frames" / "none"])
    assert np.array_equal(found(one), frames())
    assert not other.exists()


def test_a_record_that_fits_in_part_only_is_none(tmp_path: Path) -> None:
    """A disk may be full in the middle of one; each pixel here is 3 bytes, and its record 44."""

    def put() -> int:
        logging.disable()  # into a file, too
        limit_files(100)
        one, pixel = cache(tmp_path), np.ones((1, 1, 1, 3), np.uint8)
        return sum(one.put(bytes([n] * 16), pixel) << n for n in range(4))

    assert code_of_child(put) == 0b0011
    (index,) = (tmp_path / "frames" / "one").glob("*.index")
    assert index.stat().st_size == 2 * 44


def test_caches_not_used_for_longest_make_room(tmp_path: Path) -> None:
    base = tmp_path / "frames"
    for age, name in enumerate(("new", "middle", "old", "used")):
        FrameCache(base / name, 1 << 20).put(KEY, frames(4))
        os.utime(base / name, (1e9 - age,) * 2)
    one = frames(4).nbytes
    make_room(base, 4 * one, [base / "used"])
    assert sorted(path.name for path in base.iterdir()) == ["new", "used"] or len(list(base.iterdir())) == 3
    make_room(base, 1, [base / "used"])
    assert [path.name for path in base.iterdir()] == ["used"]
    assert (base / "used").stat().st_mtime > 1e9
