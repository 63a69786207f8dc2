"""Networks of which only the block in use lies on the device: the same results, from little memory."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from grn.errors import ModelMismatchError, UsageError
from grn.generator import Generator
from grn.models.folder import ModelFolder, save_model
from grn.networks.condition import ClassCondition, TextCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.pipeline import Pipeline


def _logits(network: Any) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    maps = torch.randint(network.config.classes, (2, 1, 4, 4, network.config.elements), generator=random)
    condition: Any = ClassCondition(torch.tensor([1, 2]))
    if isinstance(network, TextToVisual):
        words = torch.randn(2, 3, network.config.text_width, generator=random)
        condition = TextCondition(words, torch.tensor([[True, True, True], [True, False, False]]))
    with torch.inference_mode():
        return network(maps, torch.tensor([0.2, 0.8]), network.prepare(condition))


def _joint(words: Path, folder: Path) -> Path:
    """The model of words with joint text attention, its weights in shards."""
    shutil.copytree(words, folder)
    model = ModelFolder.open(folder)
    network, _ = model.load_network("cpu", None)
    sizes = TextToVisualConfig(**{**model.config.network.model_dump(), "text_attention": "joint"})
    config = model.config.model_copy(update={"network": sizes})
    save_model(folder, config, network.state_dict(), torch.float32, shard_bytes=20_000)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["classes", "words", "joint words in shards"])
def test_an_offloaded_network_computes_the_same(
    family: str, dtype: torch.dtype, words: Path, classes: Path, tmp_path: Path
) -> None:
    folder = classes if family == "classes" else words if family == "words" else _joint(words, tmp_path / "joint")
    whole, offloaded = (Generator.load(folder, "cpu", dtype, offload=offload) for offload in (False, True))
    assert torch.equal(_logits(offloaded.network), _logits(whole.network))
    assert (offloaded.device, offloaded.dtype) == (torch.device("cpu"), dtype)


def test_a_block_has_its_weights_only_while_it_computes(words: Path) -> None:
    network = Generator.load(words, offload=True).network
    here: list[list[bool]] = []

    def note(*_: object) -> None:
        here.append([not any(p.is_meta for p in block.parameters()) for block in network.blocks])

    for block in network.blocks:
        block.mlp.register_forward_pre_hook(note)  # type: ignore[union-attr, operator]
    _logits(network)
    assert here == [[True, False], [False, True]] * 2  # the text's pass, then the picture's
    assert all(p.is_meta for p in network.blocks.parameters())
    assert not any(p.is_meta for name, p in network.named_parameters() if not name.startswith("blocks."))


def test_an_offloaded_pipeline_draws_the_same_and_only_draws(words: Path, tmp_path: Path) -> None:
    pipelines = [Pipeline.from_pretrained(words), Pipeline.from_pretrained(words, at_once="block")]
    one, other = (pipeline("a red cat", negative_prompt="dog").frames for pipeline in pipelines)
    assert (one == other).all()
    for use in (lambda: pipelines[1].to(dtype=torch.bfloat16), lambda: pipelines[1].save_pretrained(tmp_path / "x")):
        with pytest.raises(UsageError, match="tiny-words: is offloaded, so it can only be drawn from"):
            use()


def test_what_does_not_fit_is_refused_though_it_is_not_read(words: Path, tmp_path: Path) -> None:
    shutil.copytree(words, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["network"]["depth"] = 3
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelMismatchError, match=r"missing: blocks\.2\."):
        Generator.load(tmp_path / "m", offload=True)


def test_weights_are_read_when_they_are_needed(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = ModelFolder.load_weights
    monkeypatch.setattr(
        ModelFolder, "load_weights", lambda self, *rest: read.append(self.config.name) or load(self, *rest)
    )
    generator = Generator.load(words, dtype=torch.bfloat16, later=True)
    assert (read, generator.device, generator.dtype) == ([], torch.device("cpu"), torch.bfloat16)
    assert isinstance(generator.config, TextToVisualConfig)
    assert isinstance(generator.network, nn.Module)
    assert generator.network is generator.network
    assert (read, generator.dtype) == (["tiny-words"], torch.bfloat16)
