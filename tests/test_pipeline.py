"""Prompts and classes -> pictures, with tiny generators."""

import json
import os
import shutil
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.generators import SIDE, text_model
from torch.nn import functional

from grn.errors import BadInputError, ConfigError, ModelMismatchError, UsageError
from grn.models.folder import ModelFolder
from grn.pipeline import Pipeline
from grn.refine.step import StepView
from grn.result import Result


@pytest.fixture(scope="module")
def drawing(words: Path) -> Pipeline:
    """From words."""
    return Pipeline.from_pretrained(words)


@pytest.fixture(scope="module")
def classing(classes: Path) -> Pipeline:
    """From classes."""
    return Pipeline.from_pretrained(classes)


def _frames(pipeline: Pipeline, prompts: Any, **options: Any) -> list[bytes]:
    return [result.frames.tobytes() for result in pipeline(prompts, **options)]


PROMPTS = ["cat", "red dog in a green house", "", "dog", "green cat", "house", "red", "red cat", "dog house", "green"]


def test_a_prompt_is_a_result_and_a_list_is_a_list(drawing: Pipeline) -> None:
    cat = drawing("cat", seed=7)
    assert isinstance(cat, Result)
    both = drawing(["cat", "dog"], seed=7)
    assert [result.prompt for result in both] == ["cat", "dog"]
    assert np.array_equal(both[0].frames, cat.frames)
    stream = drawing.stream(["cat", "dog"], seed=7)
    assert np.array_equal(next(stream).frames, cat.frames)
    assert len(list(stream)) == 1


def test_results_say_what_they_are(drawing: Pipeline, words: Path) -> None:
    cat, dog = drawing(["cat", "dog"], seed=7, guidance=3.0)
    assert cat.frames.dtype == np.uint8
    assert cat.frames.shape == (1, SIDE, SIDE, 3)
    assert (cat.prompt, cat.seed, cat.steps, cat.entropy) == ("cat", 7, 3, None)
    assert (dog.prompt, dog.seed) == ("dog", 7)
    assert (cat.fps, cat.image.size) == (None, (SIDE, SIDE))
    assert {"model": str(words), "dtype": "float32", "device": "cpu"}.items() <= cat.record.items()
    assert cat.record["sampling"] == drawing.settings(guidance=3.0).model_dump(mode="json")
    long = drawing("cat", steps=6)
    assert long.steps == 6
    assert long.entropy is not None
    assert 0 < long.entropy < 1


def test_clips_have_a_rate(clips_model: Path) -> None:
    clip = Pipeline.from_pretrained(clips_model)("cat")
    assert (len(clip.images), clip.fps) == (9, 4)
    still = Pipeline.from_pretrained(clips_model)("cat", size=(1, SIDE, SIDE))
    assert (len(still.images), still.fps) == (1, None)


def test_a_class_is_drawn(classing: Pipeline) -> None:
    results = list(classing([4, 0, 4], seed=[0, 0, 0]))
    assert [result.prompt for result in results] == [4, 0, 4]
    pictures = [result.frames.tobytes() for result in results]
    assert pictures[0] == pictures[2] != pictures[1]


def test_prompts_and_seeds_decide_the_picture(drawing: Pipeline) -> None:
    same = _frames(drawing, ["cat"], seed=1)
    assert _frames(drawing, ["cat"], seed=1) == same
    assert _frames(drawing, ["cat"], seed=2) != same
    assert _frames(drawing, ["dog"], seed=1) != same


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_picture_is_the_same_alone_or_in_a_batch(drawing: Pipeline, batch_size: int) -> None:
    alone = [_frames(drawing, [p], seed=[5 + n])[0] for n, p in enumerate(PROMPTS)]
    assert _frames(drawing, PROMPTS, seed=range(5, 5 + len(PROMPTS)), batch_size=batch_size) == alone
    backwards = [5 + n for n in reversed(range(len(PROMPTS)))]
    assert _frames(drawing, PROMPTS[::-1], seed=backwards, batch_size=batch_size) == alone[::-1]


