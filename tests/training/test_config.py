"""Recipes are read whole or refused in one line: misspelt keys, odd numbers, settings that nothing would read."""

from pathlib import Path

import pytest
import tomli_w
from helpers.training import class_recipe, text_recipe, tokenizer_recipe, video_recipe

from grn.errors import ConfigError, UsageError
from grn.training.recipe import GeneratorRecipe, TokenizerRecipe, load_recipe

RECIPES: dict[str, TokenizerRecipe | GeneratorRecipe] = {
    "tokenizer": tokenizer_recipe("pictures"),
    "video": video_recipe("pictures", "clips"),
    "class": class_recipe("pictures", "tokenizer"),
    "text": text_recipe("pictures", "tokenizer", "words"),
}


def write(folder: Path, name: str) -> Path:
    """A recipe as a file."""
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(RECIPES[name].model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    assert load_recipe(write(tmp_path, name)) == RECIPES[name]


MISTAKES = [
    ("tokenizer", "run.stepz=3", "unknown key 'run.stepz'; did you mean '"),
    ("tokenizer", "run.steps=0", "run.steps"),
    ("tokenizer", "network.multipliers=[2,3]", "cannot fold"),
    ("tokenizer", "data.size=10", "not a multiple of the network's stride"),
    ("tokenizer", "rounds.x=1", "neither a number from 1 to 16"),
    ("tokenizer", "losses.gan=-1", "losses.gan"),
    ("tokenizer", "optimizer.lr=nan", "optimizer.lr"),
    ("tokenizer", 'kind="both"', "kind"),
    ("tokenizer", "data.fps=8", "there are none; leave it out"),
    ("tokenizer", "data.sizes=[[16, 16]]", "a tokenizer's crops are squares"),
    ("video", "data.frames=4", "data.frames 4 is not 1 + a multiple of the network's time stride 2"),
    ("video", "data.frames=1", "clips of more than one frame and data.sources with clips = true go together"),
    ("video", 'data.sources=[{path="pictures"}]', "frames 5: clips of more than one frame"),
    ("video", "data.fps=0", "data.fps"),
    ("class", "sampling.stepz=1", "did you mean '"),
    ("class", "sampling.guidance_start=2", "guidance_start"),
    ("class", 'data.sources=[{path="pictures", resize=[16, 20]}]', "resize is for tokenizers"),
    ("class", "data.sizes=[[16, 16]]", "data.sizes and data.frames are for text models"),
    ("text", 'data={size=16, frames=5, sources=[{path="c", clips=true}]}', "data.fps: a generator of clips"),
    # Numbers beyond which nothing is meant.
    ("tokenizer", "optimizer.betas=[1.0, 0.9]", "optimizer.betas"),
    ("tokenizer", "optimizer.betas=[0.9, 1.0]", "optimizer.betas"),
    ("tokenizer", "optimizer.lr=1e38", "optimizer.lr"),
    ("tokenizer", "run.seed=100000000000000000000000000", "run.seed"),
    ("tokenizer", "run.seed=1e26", "run.seed"),
    ("tokenizer", "run.batch_size=1000000000000", "run.batch_size"),
    ("class", "ratio.mean=1e300", "ratio.mean"),
    ("class", "ratio.deviation=1e9", "ratio.deviation"),
    ("tokenizer", "run.steps=1000000000000000", "run.steps"),
    # Settings that nothing would read.
    ("tokenizer", 'optimizer.name="muon"', 'optimizer.name "muon" is for the matrices of generators'),
    ("class", "optimizer.matrix_lr=0.1", "matrix_lr: is Muon's rate"),
    ("class", "optimizer.decay_steps=3", "decay_steps and final_lr"),
    ("class", "optimizer.final_lr=0.1", "decay_steps and final_lr"),
    ("tokenizer", "losses.gan_lr=0.1", "gan_lr: there is no discriminator with gan = 0"),
    ("tokenizer", "losses.gan_betas=[0.1, 0.2]", "gan_betas: there is no discriminator"),
    ("tokenizer", "losses.gan_weight_decay=0.1", "gan_weight_decay: there is no discriminator"),
    ("tokenizer", "losses.gan_start=9", "gan_start: there is no discriminator"),
    ("tokenizer", "run.recompute=true", "run.recompute: is of a generator's blocks"),
    ("tokenizer", "losses.motion=1.0", "losses.motion: is of clips, and there are none"),
    ("class", "words.turned=0.5", "words.turned: there are no words without text_encoder"),
    ("class", "run.distance_pictures=3", "no distances are measured"),
    ("class", "fill=mask", 'fill is "mask" and sampling.fill "refine"'),
    ("class", 'ratio={drawn="uniform", mean=0.5}', 'mean: is of the normal; with drawn = "uniform" leave it out'),
    ("text", "words.degrees=10", "words.degrees: no words are turned"),
    ("text", "cut=0.5", "cut: there are no clips to cut"),
    ("text", "stills=true", "stills: is said of a model that learns both pictures and clips"),
    ("class", 'sheet_prompts=["a cat"]', "sheet_prompts: a class-to-image network"),
]


@pytest.mark.parametrize(("name", "override", "message"), MISTAKES, ids=[override for _, override, _ in MISTAKES])
def test_mistakes_in_recipes_are_named_in_one_line(tmp_path: Path, name: str, override: str, message: str) -> None:
    path = write(tmp_path, name)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, [override])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_model_of_both_puts_one_tag_before_its_prompts(tmp_path: Path) -> None:
    sources = '[{path="a", clips=true, tag="moving "}, {path="b"}]'
    with pytest.raises(ConfigError, match="stills: a model that draws both puts one tag before its prompts"):
        load_recipe(
            write(tmp_path, "text"), ["stills=true", "data.frames=5", "data.fps=8.0", f"data.sources={sources}"]
        )


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "tokenizer")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_recipe(path) == RECIPES["tokenizer"]


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize("content", [f"a = {DEEP}".encode(), b"\xff\xfe", b"= 3", b"a = " + b"9" * 10_000])
def test_what_is_no_recipe_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.toml: not a readable TOML recipe") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "steps: expected section.key=value"),
        ("=3", "=3: expected section.key=value"),
        ("name.steps=3", "name.steps=3: name is not a section"),
        (f"run.steps={DEEP}", "nested too deep"),
    ],
)
def test_malformed_overrides_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(write(tmp_path, "tokenizer"), [override])
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_value_that_is_no_toml_is_a_string(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "tokenizer"), ["name=a new name"]).name == "a new name"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a readable TOML recipe"):
        load_recipe(tmp_path)
