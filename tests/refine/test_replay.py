"""Small passes are replayed on a GPU, and nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine.replay import Replay

Network = ClassToImage | TextToVisual


def network(family: str) -> Network:
    torch.manual_seed(0)
    made = ClassToImage(ClassToImageConfig.tiny()) if family == "class" else TextToVisual(TextToVisualConfig.tiny())
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval().requires_grad_(False)


def conditions(made: Network, count: int, device: str) -> ClassCondition | TextCondition:
    if isinstance(made, ClassToImage):
        return ClassCondition(torch.arange(count)).to(device)
    mask = torch.arange(5)[None] < torch.arange(5, 5 - count, -1)[:, None]  # of several, the later ones are padded
    return TextCondition(torch.randn(count, 5, made.config.text_width), mask).to(device)


def maps(made: Network, count: int) -> Tensor:
    return torch.randint(-1, made.config.classes, (count, 1, 4, 4, made.config.elements))


@torch.inference_mode()
def test_on_a_processor_every_pass_is_computed() -> None:
    made = network("class")
    forward, prepared = Replay(made), made.prepare(conditions(made, 2, "cpu"))
    for _ in range(4):
        given = maps(made, 2), torch.rand(2), prepared
        assert torch.equal(forward(*given), made(*given))
    assert forward.replayed == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", ["class", "text"])
@torch.inference_mode()
def test_replayed_passes_are_those_of_the_network(family: str) -> None:
    made = network(family).to("cuda")
    forward = Replay(made)
    for count in (1, 2, 1):  # other samples are prepared anew, and recorded anew
        prepared = made.prepare(conditions(made, count, "cuda"))
        for step in range(4):
            given = maps(made, count).cuda(), torch.rand(count).cuda(), prepared
            torch.testing.assert_close(forward(*given), made(*given), rtol=0, atol=1e-5, msg=f"{count} {step}")
    assert forward.replayed == 9  # all but the first pass of each


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.inference_mode()
def test_two_kinds_of_passes_in_turns_keep_their_recordings() -> None:
    """As the steps of a picture whose guidance counts in a part of them."""
    made = network("class").to("cuda")
    forward = Replay(made)
    kinds = [made.prepare(conditions(made, count, "cuda")) for count in (1, 2)]
    for count in (1, 1, 1, 2, 2, 2, 1, 2):
        given = maps(made, count).cuda(), torch.rand(count).cuda(), kinds[count - 1]
        torch.testing.assert_close(forward(*given), made(*given), rtol=0, atol=1e-5)
    assert forward.replayed == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.inference_mode()
def test_large_passes_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.refine.replay.SMALL", 0.0)
    made = network("class").to("cuda")
    forward, prepared = Replay(made), made.prepare(conditions(made, 1, "cuda"))
    for _ in range(3):
        forward(maps(made, 1).cuda(), torch.rand(1).cuda(), prepared)
    assert forward.replayed == 0
