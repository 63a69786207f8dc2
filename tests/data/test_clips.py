"""Clips as samples: from folders, tars and compressed tars; which of their frames come; crops at one place in all of them."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.tars import clip, pack, png, unpack

from grn.data.reader import FrameReader, FrameView
from grn.data.shards import View
from grn.data.sources import Source, open_source
from grn.data.transforms import clip_batches, random_crop, random_flip
from grn.errors import BadInputError, EnvironmentFaultError
from grn.media import VideoWriter, centre_crop, fit, from_batch, resize_short_side, square
from grn.networks.autoencoder_config import TokenizerConfig

FILES = {
    "a.webp": clip(range(10, 70, 10)), "a.txt": b"a walk", "a.json": b'{"captions": ["a walk", "walking"]}',
    "b.webp": clip([200]), "c.png": png(7),
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tars"


def greys(frames: np.ndarray) -> list[int]:
    return [int(frame[0, -1, 0]) for frame in frames]


def opened(tmp_path: Path, where: str) -> Source:
    if where == "folder":
        return open_source(unpack(tmp_path / "d", FILES), clips=True)
    tar = pack(tmp_path / "d.tar", FILES.items())
    if where == "tar":
        return open_source(tar, clips=True)
    packed = tmp_path / "more" / f"d{where}"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(tar.read_bytes()))
    return open_source(packed if where == ".tgz" else packed.parent, clips=True)


@pytest.mark.parametrize("where", ["folder", "tar", ".tgz", ".tar.gz"])
def test_clips_and_only_clips_are_found(tmp_path: Path, where: str) -> None:
    source = opened(tmp_path, where)
    assert [sample.key.split(".")[0] for sample in source] == ["a", "b"]
    assert source[0].captions == ("a walk", "walking")
    assert greys(source[0].clip(6)) == [10, 20, 30, 40, 50, 60]
    assert source[0].clip(6).shape == (6, 8, 8, 3)


def test_a_compressed_tar_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    opened(tmp_path, ".tgz")
    (made,) = cache.iterdir()
    before = made.stat().st_mtime_ns
    assert greys(open_source(tmp_path / "more" / "d.tgz", clips=True)[0].clip(2)) == [10, 20]
    assert made.stat().st_mtime_ns == before
    whole = (tmp_path / "more" / "d.tgz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not gzip", whole[:40] + bytes(20) + whole[60:]):
        (tmp_path / "e.tgz").write_bytes(damaged)
        with pytest.raises(BadInputError, match=r"e\.tgz: "):
            open_source(tmp_path / "e.tgz", clips=True)
    assert list(cache.iterdir()) == [made]


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFaultError, match="set GRN_CACHE to a folder with space"):
        opened(tmp_path, ".tgz")


def test_which_frames_come(tmp_path: Path) -> None:
    moving, still = opened(tmp_path, "tar")
    assert greys(moving.clip(3)) == [10, 20, 30]
    assert greys(moving.clip(8)) == [10, 20, 30, 40, 50, 60, 60, 60]
    assert greys(still.clip(3)) == [200, 200, 200]
    assert greys(moving.clip(3, fps=5)) == [10, 30, 50]  # frames are 0.1 s apart
    assert greys(moving.clip(9, fps=20)) == [10, 10, 20, 20, 30, 30, 40, 40, 50]
    starts = {tuple(greys(moving.clip(3, rng=np.random.default_rng(seed)))) for seed in range(40)}
    assert starts == {(10 * i, 10 * i + 10, 10 * i + 20) for i in (1, 2, 3, 4)}
    assert greys(moving.clip(8, rng=np.random.default_rng(0))) == [10, 20, 30, 40, 50, 60, 60, 60]


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    tar = pack(tmp_path / "d.tar", [("bad.webp", FILES["a.webp"][:60])])
    with pytest.raises(BadInputError, match=r"d\.tar: bad: "):
        open_source(tar, clips=True)[0].clip(2)
    with pytest.raises(BadInputError, match="no clips found"):
        open_source(pack(tmp_path / "e.tar", [("c.png", png(7))]), clips=True)
    with pytest.raises(BadInputError, match="give a folder of clips"):
        open_source(tmp_path / "none", clips=True)


def test_frames_are_cut_alike() -> None:
    y, x = np.mgrid[:20, :30]
    frames = np.stack([np.stack([8 * x, 8 * y, np.full_like(x, 9 * t)], -1) for t in range(4)]).astype(np.uint8)
    for seed in range(5):
        cut = random_flip(random_crop(frames, 12, np.random.default_rng(seed)), np.random.default_rng(seed))
        assert cut.shape == (4, 12, 12, 3)
        assert all(np.array_equal(one[..., :2], cut[0, ..., :2]) for one in cut)
        alone = random_flip(random_crop(frames[2], 12, np.random.default_rng(seed)), np.random.default_rng(seed))
        assert np.array_equal(cut[2], alone)
    small = resize_short_side(frames, 10)
    assert small.shape == (4, 10, 15, 3)
    assert np.array_equal(centre_crop(small, 8)[1], centre_crop(resize_short_side(frames[1], 10), 8))


def test_a_long_clip_is_never_in_memory_as_large_as_it_is_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(1, 30, 40, 3), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    path = tmp_path / "d" / "long.mp4"
    path.parent.mkdir()
    with VideoWriter(path, 480, 360, 10) as video:
        for n in range(24):
            video.write(np.roll(frames[0], n, 0))
    source = open_source(path.parent, clips=True)
    whole = source[0].clip(20)
    wanted = square(whole, 32)
    tokenizer = TokenizerConfig.tiny()
    ways = {
        "training": lambda: FrameReader(source, FrameView(32, 20)).read(0),
        "tokenized": lambda: View(32, frames=20).read(source[0], tokenizer),
        "measured": lambda: from_batch(next(clip_batches(source, 32, (20, None))))[0],
    }
    for name, way in ways.items():
        tracemalloc.start()
        found = way()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.array_equal(found, wanted), name
        assert peak < whole.nbytes / 3, name
    shaped = View(32, ((32, 32), (48, 32)), frames=20).read(source[0], tokenizer)
    assert np.array_equal(shaped, fit(whole, (48, 32)))
