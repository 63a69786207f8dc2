"""What an engine does to a network in one process: recomputed blocks give the same gradients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from grn.networks.class_to_image import ClassToImage
from grn.networks.compiling import compile_blocks, recompute_blocks
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.training.engine import Engine, shard


def gradients(network: nn.Module, loss: Tensor) -> list[Tensor]:
    network.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def counted(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_recomputed_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = TextToVisual(TextToVisualConfig.tiny())
    nn.init.normal_(network.head.weight, std=0.5)
    maps, ratio = torch.randint(2, (2, 1, 4, 4, 8)), torch.rand(2)
    condition = TextCondition(torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool))

    def loss() -> Tensor:
        return network(maps, ratio, network.prepare(condition)).square().mean()

    calls = counted(network.blocks[0].attention_norm)  # type: ignore[arg-type, union-attr]
    plain, once = gradients(network, loss()), len(calls)
    recompute_blocks(network, compiled=False)
    calls.clear()
    again = gradients(network, loss())
    assert len(calls) == 2 * once > 0
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A process group of this one."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "recompute", "backend"),
    [
        ("class", False, "aot_eager"),
        ("class", True, "aot_eager"),
        ("class", True, "inductor"),
        ("text", False, "aot_eager"),
        ("text", True, "aot_eager"),
    ],
)
def test_compiled_blocks_of_a_sharded_network_give_the_same_gradients(
    alone: DeviceMesh, family: str, recompute: bool, backend: str
) -> None:
    """Sharded first, and compiled at the first step, as in a run."""
    torch.compiler.reset()
    torch.manual_seed(0)
    network: Any = (
        TextToVisual(TextToVisualConfig.tiny()) if family == "text" else ClassToImage(ClassToImageConfig.tiny())
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    maps, ratio = torch.randint(2, (3, 1, 4, 4, network.config.elements)), torch.rand(3)
    words = TextCondition(torch.randn(3, 3, 6), torch.ones(3, 3, dtype=torch.bool))
    condition = words if family == "text" else ClassCondition(torch.tensor([0, 1, 2]))

    def losses() -> Iterator[Tensor]:
        """Of a batch of one shape, and of packed ones of two. Cleared before: afterwards, sharded gradients are out of sight."""
        network.zero_grad()
        yield network(maps, ratio, network.prepare(condition)).square().mean()
        if family == "text":
            network.zero_grad()
            packed = network.packed([maps[0], maps[1, :, :2], maps[2]], ratio, network.prepare(condition))
            yield sum((logits.square().mean() for logits in packed), torch.zeros(()))

    plain = [gradients(network, loss) for loss in losses()]
    shard(network, alone)
    if recompute:
        recompute_blocks(network, compiled=True)
    compile_blocks(network, backend)
    for one, other in zip(plain, [gradients(network, loss) for loss in losses()], strict=True):
        for gradient, compiled in zip(one, other, strict=True):
            torch.testing.assert_close(gradient, compiled.full_tensor() if isinstance(compiled, DTensor) else compiled)


def test_one_process_is_the_identity() -> None:
    engine = Engine()
    assert (engine.processes, engine.process, engine.first, engine.sharded) == (1, 0, True, False)
    assert engine.largest([3, -1]) == [3, -1]
    assert engine.gather({"a": (1.0, 2)}) == [{"a": (1.0, 2)}]
