"""PSNR, SSIM and LPIPS: closed forms, one number a picture."""

import pytest
import torch
from torch import nn

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.evaluation.metrics import SMALLEST_MS_SSIM, ms_ssim, psnr, ssim, to_bytes
from grn.features.lpips import Lpips


def pixels(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9


def test_psnr_is_that_of_bytes_with_range_255():
    reference = to_bytes(pixels())
    moved = reference + torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1) / 127.5  # off by 1, 2 and 4 levels everywhere
    expected = 20 * torch.log10(255 / torch.tensor([1.0, 2.0, 4.0]))
    torch.testing.assert_close(psnr(moved, reference), expected, atol=1e-3, rtol=0)
    assert psnr(reference[:1], reference[:1]).item() == float("inf")


def test_ssim_is_one_for_equal_and_falls_with_noise():
    reference = pixels()
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    weak, strong = ssim(reference + 0.02 * noise, reference), ssim(reference + 0.5 * noise, reference)
    torch.testing.assert_close(ssim(reference, reference), torch.ones(3))
    assert weak.shape == (3,)
    assert (strong < weak).all()
    torch.testing.assert_close(ssim(reference[1:2] + 0.02 * noise[1:2], reference[1:2]), weak[1:2])


@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_ssim_of_tiny_pictures_is_a_number(size):
    reference = pixels(size=size)
    torch.testing.assert_close(ssim(reference, reference), torch.ones(3), atol=1e-4, rtol=0)  # variances of a flat area
    assert (ssim(-reference, reference) < 1).all()


def test_to_bytes_rounds_to_levels_and_clips():
    found = to_bytes(torch.tensor([-2.0, -1.0, 0.001, 1.0, 2.0]))
    levels = (found + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert found.min() == -1
    assert found.max() == 1


class PairDistance(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).square().mean((1, 2, 3), keepdim=True)


class Vectors(nn.Module):
    def forward(self, img: torch.Tensor, resize_images: bool = True, return_lpips: bool = False) -> torch.Tensor:
        return img.flatten(1) / 127.5 if return_lpips else img


class OneArgument(nn.Module):
    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return img


def test_lpips_understands_both_kinds_of_file(tmp_path):
    a, b = pixels(), pixels().flip(0)
    torch.jit.save(torch.jit.script(PairDistance()), tmp_path / "pair.pt")
    torch.jit.save(torch.jit.script(Vectors()), tmp_path / "vectors.pt")
    mean = (a - b).square().mean((1, 2, 3))
    torch.testing.assert_close(Lpips(tmp_path / "pair.pt")(a, b), mean)
    torch.testing.assert_close(Lpips(tmp_path / "vectors.pt")(a, b), mean * a[0].numel(), atol=1e-3, rtol=1e-4)


def test_lpips_refuses_what_it_cannot_call(tmp_path):
    torch.jit.save(torch.jit.script(OneArgument()), tmp_path / "one.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelMismatchError, match=r"one\.pt.*expected two pictures"):
        Lpips(tmp_path / "one.pt")
    with pytest.raises(ModelMismatchError, match=r"text\.pt.*not a TorchScript file"):
        Lpips(tmp_path / "text.pt")
    with pytest.raises(ModelNotFoundError, match="no such file"):
        Lpips(tmp_path / "absent.pt")


def test_ms_ssim_is_one_for_equal_and_each_pictures_own():
    reference = pixels(count=2, size=SMALLEST_MS_SSIM)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ms_ssim(reference, reference), torch.ones(2))
    weak, strong = (ms_ssim(reference + share * noise, reference) for share in (0.02, 0.5))
    assert (strong < weak).all()
    torch.testing.assert_close(ms_ssim((reference + 0.5 * noise)[1:], reference[1:]), strong[1:])
    with pytest.raises(AssertionError, match="five scales need 176 pixels"):
        ms_ssim(reference[..., 1:, :], reference[..., 1:, :])
