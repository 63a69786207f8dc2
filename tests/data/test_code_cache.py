"""Cached codes: those of encoding directly, made once, anew when anything changes or the file is damaged."""

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tars import clip, pack, png

from grn.data import code_cache
from grn.data.code_cache import View, cached_maps, nearest_maps
from grn.data.sources import Source, open_source
from grn.errors import BadInputError, EnvironmentFaultError
from grn.media import fit, square, to_pixels
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.tokenizer import Tokenizer


def tokenizer(seed: int = 0, rounds: int = 2, fingerprint: str = "") -> Tokenizer:
    torch.manual_seed(seed)
    config = TokenizerConfig(
        channels=4, rounds=rounds, encoder_width=4, decoder_width=4, multipliers=(1, 1), encoder_blocks=1, decoder_blocks=1,
        halves_time=(False,), time_kernel=1,
    )  # fmt: skip
    network = CausalAutoencoder(config)
    network.to_latent.weight.data *= 30  # so that all codes occur
    return Tokenizer(network, "t", fingerprint or f"weights {seed}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(code_cache, "BATCH", 3)
    return tmp_path / "cache" / "codes"


def pictures(path: Path, count: int = 5, offset: int = 0) -> Source:
    rng = np.random.default_rng(offset)
    return open_source(pack(path, [(f"{n}.png", png(int(rng.integers(255)), 12 + n, 10)) for n in range(count)]))


class Counted:
    """A progress bar that counts the pictures that are encoded."""

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, items: Iterable[int]) -> Iterator[int]:
        for item in items:
            self.batches += 1
            yield item


@pytest.mark.parametrize("flip", [False, True])
def test_cached_codes_are_those_of_encoding_directly(tmp_path: Path, folder: Path, flip: bool) -> None:
    source, coder = pictures(tmp_path / "d.tar"), tokenizer()
    for _ in range(2):  # made, then read
        maps = cached_maps(source, coder, View(8, flip))
        assert maps.dtype == np.uint16
        assert maps.shape == (5, 1 + flip, 2, 2, 4)
        for sample, views in zip(source, maps, strict=True):
            frame = square(sample.image(), 8)
            for view, picture in zip(views, [frame, frame[:, ::-1]], strict=False):
                direct = coder.encode(to_pixels(np.ascontiguousarray(picture)[None]))
                assert np.array_equal(view, direct[0, 0].numpy())
    assert len(np.unique(maps)) == 4


def test_codes_are_made_once_and_can_be_read_with_numpy_alone(tmp_path: Path, folder: Path) -> None:
    source, counted = pictures(tmp_path / "d.tar"), Counted()
    first = cached_maps(source, tokenizer(), View(8), counted)
    second = cached_maps(source, tokenizer(), View(8), counted)
    assert counted.batches == 2
    assert np.array_equal(first, second)
    (file,) = folder.iterdir()
    assert np.array_equal(np.load(file), first)


CHANGES: dict[str, Callable[[Path], tuple[Source, Tokenizer, View]]] = {
    "another picture": lambda p: (pictures(p / "e.tar", offset=1), tokenizer(), View(8)),
    "one picture more": lambda p: (pictures(p / "e.tar", 6), tokenizer(), View(8)),
    "another order": lambda p: (Source([*pictures(p / "d.tar")][::-1]), tokenizer(), View(8)),
    "other weights": lambda p: (pictures(p / "d.tar"), tokenizer(1), View(8)),
    "other rounds": lambda p: (pictures(p / "d.tar"), tokenizer(rounds=3), View(8)),
    "rounds of its own": lambda p: (pictures(p / "d.tar"), tokenizer(), View(8, rounds=3)),
    "another size": lambda p: (pictures(p / "d.tar"), tokenizer(), View(4)),
    "mirrored too": lambda p: (pictures(p / "d.tar"), tokenizer(), View(8, True)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_codes_are_made_anew_when_anything_changes(tmp_path: Path, folder: Path, change: str) -> None:
    cached_maps(pictures(tmp_path / "d.tar"), tokenizer(), View(8))
    counted = Counted()
    cached_maps(*CHANGES[change](tmp_path), counted)
    assert counted.batches == 2
    assert len(list(folder.iterdir())) == 2
    cached_maps(pictures(tmp_path / "d.tar"), tokenizer(), View(8), counted)
    assert counted.batches == 2


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "shorter than a digest": lambda data: data[:20],
    "half": lambda data: data[: len(data) // 2],
    "without its digest": lambda data: data[:-32],
    "a code changed": lambda data: _flip(data, len(data) - 40),
    "the header changed": lambda data: _flip(data, 60),
    "longer": lambda data: data + b"\0",
    "another format": lambda data: b"PK\3\4" + data,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_anew(tmp_path: Path, folder: Path, damage: str) -> None:
    source = pictures(tmp_path / "d.tar")
    first = np.array(cached_maps(source, tokenizer(), View(8)))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[damage](whole))
    counted = Counted()
    assert np.array_equal(cached_maps(source, tokenizer(), View(8), counted), first)
    assert counted.batches == 2
    assert file.read_bytes() == whole


def test_an_interrupted_encoding_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    members = [*((f"{n}.png", png(n)) for n in range(4)), ("bad.png", b"no picture")]
    source = open_source(pack(tmp_path / "d.tar", members))
    with pytest.raises(BadInputError, match=r"d\.tar: bad"):
        cached_maps(source, tokenizer(), View(8))
    assert not list(folder.iterdir())


def test_a_cache_that_cannot_be_made_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFaultError, match="set GRN_CACHE"):
        cached_maps(pictures(tmp_path / "d.tar"), tokenizer(), View(8))


def _race(path: Path, barrier: Any, results: Any) -> None:
    torch.set_num_threads(1)
    source, coder = open_source(path), tokenizer()
    barrier.wait(60)
    results.put(np.array(cached_maps(source, coder, View(8))).tolist())


def test_two_processes_at_once_both_get_the_codes(tmp_path: Path, folder: Path) -> None:
    source = pictures(tmp_path / "d.tar", 20)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path / "d.tar", barrier, results)) for _ in range(2)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    (file,) = folder.iterdir()
    assert found[0] == found[1] == np.load(file).tolist() == cached_maps(source, tokenizer(), View(8)).tolist()


