"""On a GPU no tensor meets one of the processor: forward passes, drawing and training steps of every network, on one that is made up.

The same work on the processor gives the same numbers, so nothing is left out on the way.
"""

import copy
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.far_device import DEVICE, DevicesMeetError, far_device
from helpers.refinement import ADAPTIVE, case
from helpers.training import changed, class_recipe, make_words, text_recipe, tokenizer_recipe, video_recipe
from torch import Tensor, nn

from grn import hbq
from grn.networks.autoencoder import CausalAutoencoder
from grn.networks.autoencoder_config import TokenizerConfig
from grn.networks.class_to_image import ClassToImage
from grn.networks.generator_config import ClassToImageConfig
from grn.networks.text_to_visual import TextToVisual
from grn.refine import replay
from grn.refine.config import SamplerConfig
from grn.refine.sampler import Sampler
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer
from grn.training import loader
from grn.training.engine import Engine
from grn.training.generator import GeneratorTask
from grn.training.generator_data import CaptionChoice, GeneratorExample
from grn.training.loader import Part, load_parts
from grn.training.loop import Loop
from grn.training.recipe import GeneratorRecipe
from grn.training.task import Slot
from grn.training.tokenizer import TokenizerTask

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to be tested on")
CPU = torch.device("cpu")


def plain_flex(query: Tensor, key: Tensor, value: Tensor, block_mask: Any) -> Tensor:
    """FlexAttention by its mask, which must lie where it looks: only a compiler runs it on a GPU."""
    assert block_mask.kv_indices.device == block_mask.full_kv_num_blocks.device == query.device
    queries, keys = (torch.arange(one.shape[2], device=one.device) for one in (query, key))
    nothing = torch.zeros((), dtype=torch.long, device=query.device)
    seen = block_mask.mask_mod(nothing, nothing, queries[:, None], keys[None])
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    monkeypatch.setattr(replay, "SMALL", 0)  # passes that are recorded run inside the driver
    monkeypatch.setattr(torch, "compile", lambda call, **_: plain_flex)
    with far_device(monkeypatch) as device:
        yield device


# The made-up device


def test_tensors_of_two_devices_are_refused(far: torch.device) -> None:
    here, there = torch.ones(3), torch.ones(3).to(far)
    assert (here.device, there.device, there.is_cuda, (there * 2.0).device) == (CPU, far, True, far)
    for act in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there > 0], lambda: there.numpy()):
        with pytest.raises((DevicesMeetError, TypeError)):
            act()
    with pytest.raises(DevicesMeetError):
        torch.rand(3, device=far, generator=torch.Generator())
    assert torch.equal((there + torch.tensor(1.0)).cpu(), here + 1)  # numbers may
    assert there[torch.tensor([0, 2])].device == far  # and indices
    layer = nn.Linear(3, 2).to(far)
    layer(there).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device == layer(there).device == far