def test_pictures_that_finish_early_keep_their_place(drawing: Pipeline) -> None:
    results = list(drawing(PROMPTS, adaptive=True, tmin=6, tmax=40, k=1000.0, b=-473.0, batch_size=4))
    assert [(result.prompt, result.seed) for result in results] == [(p, 0) for p in PROMPTS]
    steps = [result.steps for result in results]
    assert steps != sorted(steps)
    for number, result in enumerate(results[:3]):
        (alone,) = drawing([PROMPTS[number]], adaptive=True, tmin=6, tmax=40, k=1000.0, b=-473.0)
        assert (alone.frames.tobytes(), alone.steps) == (result.frames.tobytes(), result.steps)


def test_no_prompts_no_pictures(drawing: Pipeline, classing: Pipeline) -> None:
    assert list(drawing([])) == list(classing([])) == []


def test_a_seed_for_each_prompt(drawing: Pipeline) -> None:
    """The n-th picture of a prompt has seed + n, whatever else is drawn beside it."""
    found = list(drawing(["cat", "dog", "cat", "cat", "dog"], seed=7))
    assert [result.seed for result in found] == [7, 7, 8, 9, 8]
    assert len({result.frames.tobytes() for result in found}) == 5
    assert _frames(drawing, ["cat"], seed=8) == [found[2].frames.tobytes()]
    with pytest.raises(UsageError, match="1 seeds for 2 pictures"):
        drawing(["cat", "dog"], seed=[0])


def test_other_sizes(drawing: Pipeline) -> None:
    (result,) = drawing(["cat"], size=(32, 96))
    assert result.frames.shape == (1, 32, 96, 3)


