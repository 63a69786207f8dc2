"""What an engine does to a network in one process: recomputed blocks give the same gradients."""

import torch
from torch import Tensor, nn

from grn.networks.condition import TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.training.engine import Engine, recompute_units


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
    recompute_units(network)
    calls.clear()
    again = gradients(network, loss())
    assert len(calls) == 2 * once > 0
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other)


def test_one_process_is_the_identity() -> None:
    engine = Engine()
    assert (engine.processes, engine.process, engine.first, engine.sharded) == (1, 0, True, False)
    assert engine.largest([3, -1]) == [3, -1]
    assert engine.gather({"a": (1.0, 2)}) == [{"a": (1.0, 2)}]
