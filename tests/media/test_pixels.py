"""Levels <-> pixels of networks."""

import numpy as np
import pytest
import torch

from grn.media import from_batch, from_pixels, to_batch, to_levels, to_pixels, to_unit


def test_pixels_round_trip_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8)
    frames = np.stack([levels, levels[::-1], np.roll(levels, 7)], axis=1).reshape(1, 16, 16, 3).repeat(2, axis=0)
    frames[1] = frames[1, ::-1]
    pixels = to_pixels(frames)
    assert pixels.shape == (1, 3, 2, 16, 16)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert pixels[0, 2, 1, 3, 5].item() == pytest.approx(frames[1, 3, 5, 2] / 127.5 - 1, abs=1e-6)
    assert (from_pixels(pixels) == frames).all()
    assert (from_pixels(torch.tensor([-7.0, 7.0, -1.0]).view(1, 3, 1, 1, 1)) == [0, 255, 0]).all()


def test_pixels_take_read_only_frames_and_low_precision() -> None:
    frames = np.frombuffer(bytes(range(48)), np.uint8).reshape(1, 4, 4, 3)
    assert (from_pixels(to_pixels(frames)) == frames).all()
    assert np.abs(from_pixels(to_pixels(frames).bfloat16()).astype(int) - frames).max() <= 1


def test_batches_are_pixels_side_by_side() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    batch = to_batch(clips)
    assert batch.shape == (2, 3, 3, 4, 5)
    for one, clip in zip(batch, clips, strict=True):
        assert torch.equal(one[None], to_pixels(clip))
    assert (from_batch(batch) == clips).all()
    images = clips[:, 0]
    assert torch.equal(to_batch(images), batch[:, :, 0])
    assert (from_batch(to_batch(images)) == images).all()
    # Mirrored frames are a view that runs backwards.
    assert torch.equal(to_batch(images[:, :, ::-1]), to_batch(images).flip(3))


def test_all_ways_round_alike() -> None:
    values = torch.linspace(-1.2, 1.2, 3 * 4096).view(1, 3, 1, 64, 64)
    levels = from_pixels(values)
    assert (to_levels(values)[0].permute(1, 2, 3, 0).numpy() == levels).all()
    assert torch.equal(to_unit(torch.tensor(levels)), to_unit(to_levels(values))[0].permute(1, 2, 3, 0))
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