class Forgetful(nn.Module):
    """Adds a tensor of the processor to whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(x.shape[-1])


def test_a_network_that_forgets_its_device_is_found(far: torch.device) -> None:
    network, condition, _, shape = copy.deepcopy(case("class", "ind"))
    network.to(far)
    network.blocks[0].mlp = nn.Sequential(network.blocks[0].mlp, Forgetful())
    with pytest.raises(DevicesMeetError):
        list(Sampler(network, SamplerConfig(steps=1)).run(condition.to(far), None, shape))


# Drawing


SETTINGS: dict[str, dict[str, Any]] = {
    "fixed": {"steps": 3, "guidance": 2.0},
    "adaptive": ADAPTIVE,
    "confidence": {"steps": 3, "selection": "confidence", "temperature": 1.2},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("family", "target"), [("class", "ind"), ("class", "flip"), ("text", "bit"), ("text", "ind"), ("joint text", "bit")]
)
def test_drawing_stays_on_the_device(far: torch.device, family: str, target: str, settings: str) -> None:
    network, condition, null, shape = copy.deepcopy(case(family, target))
    shapes = [shape] * 6
    if family != "class" and settings == "fixed":
        shapes[1] = (1, 4, 2)  # which needs a packed sequence
    found = []
    for device in (CPU, far):
        sampler = Sampler(network.to(device), SamplerConfig(**SETTINGS[settings]))
        drawn = sampler.run(condition.to(device), null.to(device), shapes if len(set(shapes)) > 1 else shape)
        found.append(sorted(drawn, key=lambda one: one.number))
    for one, other in zip(*found, strict=True):
        assert other.indices.device == far
        assert torch.equal(one.indices, other.indices.cpu())


@pytest.mark.parametrize("frames", [1, 5])
@torch.no_grad()
def test_a_tokenizer_stays_on_the_device(far: torch.device, frames: int) -> None:
    torch.manual_seed(0)
    network = CausalAutoencoder(TokenizerConfig.tiny())
    pixels = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    found = []
    for device in (CPU, far):
        tokenizer = Tokenizer(copy.deepcopy(network).to(device), "tiny", "0")
        indices = tokenizer.encode(pixels)
        found.append((indices.cpu(), tokenizer.decode(indices).cpu()))
        features = tokenizer.network.encode(pixels.to(device))
        assert tokenizer.network.decode(hbq.quantize(features, 2)).device == device
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


# Training


def generator_loop(recipe: GeneratorRecipe, folder: Path) -> Loop[Any, Any]:
    torch.manual_seed(0)
    config, text = recipe.network, None
    network: ClassToImage | TextToVisual
    if isinstance(config, ClassToImageConfig):
        network = ClassToImage(config)
    else:
        network, text = TextToVisual(config), StaticWordVectors.load(make_words(folder / "words"))
    task = GeneratorTask(recipe, network, Tokenizer.from_pretrained("tokenizer"), text)
    nn.init.normal_(network.head.weight, std=0.3)
    return Loop(task, recipe, folder / "run", Engine())


GENERATORS: dict[str, dict[str, Any]] = {
    "indices": {},
    "bits to flip": {"network.target": "flip"},
    "masks": {"fill": "mask", "sampling.fill": "mask"},
    "Muon": {"optimizer.name": "muon"},
    "words": {},
    "joint words": {"network.text_attention": "joint"},
    "packed words": {"data.sizes": [[16, 16], [32, 16]]},
    "packed joint words": {"data.sizes": [[16, 16], [32, 16]], "network.text_attention": "joint"},
    "turned words": {"words.turned": 1.0},
}


def stepped(loop: Loop[Any, Any], examples: list[Any], device: torch.device) -> dict[str, Tensor]:
    """The weights after two training steps in two parts, and their average."""
    for _ in range(2):
        parts = []
        for numbers in (range(3), range(3, 4)):
            batch = loop.task.collate([examples[n] for n in numbers]).to(device)
            parts.append(Part(tuple(Slot(0, n, n) for n in numbers), batch))
        totals, _ = loop.train_step(parts)
        assert totals["gradient_norm"][0] > 0
        loop.step += 1
    state = {name: value.cpu() for name, value in loop.task.modules.state_dict().items()}
    assert loop.average is not None
    return state | {f"average.{name}": value.cpu() for name, value in loop.average.state.items()}


def compared(make: Callable[[], Loop[Any, Any]], request: pytest.FixtureRequest) -> None:
    """The same two steps on the processor, then on the device."""
    patch = request.getfixturevalue("monkeypatch")
    patch.setattr("grn.training.muon.fast_type", lambda device: torch.float32)  # on both
    found = []
    for device in (CPU, DEVICE):
        if device != CPU:
            request.getfixturevalue("far")
        torch.manual_seed(1)
        loop = make()
        assert next(loop.task.modules["model"].parameters()).device == device
        examples = loop.task.made_up(4)
        if isinstance(examples[0], GeneratorExample) and not isinstance(examples[0].condition, int):
            examples = [replace(one, condition=CaptionChoice("left", turn=3)) for one in examples]
        found.append(stepped(loop, examples, device))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=3e-4, msg=name)


@pytest.mark.parametrize("which", GENERATORS)
def test_generators_train_on_the_device(place: Path, request: pytest.FixtureRequest, which: str) -> None:
    texts = "words" in which
    made = text_recipe("pictures", "tokenizer", "words") if texts else class_recipe("pictures", "tokenizer")
    recipe = changed(made, GENERATORS[which])
    compared(lambda: generator_loop(recipe, place), request)


@pytest.mark.parametrize("which", ["pictures", "clips"])
def test_tokenizers_train_on_the_device(place: Path, request: pytest.FixtureRequest, which: str) -> None:
    recipe = tokenizer_recipe("pictures") if which == "pictures" else video_recipe("pictures", "clips")
    clips = which == "clips"
    weights = {"losses.perceptual": 0.1 * (not clips), "losses.gan": 0.1, "losses.motion": float(clips)}
    recipe = changed(recipe, {**weights, "optimizer.betas": (0.9, 0.95)})

    def make() -> Loop[Any, Any]:
        torch.manual_seed(0)
        return Loop(TokenizerTask(recipe, CausalAutoencoder(recipe.network)), recipe, place / "run", Engine())

    compared(make, request)


# The way there


@pytest.mark.parametrize("kind", ["pictures", "classes", "maps of two shapes"])
def test_batches_are_pinned_and_copied_without_waiting(place: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "pictures":
        recipe = tokenizer_recipe("pictures")
        task: Any = TokenizerTask(recipe, CausalAutoencoder(recipe.network))
    else:
        task = generator_loop(class_recipe("pictures", "tokenizer"), place).task
    examples = task.made_up(2)
    if kind == "maps of two shapes":
        targets = examples[0].targets[:, :2]
        examples[0] = replace(examples[0], targets=targets)
    batch = task.collate(examples)
    done: list[tuple[str, object]] = []
    to = Tensor.to
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: done.append(("pin", len(tensor))) or tensor)
    monkeypatch.setattr(
        Tensor, "to", lambda tensor, *a, **how: done.append(("to", how.get("non_blocking"))) or to(tensor, *a, **how)
    )
    Part((Slot(0, 0, 0),), batch).pin_memory().batch.to(CPU)
    pinned, copied = (sum(name == which for name, _ in done) for which in ("pin", "to"))
    assert pinned == copied >= 1
    assert all(waits for name, waits in done if name == "to")


def test_a_signal_to_all_processes_leaves_the_workers_to_the_run(place: Path) -> None:
    recipe = changed(tokenizer_recipe("pictures"), {"data.workers": 1, "run.steps": 6})
    task = TokenizerTask(recipe, CausalAutoencoder(recipe.network))
    parts = load_parts(task, recipe.run, recipe.data, 0, CPU)
    next(parts)
    for worker in multiprocessing.active_children():
        worker.terminate()
    assert len(list(parts)) == 5


def test_the_loader_pins_where_there_is_a_gpu(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tokenizer_recipe("pictures")
    task = TokenizerTask(recipe, CausalAutoencoder(recipe.network))
    asked: list[bool] = []
    monkeypatch.setattr(loader, "DataLoader", lambda *_, pin_memory, **__: asked.append(pin_memory) or [])
    for device in (CPU, DEVICE):
        assert list(load_parts(task, recipe.run, recipe.data, 0, device)) == []
    assert asked == [False, True]
