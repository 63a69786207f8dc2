"""Clips on their way through a tokenizer: the same codes in one go and in pieces, and no more frames held than a group has."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from grn import hbq
from grn.codes import PackedCodes
from grn.media import to_pixels, write_image
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.autoencoder_layers import TimeCache
from grn.tokenizer import Tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(CausalAutoencoder(TokenizerConfig.tiny()), "tiny", "0" * 64)


def pictures(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def media(frames: Any) -> Any:
    """What `open_media` gives, of frames."""

    class Frames(SimpleNamespace):
        def __iter__(self) -> Iterator[np.ndarray]:
            return iter(frames)

    return Frames(name="a.mp4", kind="video", fps=8.0)


@pytest.mark.parametrize("count", [1, 2, 5, 7, 9])
@pytest.mark.parametrize("size", [(32, 48), (21, 35)])
def test_streamed_is_as_a_whole(tokenizer: Tokenizer, count: int, size: tuple[int, int]) -> None:
    frames = pictures(count, *size)
    streamed = tokenizer.tokenize(media(frames))
    whole = tokenizer.encode(to_pixels(np.stack(frames)))[0]
    assert np.array_equal(streamed.indices, whole.numpy())
    assert (streamed.frames, streamed.height, streamed.width, streamed.fps) == (count, *size, 8.0)
    packed = tokenizer.tokenize_packed(media(frames))
    assert b"".join(packed.content()) == streamed.to_bytes()
    for codes in (streamed, packed):
        back = np.stack(list(tokenizer.reconstruct(codes)))
        assert back.shape == (count, *size, 3)
        decoded = tokenizer.decode(whole[None])[0, :, :count, : size[0], : size[1]]
        levels = ((decoded + 1) * 127.5).round().clamp(0, 255)
        assert np.abs(back.astype(float) - levels.permute(1, 2, 3, 0).numpy()).max() <= 1


def test_the_cache_is_all_that_a_clip_needs_to_go_on(tokenizer: Tokenizer) -> None:
    """A clip that was interrupted, with another one in between, goes on from its cache."""
    network = tokenizer.network
    pixels = to_pixels(np.stack(pictures(13)))
    other = to_pixels(np.stack(pictures(9)))
    mine, its = TimeCache(), TimeCache()
    parts = []
    with torch.inference_mode():
        for start, end in ((0, 1), (1, 5), (5, 9), (9, 13)):
            parts.append(network.encode_group(pixels[:, :, start:end], mine))
            if end < 13:
                network.encode_group(other[:, :, start:end], its)
        whole = network.encode(pixels)
    assert torch.equal(hbq.encode(torch.cat(parts, 2), 4), hbq.encode(whole, 4))


def test_no_more_frames_are_held_than_a_group_has(tokenizer: Tokenizer) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Frame(np.ndarray):
        __hash__ = object.__hash__  # type: ignore[assignment]

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for one in pictures(25):
            shown = one.view(Frame)
            alive.add(shown)
            most = max(most, len(alive))
            yield shown

    assert tokenizer.tokenize_packed(media(frames())).frames == 25
    assert most <= 2 * tokenizer.config.time_stride + 1


def test_frames_come_back_as_they_are_decoded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = tokenizer.tokenize_packed(media(pictures(9)))
    whole, groups = tokenizer.network.begin, []

    def counted(*arguments: Any, **options: Any) -> Any:
        groups.append(1)
        return whole(*arguments, **options)

    monkeypatch.setattr(tokenizer.network, "begin", counted)
    frames = tokenizer.reconstruct(codes)
    for decoded in (1, 2, 2, 2, 2, 3):
        next(frames)
        assert len(groups) == decoded


@pytest.fixture
def medium() -> Iterator[None]:
    """A program that lets its matrix products be cut, on a processor to bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def precisions() -> list[str]:
    backends: Any = torch.backends
    places = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    return [place.fp32_precision for place in places]


@pytest.mark.usefixtures("medium")
@pytest.mark.parametrize("way", ["encode", "tokenize"])
def test_codes_are_made_without_tf32_and_nothing_else_is(
    tokenizer: Tokenizer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, found = precisions(), []

    def watched(name: str) -> None:
        whole = getattr(tokenizer.network, name)

        def call(*arguments: Any, **options: Any) -> Any:
            found.append(precisions())
            return whole(*arguments, **options)

        monkeypatch.setattr(tokenizer.network, name, call)

    watched("shrink")
    watched("grow")
    if way == "encode":
        tokenizer.decode(tokenizer.encode(to_pixels(np.stack(pictures(1)))))
    else:
        list(tokenizer.reconstruct(tokenizer.tokenize(media(pictures(1)))))
    assert found == [["ieee"] * 4, before]
    assert precisions() == before


def test_a_failure_leaves_tf32_as_it_was(tokenizer: Tokenizer) -> None:
    before = precisions()
    with pytest.raises(RuntimeError):  # four colours
        tokenizer.encode(torch.zeros(1, 4, 1, 32, 32))
    assert precisions() == before


def test_a_loaded_tokenizer_is_laid_out_and_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = CausalAutoencoder(TokenizerConfig.tiny())
    save_tokenizer(tmp_path / "tiny", network, "tiny", torch.float32)
    plain, loaded = Tokenizer(network, "tiny", "0" * 64), Tokenizer.from_pretrained(tmp_path / "tiny")
    assert loaded.network.decoder.stem.by_taps
    assert not plain.network.decoder.stem.by_taps
    codes = plain.tokenize(media(pictures(9)))
    assert np.array_equal(loaded.tokenize(media(pictures(9))).indices, codes.indices)
    for one, other in zip(
        loaded.reconstruct(codes, any_tokenizer=True), plain.reconstruct(codes, any_tokenizer=True), strict=True
    ):
        assert np.abs(one.astype(int) - other).max() <= 1
    save_tokenizer(tmp_path / "again", loaded.network, "tiny", torch.float32)
    assert Tokenizer.from_pretrained(tmp_path / "again").fingerprint == loaded.fingerprint


def test_what_is_held_of_a_clip_is_its_bits(tokenizer: Tokenizer, tmp_path: Path) -> None:
    codes = tokenizer.tokenize_packed(media(pictures(9)))
    held = sum(len(plane) for plane in codes.planes)
    assert held == 3 * 2 * 3 * 4 * 4 / 8  # tokens, channels, rounds
    size = codes.save(tmp_path / "a.npz")
    assert size == (tmp_path / "a.npz").stat().st_size
    assert list(map(len, PackedCodes.load(tmp_path / "a.npz").planes)) == [held / 4] * 4


def test_paths_arrays_and_pil_images_are_tokenized(tokenizer: Tokenizer, tmp_path: Path) -> None:
    frames = np.stack(list(pictures(9)))
    clip = tokenizer.tokenize(frames)
    assert (clip.kind, clip.frames, clip.fps) == ("video", 9, None)
    assert np.array_equal(tokenizer.tokenize([Image.fromarray(one) for one in frames]).indices, clip.indices)
    image = tokenizer.tokenize(frames[0])
    assert (image.kind, image.frames) == ("image", 1)
    write_image(tmp_path / "a.png", frames[0])
    for given in (
        Image.fromarray(frames[0]),
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        (tmp_path / "a.png").open("rb"),
    ):
        assert np.array_equal(tokenizer.tokenize(given).indices, image.indices)