def test_who_waits_gets_what_another_makes(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_cache, "_POLL_SECONDS", 0.01)
    source, counted, found = pictures(tmp_path / "d.tar"), Counted(), []
    waiting = threading.Thread(
        target=lambda: found.append(cached_maps(source, tokenizer(), View(8), counted, wait=True)), daemon=True
    )
    waiting.start()
    time.sleep(0.1)
    assert not found
    made = cached_maps(source, tokenizer(), View(8))
    waiting.join(20)
    assert np.array_equal(found[0], made)
    assert counted.batches == 0


def _clips(path: Path) -> Source:
    return open_source(pack(path, [(f"{n}.webp", clip(range(n, 120, 17), 12, 10)) for n in range(4)]), clips=True)


@pytest.mark.parametrize("flip", [False, True])
def test_clips_have_maps_of_several_frames(tmp_path: Path, folder: Path, flip: bool) -> None:
    source, coder = _clips(tmp_path / "d.tar"), tokenizer()
    view = View(8, flip, frames=5)
    maps = nearest_maps(source, coder, view, ())
    for sample, views in zip(source, maps, strict=True):
        assert views.shape == (1 + flip, 5, 2, 2, 4)
        frames = square(sample.clip(5), 8)
        for found, side in zip(views, [frames, frames[:, :, ::-1]], strict=False):
            assert np.array_equal(found, coder.encode(to_pixels(np.ascontiguousarray(side)))[0].numpy())
    for other in (View(8, flip, frames=3), View(8, flip, frames=5, fps=5), View(8, flip, frames=1)):
        assert len(nearest_maps(source, coder, other, ())[0][0]) == other.frames
    assert len(list(folder.iterdir())) == 4


def test_each_sample_takes_the_size_nearest_in_shape(tmp_path: Path, folder: Path) -> None:
    shapes = [(10, 10), (20, 10), (10, 30), (11, 10), (16, 10)]
    source = open_source(
        pack(tmp_path / "d.tar", [(f"{n}.png", png(40 * n, *shape)) for n, shape in enumerate(shapes)])
    )
    coder, sizes = tokenizer(), [(8, 8), (12, 8), (4, 12)]
    maps = nearest_maps(source, coder, View(8), sizes)
    assert [one.shape for one in maps] == [
        (1, 1, h // 4, w // 4, 4) for w, h in ((8, 8), (12, 8), (4, 12), (8, 8), (12, 8))
    ]
    for sample, one, size in zip(source, maps, ((8, 8), (12, 8), (4, 12), (8, 8), (12, 8)), strict=True):
        assert np.array_equal(one[0], coder.encode(to_pixels(fit(sample.image(), size)[None]))[0].numpy())
    again = nearest_maps(source, coder, View(8), sizes)
    assert all(np.array_equal(a, b) for a, b in zip(maps, again, strict=True))


def test_nothing_is_hashed_again_at_the_next_start(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "d.tar")
    cached_maps(source, tokenizer(), View(8))
    for path in (tmp_path / "d.tar", *folder.iterdir()):
        os.utime(path, (time.time() - 100,) * 2)
    first = cached_maps(source, tokenizer(), View(8))
    # Files are hashed by a digest that begins empty; the key is one of a text.
    begun = lambda *text: hashlib.new("sha256", *text) if text else pytest.fail("hashed again")  # noqa: E731
    monkeypatch.setattr("hashlib.sha256", begun)
    assert np.array_equal(cached_maps(open_source(tmp_path / "d.tar"), tokenizer(), View(8)), first)


def test_the_number_format_is_in_the_key(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures(tmp_path / "d.tar")
    exact = np.array(cached_maps(source, tokenizer(), View(8)))
    monkeypatch.setattr(code_cache, "fast_type", lambda device: torch.bfloat16)
    fast = cached_maps(source, tokenizer(), View(8))
    assert len(list(folder.iterdir())) == 2
    assert np.abs(fast.astype(int) - exact).max() <= 3
    assert (fast == exact).mean() > 0.8
