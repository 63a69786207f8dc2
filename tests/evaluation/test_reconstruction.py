"""Quality by rounds, on a tokenizer without a network: pixels themselves are the features."""

from types import SimpleNamespace

import pytest
import torch

from grn import hbq
from grn.evaluation.frechet import Moments, frechet_distance
from grn.evaluation.metrics import psnr, ssim, to_bytes
from grn.evaluation.reconstruction import Quality, RoundTrip
from grn.networks.autoencoder_config import TokenizerConfig


class PixelTokenizer:
    config = SimpleNamespace(channels=3, map_shape=lambda frames, height, width: (1 + (frames - 1) // 4, height, width))

    def reconstruct_pixels(self, pixels: torch.Tensor, rounds: int | None) -> torch.Tensor:
        assert pixels.ndim == 5
        return pixels if rounds is None else hbq.decode(hbq.encode(pixels, rounds), rounds)


class Corners:
    name, dim = "corners", 3

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :, 0, 0]


def quality(round_trip: RoundTrip, *batches: torch.Tensor) -> list[Quality]:
    return round_trip.summary([round_trip.measure(batches)])


def pictures() -> torch.Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_quality_rises_with_rounds_to_that_of_no_quantization():
    found = quality(RoundTrip(PixelTokenizer(), [1, 4, 8, None], Corners()), *pictures().split(4))
    assert [row.rounds for row in found] == [1, 4, 8, None]
    assert [row.bits_per_pixel for row in found] == [3, 12, 24, None]
    assert [row.psnr for row in found] == sorted(row.psnr for row in found)
    assert [row.ssim for row in found] == sorted(row.ssim for row in found)
    assert found[0].frechet > found[1].frechet > found[3].frechet
    assert found[3].frechet < 1e-4


def test_numbers_are_means_over_pictures_whatever_the_batches():
    whole, split = (quality(RoundTrip(PixelTokenizer(), [2], Corners()), *pictures().split(n))[0] for n in (6, 4))
    drawn = to_bytes(hbq.decode(hbq.encode(pictures(), 2), 2))
    assert whole.psnr == pytest.approx(psnr(drawn, pictures()).mean().item(), rel=1e-6)
    assert whole.ssim == pytest.approx(ssim(drawn, pictures()).mean().item(), rel=1e-6)
    assert split.psnr == pytest.approx(whole.psnr)
    assert split.frechet == pytest.approx(whole.frechet, rel=1e-6, abs=1e-9)


def test_blocks_say_what_their_pictures_together_do() -> None:
    one = RoundTrip(PixelTokenizer(), [1, None], Corners())
    apart = one.summary(one.measure([part]) for part in pictures().split(4))
    for found, plain in zip(apart, quality(one, *pictures().split(4)), strict=True):
        assert (found.psnr, found.ssim, found.bits_per_pixel) == (plain.psnr, plain.ssim, plain.bits_per_pixel)
        assert found.frechet == pytest.approx(plain.frechet, rel=1e-9, abs=1e-9)


def test_bits_count_whole_tokens():
    tokenizer = PixelTokenizer()
    tokenizer.config = TokenizerConfig(channels=8)
    (found,) = quality(RoundTrip(tokenizer, [4], Corners()), torch.zeros(2, 3, 16, 24))
    assert found.bits_per_pixel == pytest.approx(2 * 8 * 4 / (16 * 24))  # 24 columns take two tokens


def test_lpips_is_measured_when_given():
    lpips = lambda a, b: (a - b).abs().mean((1, 2, 3))  # noqa: E731
    (found,) = quality(RoundTrip(PixelTokenizer(), [1], Corners(), lpips), pictures())
    assert found.lpips is not None
    assert found.lpips > 0


def clips() -> torch.Tensor:
    return torch.rand(4, 3, 5, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_clips_are_measured_frame_by_frame_and_compared_by_pairs():
    (found,) = quality(RoundTrip(PixelTokenizer(), [2], Corners(), clips=True), *clips().split(3))
    frames = clips().transpose(1, 2).flatten(0, 1)
    drawn = to_bytes(hbq.decode(hbq.encode(frames, 2), 2))
    assert found.psnr == pytest.approx(psnr(drawn, frames).mean().item(), rel=1e-6)
    assert found.ssim == pytest.approx(ssim(drawn, frames).mean().item(), rel=1e-6)
    assert found.bits_per_pixel == pytest.approx(2 * 3 * 2 / 5)  # two tokens of five frames
    # The distance sees the order of the frames, which no statistics of single frames do.
    features = clips().transpose(1, 2)[..., 0, 0]
    pairs = torch.cat([features[:, :-1], features[:, 1:] - features[:, :-1]], -1).flatten(0, 1)
    originals, moments = Moments(6), Moments(6)
    originals.add(pairs)
    features = drawn.unflatten(0, (4, 5))[..., 0, 0]
    moments.add(torch.cat([features[:, :-1], features[:, 1:] - features[:, :-1]], -1).flatten(0, 1))
    wanted = frechet_distance(moments.statistics("x"), originals.statistics("x"))
    assert found.frechet == pytest.approx(wanted, rel=1e-5)
