"""Text models train with any encoder's folder: umT5 as it is converted, umT5 as transformers writes it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.published_files import pieces, reference_state
from helpers.training import changed, figures, run, text_recipe

from grn.data import shards
from grn.data.shards import Maker, View
from grn.data.sources import open_source
from grn.errors import GrnError
from grn.hub import convert
from grn.models.config import TextToVisualModelConfig
from grn.models.folder import ModelFolder
from grn.networks.condition import Texts
from grn.pipeline import Pipeline
from grn.text.encoder import load_text_encoder
from grn.text.umt5 import Umt5Encoder
from grn.tokenizer import Tokenizer


@pytest.fixture(params=["converted", "transformers"])
def encoder(request: pytest.FixtureRequest, captioned: Path) -> Path:
    """A small umT5 in the folder "umt5"."""
    if request.param == "converted":
        torch.save(reference_state("umt5"), "models_t5.pth")
        pieces().save("tokenizer.json")
        convert.convert(Path("models_t5.pth"), Path("umt5"), "small-umt5")
        return Path("umt5")
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    UMT5EncoderModel(
        UMT5Config(
            vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
    ).save_pretrained("umt5")
    pieces().save("umt5/tokenizer.json")
    return Path("umt5")


def test_a_text_model_trains_with_it_resumes_and_draws(encoder: Path) -> None:
    recipe = changed(
        text_recipe("pictures", "tokenizer", encoder),
        {"network.text_width": 32, "run.batch_size": 8, "optimizer.decay_steps": 0, "optimizer.final_lr": 1.0},
    )
    straight = run(recipe, Path("a"))
    run(changed(recipe, {"run.steps": 3}), Path("b"))
    assert figures(straight)[3:] == figures(run(recipe, Path("b")))
    assert straight[-1]["loss"] < straight[0]["loss"]
    (result,) = Pipeline.from_pretrained(Path("a/final"))(["left"])
    assert result.frames.shape == (1, 16, 16, 3)


def test_what_it_says_matters(encoder: Path) -> None:
    """Other captions give other gradients from the second step on, when the head is not zero any more."""
    recipe = changed(
        text_recipe("pictures", "tokenizer", encoder),
        {"network.text_width": 32, "run.steps": 4, "drop_condition": 0.0, "optimizer.lr": 1e-2},
    )
    found = []
    for word in ("cat", "dog"):  # of its small vocabulary
        for path in Path("pictures").rglob("*.txt"):
            path.write_text(word)
        found.append(figures(run(recipe, Path(word))))
    assert found[0] != found[1]


def test_it_reads_in_the_number_format_of_the_run(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    encode = Umt5Encoder.encode

    def noted(self: Umt5Encoder, prompts: Any) -> Texts:
        texts = encode(self, prompts)
        found.update(one.dtype for one in texts.tokens)
        return texts

    monkeypatch.setattr(Umt5Encoder, "encode", noted)
    values = {"network.text_width": 32, "run.steps": 1, "run.precision": "bfloat16", "text_device": "cpu"}
    run(
        changed(
            text_recipe("pictures", "tokenizer", encoder),
            values | {"optimizer.decay_steps": 0, "optimizer.final_lr": 1.0},
        ),
        Path("a"),
    )
    assert found == {torch.bfloat16}


@pytest.mark.parametrize("encoder", ["transformers"], indirect=True)
def test_captions_that_were_read_once_are_those_read_in_training(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tag and the empty prompt included; while training, the encoder's network reads nothing but what sheets show."""
    source = {"path": "pictures", "tag": "<T2I>"}
    recipe = changed(
        text_recipe("pictures", "tokenizer", encoder),
        {"network.text_width": 32, "optimizer.lr": 1e-2, "drop_condition": 0.3, "data.sources": [source]},
    )
    online = run(recipe, Path("a"))
    maker = Maker(
        Tokenizer.from_pretrained("tokenizer"), View(16), torch.float32, load_text_encoder(encoder), tag="<T2I>"
    )
    Path("codes").mkdir()
    shards.made_together(shards.pieces(open_source("pictures"), maker, lambda n, _: Path(f"codes/{n}.tar")), maker)
    read: list[str] = []
    encode = Umt5Encoder.encode
    monkeypatch.setattr(Umt5Encoder, "encode", lambda self, prompts: read.extend(prompts) or encode(self, prompts))
    kept = changed(recipe, {"data.sources": [source | {"path": "codes", "codes": True}], "sheet_prompts": ("cat",)})
    assert figures(run(kept, Path("b"))) == figures(online)
    assert set(read) == {"<T2I>cat", ""}
    config = ModelFolder.open(Path("b/final")).config
    assert isinstance(config, TextToVisualModelConfig)
    assert config.prompt_tag == "<T2I>"  # prompts are drawn as captions were learnt


@pytest.mark.parametrize("encoder", ["transformers"], indirect=True)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network.text_width": 6}, "gives tokens of width 32 and network.text_width is 6"),
        ({"network.text_width": 32, "words.turned": 0.5}, "words.turned: umt5 has no words to turn"),
    ],
)
def test_what_does_not_fit_is_refused(encoder: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(GrnError, match=message):
        run(changed(text_recipe("pictures", "tokenizer", encoder), values), Path("a"))
