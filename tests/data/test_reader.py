"""What is read with a cache is what is read without, with the same random numbers; nothing is decoded twice."""

from pathlib import Path

import numpy as np
import pytest
from helpers.tars import clip, pack, png, unpack

from grn.data.reader import FrameReader, FrameView, cached_readers
from grn.data.sources import Source, open_source
from grn.errors import BadInputError
from grn.media import square

LIMIT = 1 << 24


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frames"


def pictures(tmp_path: Path, count: int = 5) -> Source:
    return open_source(pack(tmp_path / "d.tar", [(f"{n}.png", png(n, 12 + n, 10)) for n in range(count)]))


def clips(tmp_path: Path) -> Source:
    files = {f"{n}.webp": clip(range(0, 100 + 40 * n, 10), 12, 10) for n in range(3)}
    return open_source(unpack(tmp_path / "clips", files), clips=True)


VIEWS = [FrameView(8, 4), FrameView(None, 4), FrameView(8, 4, 5.0), FrameView(8, 30)]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_clips_are_those_of_decoding_with_the_same_random_numbers(tmp_path: Path, view: FrameView) -> None:
    source = clips(tmp_path)
    (reader,) = cached_readers([source], [view], LIMIT)
    for seed in range(12):
        rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
        assert view.frames is not None
        plain = source[seed % 3].clip(view.frames, view.fps, other)
        found = reader.read(seed % 3, rng)
        assert np.array_equal(found, plain if view.square is None else square(plain, view.square))
        assert rng.random() == other.random()
        assert found.flags.writeable
    assert np.array_equal(reader.read(0), FrameReader(source, view).read(0))


def test_a_sample_is_decoded_once(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures(tmp_path)
    before = [reader.read(n) for n in range(5) for reader in cached_readers([source], [FrameView(8)], LIMIT)]
    assert before[0].shape == (1, 8, 8, 3)
    monkeypatch.setattr("grn.data.samples.read_image", lambda *_: pytest.fail("decoded again"))
    (reader,) = cached_readers([source], [FrameView(8)], LIMIT)
    assert all(np.array_equal(reader.read(n), before[n]) for n in range(5))
    for changed in ([FrameView(6)], [FrameView()]):
        with pytest.raises(pytest.fail.Exception, match="decoded again"):
            cached_readers([source], changed, LIMIT)[0].read(0)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "d", {"a.png": png(1)})
    (reader,) = cached_readers([open_source(folder)], [FrameView()], LIMIT)
    assert reader.read(0)[0, -1, -1, 0] == 1
    (folder / "a.png").write_bytes(png(9))
    assert reader.read(0)[0, -1, -1, 0] == 9


def test_without_room_or_cache_everything_is_decoded(tmp_path: Path, base: Path) -> None:
    source = pictures(tmp_path)
    plain = [sample.image()[None] for sample in source]
    for limit in (0, 10):
        (reader,) = cached_readers([source], [FrameView()], limit)
        assert all(np.array_equal(reader.read(n), plain[n]) for n in range(5))
    assert not list(base.glob("*/*.index")) or all(not path.stat().st_size for path in base.glob("*/*.index"))


def test_a_sample_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = open_source(pack(tmp_path / "d.tar", [("a.png", png(1)), ("bad.png", png(1)[:-30])]))
    (reader,) = cached_readers([source], [FrameView()], LIMIT)
    for _ in range(2):
        with pytest.raises(BadInputError, match=r"d\.tar: bad: "):
            reader.read(1)
    assert reader.read(0)[0, -1, -1, 0] == 1
