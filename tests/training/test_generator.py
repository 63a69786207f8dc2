"""Algorithm 2 and equation 7; targets, classes and captions; clips and sizes in one batch."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.training import changed, class_recipe, figures, run, text_recipe
from PIL import Image
from safetensors.torch import load_file

from grn.errors import ConfigError, ModelMismatchError
from grn.media import VideoWriter, write_image
from grn.models.config import MOST_FRAMES
from grn.networks.class_to_image import ClassToImage
from grn.networks.condition import ClassCondition
from grn.networks.generator_config import TextToVisualConfig
from grn.networks.text_to_visual import TextToVisual
from grn.pipeline import Pipeline
from grn.text.learnt import read_words
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer
from grn.training.generator import GeneratorTask, refinement_loss, surprise
from grn.training.generator_data import corrupt
from grn.training.recipe import GeneratorRecipe, RatioConfig
from grn.training.task import Slot

CLIPS: dict[str, Any] = {
    "tokenizer": "joint",
    "data.sources": [{"path": "clips", "clips": True}],
    "data.frames": 5,
    "data.fps": 8.0,
}
MIXED = [{"path": "clips", "clips": True}, {"path": "pictures"}]


def text(values: dict[str, Any]) -> GeneratorRecipe:
    return changed(text_recipe("pictures", "tokenizer", "words"), values)


def task(recipe: GeneratorRecipe, certain: bool = False) -> GeneratorTask:
    """certain: of a network that does not predict every class alike."""
    torch.manual_seed(0)
    text, network = None, None
    if isinstance(recipe.network, TextToVisualConfig):
        network = TextToVisual(recipe.network)
        assert recipe.text_encoder is not None
        text = StaticWordVectors.load(Path(recipe.text_encoder))
    else:
        network = ClassToImage(recipe.network)
    if certain:
        torch.nn.init.normal_(network.head.weight, std=0.5)
    return GeneratorTask(recipe, network, Tokenizer.from_pretrained(recipe.tokenizer), text)


# The training step


MASKED = {"fill": "mask", "sampling.fill": "mask"}


@pytest.mark.parametrize(
    ("target", "variant"), [("ind", {}), ("bit", {}), ("flip", {}), ("ind", MASKED), ("bit", MASKED)]
)
def test_a_step_is_algorithm_2(place: Path, target: str, variant: dict[str, str]) -> None:
    """Against the lines of algorithm 2, one sample after the other; with the mask, what is not kept shows nothing."""
    recipe = class_recipe("pictures", "tokenizer")
    made = task(changed(recipe, {"network.target": target, **variant}), certain=True)
    examples = [made.read(Slot(0, place, number)) for place, number in enumerate((3, 0, 5))]
    (loss,) = made.losses(made.collate(examples), 0)
    network: Any = made.modules["model"]
    losses = []
    for example in examples:
        y, kept, random = example.targets.long(), example.corruption.selection, example.corruption.random.long()
        state = kept * y + ~kept * (-1 if variant else random)
        wanted = y if target != "flip" else (state != y).long()
        assert isinstance(example.condition, int)
        prepared = network.prepare(ClassCondition(torch.tensor([example.condition])))
        logits = network(state[None], torch.tensor([example.corruption.ratio]), prepared)
        losses.append(float(-logits.detach().log_softmax(-1).gather(-1, wanted[None, ..., None]).mean()))
    assert float(loss.value.detach()) == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert loss.samples is not None
    assert loss.samples.tolist() == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(("drawn", "share"), [("uniform", 0.5), ("logit-normal", 0.84)])
def test_ratios_are_drawn_as_the_recipe_says(drawn: Any, share: float) -> None:
    """share: of the ratios, those below a half: Phi(1) for the sigmoid of N(-0.8, 0.8)."""
    rng = np.random.default_rng(0)
    config = RatioConfig(drawn=drawn)
    ratios = np.array([corrupt((1, 2, 2, 1), 4, config, rng).ratio for _ in range(4000)])
    assert np.mean(ratios < 0.5) == pytest.approx(share, abs=0.03)
    if drawn == "uniform":
        assert np.histogram(ratios, 10, (0, 1))[0].tolist() == pytest.approx([400] * 10, abs=80)


@pytest.mark.parametrize("classes", [2, 4])
def test_equation_7_is_of_each_sample(classes: int) -> None:
    """Samples count alike, whatever their sizes: one map or many, in one tensor or not."""
    torch.manual_seed(0)
    shapes = [(1, 2, 2, 3), (1, 4, 2, 3), (2, 2, 2, 3)]
    logits = [torch.randn(*shape, classes) for shape in shapes]
    targets = [torch.randint(classes, shape) for shape in shapes]
    plain = [F.cross_entropy(one.flatten(0, -2), y.flatten()) for one, y in zip(logits, targets, strict=True)]
    torch.testing.assert_close(refinement_loss(tuple(logits), tuple(targets)), torch.stack(plain))
    together = refinement_loss(torch.stack(logits[:1] * 2), torch.stack(targets[:1] * 2))
    torch.testing.assert_close(together, torch.stack(plain[:1] * 2))


@pytest.mark.parametrize("classes", [2, 4])
def test_the_loss_is_one_graph_of_any_size(classes: int) -> None:
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(surprise, backend=counted, dynamic=True, fullgraph=True)
    for shape in [(3, 8, 5, 7, 6), (5, 3, 7, 9, 8)]:
        logits, targets = torch.randn(*shape, classes, requires_grad=True), torch.randint(classes, shape)
        losses = [refinement_loss(logits, targets, way) for way in (surprise, compiled)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), logits)[0] for loss in losses))
    assert len(graphs) == 1


@pytest.mark.parametrize("wanted", ["on", "off"])
def test_the_loss_is_compiled_where_the_network_is(
    monkeypatch: pytest.MonkeyPatch, clips_place: Path, wanted: str
) -> None:
    named: list[str] = []

    def watched(model: Any, **options: Any) -> Any:
        named.append(getattr(model, "__name__", ""))
        return model  # compiling takes long

    monkeypatch.setattr(torch, "compile", watched)
    made = task(text(CLIPS | {"run.compile": wanted}))
    (loss,) = made.losses(made.collate([made.read(Slot(0, place, 0)) for place in (0, 1)]), 0)
    assert bool(loss.value.isfinite())
    assert ("surprise" in named) == (wanted == "on")


@pytest.mark.parametrize("accumulate", [2, 4])
def test_two_shapes_give_the_same_gradient_in_one_part_or_many(clips_place: Path, accumulate: int) -> None:
    recipe = text(CLIPS | {"data.sources": MIXED, "optimizer.clip": 1e9})
    made = task(recipe, certain=True)
    examples = [made.read(Slot(0, place, number)) for place, number in enumerate((0, 5, 2, 7))]
    assert {tuple(one.targets.shape[:3]) for one in examples} == {(3, 4, 4), (1, 4, 4)}
    network = made.modules["model"]
    gradients, values = [], []
    for parts in (1, accumulate):
        network.zero_grad()
        size, value = len(examples) // parts, 0.0
        for start in range(0, len(examples), size):
            (loss,) = made.losses(made.collate(examples[start : start + size]), 0)
            (loss.value / parts).backward()
            value += float(loss.value.detach()) / parts
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        values.append(value)
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_accuracy_and_loss_are_told_by_selection_ratio(place: Path) -> None:
    made = task(class_recipe("pictures", "tokenizer"), certain=True)
    examples = [made.read(Slot(step, 0, 0)) for step in range(40)]
    (loss,) = made.losses(made.collate(examples), 0)
    by_ratio = {name: value for name, value in loss.figures.items() if name.startswith("loss/")}
    counts = {name: int(value.isfinite().sum()) for name, value in by_ratio.items()}
    ratios = [one.corruption.ratio for one in examples]
    assert counts == {f"loss/0.{i}": sum(i / 10 <= ratio < (i + 1) / 10 for ratio in ratios) for i in range(10)}
    total = sum(float(value.nansum()) for value in by_ratio.values())
    assert total / 40 == pytest.approx(float(loss.value.detach()), rel=1e-5)
    assert 0 < float(loss.figures["accuracy"].mean()) < 1
    rows = run(class_recipe("pictures", "tokenizer"), Path("a"))
    assert {name for row in rows for name in row if name.startswith("accuracy/")} <= {
        f"accuracy/0.{i}" for i in range(10)
    }


# What is trained


VARIANTS: dict[str, dict[str, Any]] = {
    **{target: {"network.target": target} for target in ("ind", "bit", "flip")},
    "mask": MASKED | {"sampling.selection": "confidence"},
    "confidence": {"sampling.selection": "confidence"},
    "uniform": {"ratio.drawn": "uniform"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_the_ablations_trains_and_its_folder_draws(captioned: Path, name: str) -> None:
    run(text({"run.steps": 2, **VARIANTS[name]}), Path("g"))
    pipeline = Pipeline.from_pretrained(Path("g/final"))
    (result,) = pipeline(["left"])
    assert result.frames.shape == (1, 16, 16, 3)
    assert result.steps == 3
    assert pipeline.learnt == {"left", "right"}


def test_a_generator_has_its_own_number_of_rounds(captioned: Path) -> None:
    made = task(text({"network.rounds": 3}))
    assert made.tokenizer.config.rounds == 2
    pixels = torch.zeros(1, 3, 1, 16, 16)
    write_image(Path("pictures/left/1.png"), np.full((16, 16, 3), 128, np.uint8))
    targets = task(text({"network.rounds": 3})).read(Slot(0, 0, 0)).targets
    assert torch.equal(targets.long(), made.tokenizer.encode(pixels + 128 / 127.5 - 1, 3)[0])
    run(text({"network.rounds": 3}), Path("g"))
    (result,) = Pipeline.from_pretrained(Path("g/final"))(["left"])
    assert result.frames.shape == (1, 16, 16, 3)


def test_a_class_model_trains_from_class_folders(place: Path) -> None:
    rows = run(changed(class_recipe("pictures", "tokenizer"), {"run.steps": 2}), Path("g"))
    assert rows[0]["loss"] == pytest.approx(math.log(4), abs=0.02)  # the head starts at zero: every class alike
    assert Path("g/final/model.safetensors").exists()
    assert Path("g/final/README.md").read_text().startswith("# ")
    assert Path("g/samples/00000002.png").exists()
    folders = tuple(sorted(folder.name for folder in Path("pictures").iterdir()))
    assert Pipeline.from_pretrained(Path("g/final")).class_names == folders


def test_turned_words_change_what_is_learnt_and_resume_exactly(captioned: Path) -> None:
    plain = run(text({}), Path("a"))
    turned = run(text({"words.turned": 0.5}), Path("b"))
    assert figures(turned) != figures(plain)
    run(text({"words.turned": 0.5, "run.steps": 3}), Path("c"))
    resumed = run(text({"words.turned": 0.5}), Path("c"))
    assert [row["step"] for row in resumed] == [4, 5, 6]
    assert figures(turned) != figures(run(text({"words.turned": 0.5, "words.degrees": 10.0}), Path("d")))


# Clips and sizes


def test_a_generator_trains_on_clips_and_its_folder_draws_them(clips_place: Path) -> None:
    rows = run(text(CLIPS), Path("g"))
    assert rows[-1]["loss"] < 1.6
    assert Path("g/samples/00000006.png").exists()
    pipeline = Pipeline.from_pretrained(Path("g/final"))
    assert (pipeline.frames, pipeline.fps, pipeline.size) == (5, 8.0, 16)
    (result,) = pipeline(["left"])
    assert result.frames.shape == (5, 16, 16, 3)


@pytest.mark.parametrize("change", [{"data.sources": MIXED}, {"data.sizes": [[16, 16], [24, 16], [16, 24]]}])
def test_maps_of_different_shapes_train_in_one_batch(clips_place: Path, change: dict[str, Any]) -> None:
    with VideoWriter(Path("clips/0.gif"), 20, 40, 10) as video:
        for t in range(5):
            video.write(np.full((40, 20, 3), 40 * t, np.uint8))
    recipe = text(CLIPS | change)
    straight = run(recipe, Path("a"))
    run(changed(recipe, {"run.steps": 3, "run.save_every": 3}), Path("b"))
    resumed = run(recipe, Path("b"))
    assert [row["step"] for row in resumed] == [4, 5, 6]
    assert len(straight) == 6


def test_a_model_of_both_draws_pictures_first(clips_place: Path) -> None:
    run(text(CLIPS | {"data.sources": MIXED, "stills": True}), Path("g"))
    with Image.open("g/samples/00000006.png") as sheet:
        assert sheet.size == (142, 34)  # two rows of eight pictures, and no row of frames for each
    pipeline = Pipeline.from_pretrained(Path("g/final"))
    assert (pipeline.frames, pipeline.clips) == (1, (5, 8.0, MOST_FRAMES))


def test_words_that_were_learnt_before_are_kept(clips_place: Path) -> None:
    run(text(CLIPS), Path("g"))
    seen = read_words(Path("g/final"))
    assert seen
    (Path("g/final") / "words.txt").write_text("zeppelin\n")
    run(text(CLIPS | {"run.init": "g/final"}), Path("h"))
    assert read_words(Path("h/final")) == seen | {"zeppelin"}


def test_some_steps_see_the_beginnings_of_clips(clips_place: Path) -> None:
    made = task(text(CLIPS | {"data.frames": 7, "data.fps": 10.0, "cut": 0.5}))
    lengths = []
    for step in range(200):
        shapes = {made.read(Slot(step, i, i)).targets.shape for i in range(2)}
        assert len(shapes) == 1
        lengths.append(shapes.pop()[0])
    assert lengths.count(4) == pytest.approx(100, abs=20)
    assert min(lengths.count(length) for length in (1, 2, 3)) > 20
    whole, cut = (made.read(Slot(lengths.index(length), 0, 0)).targets for length in (4, 2))
    assert torch.equal(cut, whole[:2])


# What does not go together


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"data.frames": 4},
            ModelMismatchError,
            "data.frames 4 is not 1 + a multiple of the tokenizer's time stride 2",
        ),
        ({"data.sizes": [[16, 17]]}, ModelMismatchError, "data.sizes 17 is not a multiple of"),
        ({"text_encoder": None}, ConfigError, "text_encoder is missing"),
        ({"network.channels": 5}, ModelMismatchError, "for 5 channels and tokenizer t makes 4"),
        ({"network.text_width": 7}, ModelMismatchError, "width 6 and network.text_width is 7"),
        ({"data.size": 18}, ModelMismatchError, "not a multiple of 4"),
        ({"network.patch": 3}, ModelMismatchError, "not a multiple of 12"),
    ],
)
def test_parts_that_do_not_fit_are_refused(clips_place: Path, values: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run(text(CLIPS | values), Path("x"))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"data.size": 20}, ModelMismatchError, "data.size 20 is not the 16"),
        ({"text_encoder": Path("words")}, ConfigError, "of no use"),
    ],
)
def test_class_models_fit_too(place: Path, values: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run(changed(class_recipe("pictures", "tokenizer"), values), Path("x"))


def test_weights_are_those_of_the_average(place: Path) -> None:
    run(class_recipe("pictures", "tokenizer"), Path("a"))
    average = load_file(Path("a/step-00000006/ema.safetensors"))
    final = load_file(Path("a/final/model.safetensors"))
    assert all(torch.equal(final[name], average[name].half()) for name in final)
