"""Inception from the user's file: both formats, the original network's peculiarities, refusals that run nothing."""

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grn.errors import ModelMismatchError, ModelNotFoundError
from grn.features.inception import InceptionFeatures
from grn.features.inception_network import InceptionV3, Mixed, resize_as_tensorflow


def pixels(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def state_file(tmp_path_factory) -> Path:
    """A state dict laid out like the published one: random weights, and a training branch that must be ignored."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    state = {k: v for k, v in InceptionV3().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state | {"AuxLogits.fc.weight": torch.zeros(1)}, path)
    return path


def test_state_dict_has_the_published_size_and_gives_features(state_file):
    network = InceptionFeatures(state_file)
    assert sum(p.numel() for p in network.network.parameters()) == 23_834_568 + 8 * 2049  # 1008 classes for 1000
    with torch.inference_mode():
        assert network(pixels(40, 60)).shape == (1, network.dim)
        found = network.probabilities(pixels(40, 60))
    assert found.shape == (1, 1008)
    assert found.sum().item() == pytest.approx(1)


def test_average_pooling_leaves_the_border_out_of_the_count():
    block = Mixed(4, [[("branch1x1", 2, 1, 1)]], 3).eval()
    found = block(torch.ones(1, 4, 5, 5))[:, 2:]
    torch.testing.assert_close(found, found[..., 2:3, 2:3].expand_as(found))


def test_last_block_pools_by_maximum():
    average, largest = (Mixed(4, [[("branch1x1", 2, 1, 1)]], 3, pool=p).eval() for p in ("average", "max"))
    largest.load_state_dict(average.state_dict())
    x = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(largest(x)[:, 2:], average.branch_pool(F.max_pool2d(x, 3, 1, 1)))
    assert not torch.allclose(largest(x)[:, 2:], average(x)[:, 2:])


def test_resizing_reads_at_corners():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    expected = torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])  # half-pixel centres would start at 0, 0.25
    torch.testing.assert_close(resize_as_tensorflow(ramp, 8)[0, 0], expected.expand(8, 8))
    torch.testing.assert_close(resize_as_tensorflow(ramp.mT, 2)[0, 0, :, 0], torch.tensor([0.0, 2.0]))


class Script(nn.Module):
    def forward(self, img: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        means = img.float().mean((2, 3))
        if return_features:
            return means
        return means.softmax(1) if no_output_bias else means * 0


class Unfit(nn.Module):
    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return img


def test_torchscript_gets_bytes_and_its_options(tmp_path):
    torch.jit.save(torch.jit.script(Script()), tmp_path / "inception.pt")
    network = InceptionFeatures(tmp_path / "inception.pt")
    levels = ((pixels(8, 8) + 1) * 127.5).round().mean((2, 3))
    torch.testing.assert_close(network(pixels(8, 8)), levels)
    torch.testing.assert_close(network.probabilities(pixels(8, 8)), levels.softmax(1))


class Payload:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('pwned').touch()",)


def test_refuses_other_files_and_never_runs_a_pickle(tmp_path, monkeypatch, state_file):
    monkeypatch.chdir(tmp_path)
    state = torch.load(state_file, weights_only=True)
    state.pop("fc.weight")
    torch.save(state, "missing.pth")
    torch.save(torch.zeros(3), "tensor.pth")
    Path("pickled.pth").write_bytes(pickle.dumps(Payload()))
    torch.save(Payload(), "payload.pth")
    Path("empty.pth").touch()
    torch.jit.save(torch.jit.script(Unfit()), "unfit.pt")
    for name in ("missing.pth", "tensor.pth", "pickled.pth", "payload.pth", "empty.pth", "unfit.pt"):
        with pytest.raises(ModelMismatchError, match=f"{name}.*TorchScript.*state dict") as caught:
            InceptionFeatures(Path(name))
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="no such file"):
        InceptionFeatures(Path("absent.pth"))
    assert not Path("pwned").exists()
