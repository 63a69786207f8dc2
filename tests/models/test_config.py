"""config.json: one object, checked whole, the same after a round trip, and read once."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.model_folders import GENERATOR, TOKENIZER, edit, saved
from helpers.published_files import pieces, reference_state

from grn.errors import ConfigError, GrnError, ModelNotFoundError
from grn.hub import convert
from grn.models.config import MODELS, Clips, ModelConfig, TextEncoderModelConfig, TextToVisualModelConfig
from grn.models.folder import ModelFolder, write_config
from grn.networks.generator_config import ClassToImageConfig, TextToVisualConfig
from grn.networks.umt5 import Umt5Config
from grn.pipeline import Pipeline
from grn.refine.config import SamplerConfig
from grn.text.encoder import load_text_encoder

HEAD: dict[str, Any] = {"format_version": 1, "kind": "tokenizer", "name": "b"}
CLIPS: dict[str, Any] = {"frames": 9, "fps": 6, "most_frames": 81}


def _text_model(**settings: Any) -> TextToVisualModelConfig:
    return TextToVisualModelConfig(name="a", network=TextToVisualConfig.tiny(), **settings)


EVERY_KIND = {
    "tokenizer": TOKENIZER,
    "text": _text_model(
        sampling=SamplerConfig(guidance=3.0, curve="cosine"), size=64, tokenizer="hbq-64", text_encoder="umt5-xxl", **CLIPS
    ),
    "class": MODELS["class-to-image"](name="c", network=ClassToImageConfig.tiny()),
    "encoder": TextEncoderModelConfig(name="e", network=Umt5Config.tiny(), vocabulary_sha256="0" * 64),
}  # fmt: skip


@pytest.mark.parametrize("config", EVERY_KIND.values(), ids=EVERY_KIND.keys())
def test_a_config_comes_back_as_it_was_written(config: ModelConfig, tmp_path: Path) -> None:
    write_config(tmp_path, config)
    assert ModelFolder.open(tmp_path).config == config
    document = json.loads((tmp_path / "config.json").read_text())
    assert document == config.document()
    assert (document["format_version"], document["kind"], document["name"]) == (1, config.kind, config.name)
    assert "kind" not in document["network"]


def test_what_a_config_does_not_say_has_a_default_and_what_is_unknown_is_kept(tmp_path: Path) -> None:
    content = {**HEAD, "kind": "text-to-visual", "network": TextToVisualConfig.tiny().model_dump(exclude={"kind"})}
    (tmp_path / "config.json").write_text(json.dumps({**content, "later": [1]}))
    config = ModelFolder.open(tmp_path).config
    assert isinstance(config, TextToVisualModelConfig)
    assert (config.sampling, config.clips, config.tokenizer) == (SamplerConfig(), None, None)
    write_config(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["later"] == [1]


def test_clips_and_sizes() -> None:
    assert _text_model().clips is None
    assert _text_model(**CLIPS).clips == Clips(9, 6.0, 81)
    assert _text_model(frames=9, fps=6).clips == Clips(9, 6.0)
    assert _text_model(size=64).pixels(16) == 64
    assert _text_model().pixels(16) == 256
    config = MODELS["class-to-image"](name="c", network=ClassToImageConfig.tiny())
    assert config.pixels(8) == 32  # type: ignore[attr-defined]


_DEEP = "[" * 100_000
DOCUMENTS: dict[str, tuple[str, str]] = {
    "empty": ("", "not a JSON document"),
    "cut": ('{"kind": "tok', "not a JSON document"),
    "bytes": ("\udcff", "not a JSON document"),
    "deep": (_DEEP, "not a JSON document"),
    "not finite": ('{"format_version": NaN}', "NaN is not a number"),
    "a list": ("[1]", "expected an object, found list"),
    "no version": ('{"kind": "tokenizer"}', "format_version: expected 1 to 1, found None"),
    "a version that is none": ('{"format_version": true}', "found True"),
    "a newer version": ('{"format_version": 2, "new": 1}', "version 2 and this grn reads up to version 1"),
    "too large": (" " * (1 << 21), "too large"),
}  # fmt: skip
CONTENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"kind": None}, "kind: expected tokenizer, class-to-image, text-to-visual, text-encoder, found None"),
    "another kind": ({"kind": "b"}, "found 'b'; restore the file, or install a newer grn"),
    "a kind that is none": ({"kind": ["tokenizer"]}, "kind: expected"),
    "no name": ({"name": None}, "name: "),
    "no network": ({"network": None}, "network: "),
    "a network that is none": ({"network": 3}, "network: "),
    "unknown key": ({"network": {"chanels": 4}}, "unknown key 'network.chanels'; did you mean 'network.channels'?"),
    "negative": ({"network": {"channels": -1}}, "network.channels: "),
    "a wrong type": ({"network": {"channels": "many"}}, "network.channels: "),
    "huge": ({"network": {"encoder_blocks": 10**9}}, "network.encoder_blocks: "),
    "stages": ({"network": {"halves_time": [True]}}, "network: halves_time has 1 entries"),
}
GENERATORS: dict[str, tuple[dict[str, Any], str]] = {
    "sampling": ({"sampling": {"guidence": 2}}, "unknown key 'sampling.guidence'; did you mean 'sampling.guidance'?"),
    "sampling that is none": ({"sampling": [1]}, "sampling: "),
    "sampling values": ({"sampling": {"steps": 0}}, "sampling.steps: "),
    "a size in words": ({"size": "64"}, "size: Input should be a valid integer (found '64')"),
    "no size": ({"size": 0}, "size: Input should be greater than or equal to 1 (found 0)"),
    "frames": ({"frames": 1.5}, "frames: "),
    "true frames": ({"frames": True}, "frames: "),
    "no rate": ({"frames": 9}, "fps: missing, and clips of 9 frames need it"),
    "a rate of none": ({**CLIPS, "fps": 0}, "fps: Input should be greater than or equal to 0.01 (found 0)"),
    "too few": ({**CLIPS, "most_frames": 8}, "most_frames: expected 9 to 100000, found 8"),
    "too many": ({**CLIPS, "most_frames": 10**6}, "most_frames: Input should be less than or equal to 100000"),
    "stills of no clips": ({"stills": True}, "stills: is said of models that draw clips too, and frames is 1"),
    "clips of no pictures": ({**CLIPS, "clip_sampling": {}}, "clip_sampling: is said of models that draw both"),
    "clips sampled otherwise": (
        {**CLIPS, "stills": True, "clip_sampling": {"guidence": 2}},
        "clip_sampling: unknown key 'guidence'; did you mean 'guidance'?",
    ),
    "clips sampled with nothing": ({**CLIPS, "stills": True, "clip_sampling": {"steps": 0}}, "clip_sampling: steps: "),
    "a part": ({"tokenizer": 3}, "tokenizer: "),
}


def _documents() -> dict[str, tuple[str, str]]:
    found = dict(DOCUMENTS)
    for name, (content, says) in CONTENTS.items():
        whole = {**HEAD, "network": {}, **content}
        found[name] = (json.dumps({key: value for key, value in whole.items() if value is not None}), says)
    for name, (content, says) in GENERATORS.items():
        found[name] = (json.dumps({**GENERATOR.document(), **content}), says)
    return found


@pytest.mark.parametrize(("text", "says"), _documents().values(), ids=_documents().keys())
def test_a_bad_config_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        ModelFolder.open(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.json'}: ")
    assert says in message
    assert len(message) < 400
    assert "\n" not in message


@pytest.mark.parametrize("spoil", ["gone", "a folder"])
def test_a_config_that_is_not_there(spoil: str, tmp_path: Path) -> None:
    if spoil == "a folder":
        (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelNotFoundError if spoil == "gone" else GrnError, match=r"config\.json"):
        ModelFolder.open(tmp_path)


# What is read


@pytest.fixture(scope="session")
def opened() -> "Counter[str]":
    """How often each file has been opened since the counter was cleared; a hook stays for the life of the process."""
    found: Counter[str] = Counter()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            found[arguments[0]] += 1

    sys.addaudithook(hook)
    return found


def _read(opened: "Counter[str]", folder: Path) -> dict[str, int]:
    """What was opened of a folder, but for weights: their digest is taken before they are read."""
    return {
        str(Path(name).relative_to(folder)): count
        for name, count in opened.items()
        if name.startswith(str(folder)) and not name.endswith(".safetensors")
    }


def test_one_load_reads_each_config_once(words: Path, opened: "Counter[str]") -> None:
    opened.clear()
    Pipeline.from_pretrained(words)
    assert _read(opened, words) == {
        "config.json": 1, "tokenizer/config.json": 1, "text_encoder/config.json": 1, "text_encoder/vocab.txt": 1,
    }  # fmt: skip


def test_the_text_encoder_of_a_network_is_read_once(tmp_path: Path, opened: "Counter[str]") -> None:
    torch.save(reference_state("umt5"), tmp_path / "models_t5.pth")
    pieces().save(str(tmp_path / "tokenizer.json"))
    convert.convert(tmp_path / "models_t5.pth", tmp_path / "converted", "small-umt5")
    opened.clear()
    load_text_encoder(tmp_path / "converted").encode(["a cat"])
    assert _read(opened, tmp_path / "converted")["config.json"] == 1


def test_weights_go_with_the_config_that_was_read(tmp_path: Path) -> None:
    """What changes between opening a folder and loading its weights is not read."""
    module = saved(tmp_path / "m")
    folder = ModelFolder.open(tmp_path / "m")
    edit(tmp_path / "m", weights_sha256="0" * 64)
    assert folder.load_weights(module) == folder.config.weights_sha256
