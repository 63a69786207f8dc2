"""The motion loss: of what changes, whichever way, and not of patterns that come and go. Losses and their networks compile whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from grn.errors import ModelMismatchError
from grn.training.losses import LpipsLoss, PatchDiscriminator, PatchGan, distances, motion_loss


def still(*shape: int) -> torch.Tensor:
    return torch.zeros(1, 3, *shape)


def test_motion_counts_whichever_way_it_goes() -> None:
    clip = still(3, 64, 64)
    clip[:, :, 1, :, :32] = 1
    missed = float(motion_loss(still(3, 64, 64), clip))
    # Half of the patches change by 1, and so the frame by a half; that they move for sure counts a quarter, before it is squared.
    assert missed == pytest.approx((0.5 + 0.5**2) * (1 + 0.25**2), rel=0.1)
    assert motion_loss(-clip, clip) == 0
    # As much motion, but elsewhere: wrong in twice as many patches, right in the frame.
    assert float(motion_loss(clip.flip(4), clip)) == pytest.approx(1 + 0.25**2, rel=0.1)


def test_motion_of_unknown_place_comes_out_right_in_the_mean() -> None:
    """Of three patches one moves, and nobody knows which: least where each moves a third as much, not where none does."""
    candidates = []
    for amount in (0.0, 0.2, 1 / 3, 0.5):
        guess = still(2, 64, 64)
        guess[:, :, 1] = amount
        losses = []
        for third in range(3):
            moves = still(2, 64, 64)
            moves[:, :, 1, :, 21 * third : 21 * (third + 1)] = 1
            losses.append(float(motion_loss(guess, moves)))
        candidates.append(sum(losses))
    assert min(candidates) == candidates[2]


def test_what_flickers_everywhere_is_not_what_moves_somewhere() -> None:
    moves, flickers = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1, :16, :16] = 1
    flickers[:, :, 1] = 1 / 16  # the same amount
    missed = float(motion_loss(still(2, 64, 64), moves))
    assert float(motion_loss(flickers, moves)) > missed
    # In the same patch, it is better than nothing.
    moves, flickers = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1, 8:12, 8:12] = 1
    flickers[:, :, 1, 6:14, 6:14] = 0.25
    assert 0 < float(motion_loss(flickers, moves)) < float(motion_loss(still(2, 64, 64), moves))


def test_a_pattern_that_comes_and_goes_is_not_motion() -> None:
    moves, pattern = still(2, 64, 64), still(2, 64, 64)
    moves[:, :, 1] = 0.4
    pattern[:, :, 1] = torch.tensor([0.0, 0.2, 0.0, -0.2]).repeat(16)
    half, right = float(motion_loss(moves / 2, moves)), float(motion_loss(moves, moves))
    assert float(motion_loss(moves / 2 + pattern, moves)) > half > right == 0
    assert float(motion_loss(moves + pattern, moves)) > 0.01


def test_blur_is_no_rougher_than_what_it_blurs() -> None:
    edge, blurred = still(2, 64, 64), still(2, 64, 64)
    edge[..., 28:] = 1
    blurred[..., 26:] = 0.5
    blurred[..., 30:] = 1
    assert motion_loss(blurred, edge) == pytest.approx(0, abs=1e-6)


def test_motion_counts_up_to_every_edge() -> None:
    for turns in range(4):
        moves = still(2, 64, 64)
        moves[:, :, 1, :8] = 1
        moves = moves.rot90(turns, (3, 4))
        assert float(motion_loss(torch.zeros_like(moves), moves)) > 0.1


def test_lpips_is_the_users_network(tmp_path: Path) -> None:
    class Distances(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return (first - second).square().flatten(1).mean(1)

    class OnePicture(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return picture

    for name, module in {"lpips.pt": Distances(), "other.pt": OnePicture()}.items():
        torch.jit.script(module).save(tmp_path / name)
    pixels = torch.zeros(2, 3, 8, 8)
    reconstruction = torch.full_like(pixels, 0.5, requires_grad=True)
    loss = LpipsLoss(tmp_path / "lpips.pt")(reconstruction, pixels)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.25)
    assert reconstruction.grad is not None
    with pytest.raises(ModelMismatchError, match="its forward takes picture"):
        LpipsLoss(tmp_path / "other.pt")


def test_the_published_discriminator_judges_patches_of_70_pixels() -> None:
    judge = PatchGan().eval()
    pixels = torch.zeros(1, 3, 128, 128, requires_grad=True)
    verdict = judge(pixels)
    assert verdict.shape == (1, 1, 14, 14)
    verdict[0, 0, 7, 7].backward()
    assert pixels.grad is not None
    seen = pixels.grad[0].abs().sum(0).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [70, 70]
    assert sum(p.numel() for p in judge.parameters()) == pytest.approx(2.77e6, rel=0.01)


# Compiled


def values(call: Callable[..., Any], clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """What a loss says of a reconstruction and its clip, and its gradient."""
    reconstruction = clips[0].clone().requires_grad_()
    found = call(reconstruction, clips[1])
    parts = list(found) if isinstance(found, tuple) else [found]
    return [*parts, *torch.autograd.grad(sum(part.sum() for part in parts), reconstruction)]


@pytest.mark.parametrize("loss", [distances, motion_loss], ids=lambda loss: loss.__name__)
def test_a_compiled_loss_is_the_plain_one_in_one_graph_of_any_size(loss: Callable[..., Any]) -> None:
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(loss, backend=counted, dynamic=True, fullgraph=True)
    for shape in [(2, 3, 5, 20, 28), (4, 3, 9, 18, 12)]:
        clips = [torch.rand(shape) * 2 - 1 for _ in range(2)]
        torch.testing.assert_close(values(compiled, clips), values(loss, clips))
    assert len(graphs) == 1


@pytest.mark.parametrize("network", [PatchGan, PatchDiscriminator], ids=lambda one: one.__name__)
def test_a_discriminator_is_one_graph(network: type[nn.Module]) -> None:
    made, pictures = network().eval(), torch.rand(2, 3, 36, 44) * 2 - 1
    with torch.no_grad():
        found = torch.compile(made, backend="eager", fullgraph=True)(pictures)
        torch.testing.assert_close(found, made(pictures), rtol=1e-4, atol=1e-4)