def test_a_size_for_each_prompt(drawing: Pipeline) -> None:
    sizes = [(32, 96), (SIDE, SIDE), (96, 32), (32, 96)]
    results = list(drawing(PROMPTS[:4], size=sizes, seed=1))
    assert [result.frames.shape[1:3] for result in results] == sizes
    for number, (prompt, size) in enumerate(zip(PROMPTS, sizes, strict=False)):
        (alone,) = drawing([prompt], size=size, seed=1)
        assert np.mean(alone.frames != results[number].frames) < 0.5  # packed sums round differently: a draw may differ
    with pytest.raises(UsageError, match="1 sizes for 2 pictures"):
        drawing(["cat", "dog"], size=[(32, 32)])


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 64), "size 64x40: tiny-words draws in steps of 16 pixels; use multiples of 16"),
        ((0, 64), "size 64x0: tiny-words"),
        ((-16, 64), "size 64x-16: tiny-words"),
    ],
)
def test_sizes_that_cannot_be_drawn(drawing: Pipeline, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        drawing(["cat"], size=size)


def test_class_models_say_why_they_have_one_size(classing: Pipeline) -> None:
    assert classing(0, size=(SIDE, SIDE)).frames.shape == (1, SIDE, SIDE, 3)
    with pytest.raises(UsageError, match="size 32x32: tiny-classes has fixed positions for 64x64; text models"):
        classing([0], size=(32, 32))


@pytest.mark.parametrize("label", [5, -1, "cat", 1.5])
def test_classes_that_are_none(classing: Pipeline, label: Any) -> None:
    with pytest.raises(UsageError, match=r"is no class of tiny-classes \(expected 0 to 4\)"):
        classing([0, label])


def test_classes_have_names(classes: Path, tmp_path: Path) -> None:
    names = ["dress", "hat", "pants", "shirt", "shoes"]
    pipeline = Pipeline.from_pretrained(_changed(classes, tmp_path / "a", class_names=names))
    assert pipeline.class_names == tuple(names)
    shoes = pipeline("shoes")
    assert shoes.prompt == "shoes"
    assert np.array_equal(shoes.frames, pipeline(4).frames)
    with pytest.raises(
        UsageError, match="'shoe' is no class of tiny-classes \\(expected 0 to 4, or a name such as shoes"
    ):
        pipeline("shoe")
    with pytest.raises(ConfigError, match="class_names: expected 5, found 2"):
        Pipeline.from_pretrained(_changed(classes, tmp_path / "b", class_names=names[:2]))


def test_words_that_are_none(drawing: Pipeline) -> None:
    with pytest.raises(UsageError, match="tiny-words draws from words, not from class numbers"):
        drawing([3])
    with pytest.raises(BadInputError, match="holds no word that this model can read"):
        drawing(["cat", "???"])


def test_negative_prompts(drawing: Pipeline, classing: Pipeline) -> None:
    assert _frames(drawing, ["cat"], negative_prompt="green dog") != _frames(drawing, ["cat"])
    with pytest.raises(UsageError, match="negative prompt: has no effect here, it needs guidance other than 1"):
        drawing(["cat"], negative_prompt="dog", guidance=1.0)
    with pytest.raises(UsageError, match="negative prompt: has no effect here, it needs a model that draws from words"):
        classing([0], negative_prompt="dog")


SETTINGS = [
    {"steps": 4},
    {"guidance": 4.0},
    {"guidance_start": 0.5},
    {"guidance_end": 0.5},
    {"temperature": 0.5},
    {"curve": "cosine"},
    {"selection": "confidence"},
    {"fill": "mask"},
    {"adaptive": True, "tmin": 6, "tmax": 6},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_every_setting_changes_the_picture(drawing: Pipeline, settings: dict[str, Any]) -> None:
    prompts = ["cat", "red dog", "house"]
    assert _frames(drawing, prompts, **settings) != _frames(drawing, prompts)


def test_the_ratio_that_the_network_is_told_counts(drawing: Pipeline) -> None:
    (scheduled,) = drawing(["cat"], steps=6)
    (kept,) = drawing(["cat"], steps=6, ratio_shown="kept")
    assert scheduled.entropy != kept.entropy


@pytest.mark.parametrize(("bounds", "steps"), [((6, 9), 9), ((20, 30), 20)])
def test_adaptive_steps_lie_within_their_bounds(drawing: Pipeline, bounds: tuple[int, int], steps: int) -> None:
    k, b = (0.0, 100.0) if steps == 9 else (0.0, 0.0)
    (result,) = drawing(["cat"], adaptive=True, tmin=bounds[0], tmax=bounds[1], k=k, b=b)
    assert result.steps == steps


def test_none_leaves_a_setting_as_the_model_has_it(drawing: Pipeline) -> None:
    assert drawing.settings(steps=None, guidance=None) == drawing.sampling
    assert drawing.settings(steps=9) == drawing.sampling.model_copy(update={"steps": 9})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, "unknown key 'stepz'; did you mean 'steps'?"),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1"),
        ({"temperature": 0}, "temperature: "),
        ({"guidance": float("nan")}, "guidance: "),
        ({"tmin": 60, "tmax": 50}, "tmin 60 is above tmax 50"),
        ({"adaptive": True, "tmin": 3}, "tmin 3 must be above the warm-up of 5 steps"),
        ({"guidance_start": 0.9, "guidance_end": 0.1}, "guidance_start 0.9 is above guidance_end 0.1"),
        ({"selection": "best"}, "selection: "),
    ],
)
def test_settings_that_are_refused(drawing: Pipeline, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        drawing(["cat"], **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["ind", "bit", "flip"])
def test_the_last_step_is_the_picture(tmp_path: Path, target: Any) -> None:
    pipeline = Pipeline.from_pretrained(text_model(tmp_path / target, target))
    views: list[StepView] = []
    (result,) = pipeline(["red cat"], callback=views.append)
    assert [(view.step, view.total) for view in views] == [(1, 3), (2, 3), (3, 3)]
    shown = pipeline.pictures(pipeline.indices(views[-1].prediction)[None])
    assert np.array_equal(shown[0], result.frames)
    assert not np.array_equal(pipeline.pictures(pipeline.indices(views[0].prediction)[None])[0], result.frames)


def test_masked_elements_can_be_shown(drawing: Pipeline) -> None:
    masked = torch.full((1, 4, 4, 8), -1)
    assert torch.equal(drawing.indices(masked), torch.zeros(1, 4, 4, 4, dtype=torch.int64))


def test_half_precision(words: Path, drawing: Pipeline) -> None:
    half = Pipeline.from_pretrained(words, dtype=torch.bfloat16)
    (result,) = half(["cat"])
    assert result.frames.shape == (1, SIDE, SIDE, 3)
    assert half.device == torch.device("cpu")


EMBEDDED = Path(__file__).parents[1] / "grn/models/embedded/emoji/model.safetensors"


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded generator is not here")
def test_bfloat16_shows_the_same_tokens_within_two_levels() -> None:
    pipeline = Pipeline.from_pretrained("emoji", dtype=torch.float32)
    views: list[StepView] = []
    exact = pipeline("a cat", steps=6, callback=views.append)
    assert np.array_equal(pipeline("a cat", steps=6).frames, exact.frames)
    tokens = pipeline.indices(views[-1].prediction)[None]
    fast = pipeline.to(dtype=torch.bfloat16).pictures(tokens)[0]
    assert 0 < np.abs(fast.astype(int) - exact.frames).mean() < 2
    assert np.abs(fast.astype(int) - exact.frames).max() < 30


def test_names_by_habit_of_other_libraries(drawing: Pipeline, words: Path) -> None:
    habits: dict[str, Any] = {"torch_dtype": torch.bfloat16}
    with pytest.raises(UsageError, match="torch_dtype: is not known here; it is dtype"):
        Pipeline.from_pretrained(words, **habits)
    habits = {"num_inference_steps": 3}
    with pytest.raises(UsageError, match="num_inference_steps: is not known here; it is steps"):
        drawing("cat", **habits)
    habits = {"prompt": "cat"}
    with pytest.raises(UsageError, match="prompt: is not known here; it is the first argument"):
        drawing(**habits)


def test_a_number_format_may_stand_alone(words: Path) -> None:
    pipeline = Pipeline.from_pretrained(words, dtype=torch.float32)
    assert pipeline.to(torch.bfloat16).dtype == pipeline.tokenizer.dtype == torch.bfloat16
    assert "device='cpu', dtype=torch.bfloat16" in repr(pipeline)


def test_from_the_pipeline_to_attention_in_five_calls(drawing: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads along comes from one function to the next without a detour."""
    seen: list[list[str]] = []
    attention = functional.scaled_dot_product_attention

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        ours = [frame for frame in traceback.extract_stack() if f"{os.sep}grn{os.sep}" in frame.filename]
        seen.append([f"{Path(frame.filename).stem}.{frame.name}" for frame in ours])
        return attention(*arguments, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    next(drawing.stream(["cat"]))
    # What records small passes on a GPU lets every other one through.
    paths = [[name for name in path if "<" not in name and name != "replay.__call__"] for path in seen]
    # Prompts are prepared before, and the tokenizer has attention too.
    drawn = [path for path in paths if "text_to_visual._run" in path]
    assert drawn
    for path in drawn:
        assert path[:3] == ["pipeline._results", "sampler.run", "text_to_visual.forward"]
        assert len(path) <= 6, path  # the blocks, a block, its attention


def test_moving_and_changing_the_number_format(words: Path) -> None:
    pipeline = Pipeline.from_pretrained(words)
    float32 = pipeline("cat").frames
    assert pipeline.to(dtype=torch.bfloat16) is pipeline
    assert (pipeline.dtype, pipeline.tokenizer.dtype) == (torch.bfloat16, torch.bfloat16)
    assert pipeline("cat").record["dtype"] == "bfloat16"
    assert "tokenizer_dtype" not in pipeline("cat").record
    pipeline.tokenizer.network.float()
    assert pipeline("cat").record["tokenizer_dtype"] == "float32"
    assert np.array_equal(pipeline.to("cpu", torch.float32)("red").frames.shape, float32.shape)


@pytest.mark.parametrize("kind", ["words", "classes", "clips_model"])
def test_what_is_saved_draws_the_same(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(request.getfixturevalue(kind))
    pipeline.save_pretrained(tmp_path / "mine")
    again = Pipeline.from_pretrained(tmp_path / "mine")
    what: list[Any] = [1, 3] if kind == "classes" else ["cat", "red dog"]
    assert _frames(again, what) == _frames(pipeline, what)
    assert (again.sampling, again.size, again.clips) == (pipeline.sampling, pipeline.size, pipeline.clips)


def _changed(words: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(words, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_sampling_of_a_model_folder_is_checked(words: Path, tmp_path: Path) -> None:
    folder = _changed(words, tmp_path / "a", sampling={"stepz": 3})
    with pytest.raises(
        ConfigError, match=r"a/config.json: unknown key 'sampling.stepz'; did you mean 'sampling.steps'\?"
    ):
        Pipeline.from_pretrained(folder)


def test_the_size_follows_from_the_tokenizer_where_the_folder_names_none(classes: Path, tmp_path: Path) -> None:
    assert Pipeline.from_pretrained(_changed(classes, tmp_path / "a", size=None)).size == SIDE


def test_a_tokenizer_of_other_channels_is_refused(words: Path, drawing: Pipeline, tmp_path: Path) -> None:
    from grn.networks.autoencoder import CausalAutoencoder
    from grn.networks.autoencoder_config import TokenizerConfig
    from grn.tokenizer import save_tokenizer

    folder = tmp_path / "a"
    shutil.copytree(words, folder)
    shutil.rmtree(folder / "tokenizer")
    wider = TokenizerConfig(**{**TokenizerConfig.tiny().model_dump(), "channels": 6})
    save_tokenizer(folder / "tokenizer", CausalAutoencoder(wider), "wide")
    with pytest.raises(ModelMismatchError, match="tiny-words draws codes of 4 channels and tokenizer wide has 6"):
        Pipeline.from_pretrained(folder)


def test_a_tokenizer_is_no_generator(words: Path) -> None:
    with pytest.raises(ModelMismatchError, match="is a tokenizer; name a generator"):
        Pipeline.from_pretrained(words / "tokenizer")
    assert ModelFolder.open(words).config.kind == "text-to-visual"


def test_prompts_stand_behind_their_tag_and_the_empty_one_does_not(
    words: Path, drawing: Pipeline, tmp_path: Path
) -> None:
    tagged = Pipeline.from_pretrained(_changed(words, tmp_path / "a", prompt_tag="green "))
    assert _frames(tagged, ["cat", ""]) == _frames(drawing, ["green cat", ""])
    assert _frames(tagged, ["cat"]) != _frames(drawing, ["cat"])
    assert _frames(tagged, ["cat"], negative_prompt="dog") == _frames(
        drawing, ["green cat"], negative_prompt="green dog"
    )


def test_words_of_no_caption_are_told_to_who_asks(
    words: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline.from_pretrained(words)
    pipeline.learnt = frozenset({"cat"})
    pipeline.save_pretrained(tmp_path / "kept")
    again = Pipeline.from_pretrained(tmp_path / "kept")
    assert again.learnt == {"cat"}
    with caplog.at_level("INFO", "grn"):
        for _ in range(2):
            again("green cat", steps=1)
    said = [record.message for record in caplog.records if "caption" in record.message]
    assert said == ["green was in no caption that this model learnt from; the nearest word that was is cat"]


def test_words_that_are_not_known_are_said_once(words: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline.from_pretrained(words)
    for _ in range(2):
        pipeline("cat elephant", steps=1)
    assert [record.message for record in caplog.records] == [
        "elephant is no word that this model knows; it is left out"
    ]
