"""Text encoders of transformers of several kinds: what each gives a text alone, in either number format, and what is refused."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.published_files import pieces

from grn.errors import ModelMismatchError
from grn.text.encoder import load_text_encoder
from grn.text.network_encoder import NetworkEncoder

T5 = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 1,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
BODY = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
KINDS: dict[str, Any] = {
    "two halves": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)),
    "masked words": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BODY)),
    "of pictures": lambda: transformers.CLIPTextModel(transformers.CLIPTextConfig(**BODY, projection_dim=32)),
    "a language model": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**BODY, num_key_value_heads=2)),
}  # fmt: skip


def saved(kind: str, folder: Path) -> Any:
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=pieces(), eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    return model


def body(model: Any) -> Any:
    """What reads texts in a whole model."""
    if model.config.is_encoder_decoder:
        return model.get_encoder()
    return model if isinstance(model, transformers.CLIPTextModel) else model.base_model


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_transformers_gives(kind: str, tmp_path: Path) -> None:
    model = saved(kind, tmp_path / "encoder")
    encoder = load_text_encoder(tmp_path / "encoder")
    assert isinstance(encoder, NetworkEncoder)
    assert (encoder.dim, encoder.name) == (32, "encoder")
    text = "a red dog on a green house"
    found, empty = encoder.encode([text, ""]).tokens  # type: ignore[union-attr]
    with torch.no_grad():
        expected = body(model)(input_ids=torch.tensor([pieces().encode(text).ids])).last_hidden_state[0]
    torch.testing.assert_close(found, expected)
    assert (encoder.length(text), encoder.length("")) == (len(found), len(empty))
    assert len(empty) > 0
    (rough,) = load_text_encoder(tmp_path / "encoder", dtype=torch.bfloat16).encode([text]).tokens  # type: ignore[union-attr]
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), expected, rtol=0.1, atol=0.1)


def test_its_fingerprint_is_of_all_that_it_is_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    folder, other = tmp_path / "encoder", tmp_path / "other" / "encoder"
    saved("masked words", folder)
    shutil.copytree(folder, other)
    (other / "README.md").write_text("a copy")
    first = load_text_encoder(folder).fingerprint
    assert load_text_encoder(other).fingerprint == first
    found = {first}
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        with (other / name).open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(b" " if last != b" " else b"\n") if name == "model.safetensors" else file.write(last + b" ")
        found.add(load_text_encoder(other).fingerprint)
    assert len(found) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in found)


def test_its_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "encoder"
    saved("masked words", folder)
    for path in folder.iterdir():
        os.utime(path, (0, 0))  # what was changed a moment ago is hashed each time
    encoder = load_text_encoder(folder)
    assert not (tmp_path / "cache").exists()  # nor any sooner than it is asked for
    first = encoder.fingerprint
    monkeypatch.setattr("grn.digests._hash", lambda *_: pytest.fail("hashed again"))
    assert load_text_encoder(folder).fingerprint == first


def test_what_is_no_text_encoder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    saved("masked words", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(
        ModelMismatchError, match=r"no text encoder of transformers \('bert'\): lacks weights of .*layer\.1"
    ):
        load_text_encoder(folder).encode(["cat"])
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nothing"}))
    with pytest.raises(ModelMismatchError, match=r"no text encoder of transformers \('nothing'\)"):
        load_text_encoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 64}, "no text encoder of transformers"),
        ({"hidden_size": "x"}, "hidden_size"),
        ({"num_attention_heads": 0}, "no text encoder of transformers"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers: 1000000000 \(expected at most 1000\)"),
        ({"text_config": {"num_layers": 10**9}}, r"num_layers: 1000000000 \(expected at most 1000\)"),
    ],
)
def test_sizes_that_lie_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    saved("masked words", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelMismatchError, match=message):
        load_text_encoder(tmp_path).encode(["cat"])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    saved("masked words", tmp_path)
    pieces_file, weights = tmp_path / "tokenizer.json", tmp_path / "model.safetensors"
    whole = pieces_file.read_text()
    pieces_file.write_text("[" * 100_000)
    with pytest.raises(ModelMismatchError, match="no text encoder"):
        load_text_encoder(tmp_path)
    pieces_file.write_text(whole)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelMismatchError, match="header"):
        load_text_encoder(tmp_path).encode(["cat"])


def test_texts_end_where_the_networks_places_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**BODY, max_position_embeddings=16)).save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=pieces(), eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(tmp_path)
    encoder = load_text_encoder(tmp_path)
    assert [len(one) for one in encoder.encode(["a red dog " * 40]).tokens] == [16]  # type: ignore[union-attr]


def test_pieces_that_the_network_does_not_know_are_named(tmp_path: Path) -> None:
    saved("masked words", tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"]["cat"] = 5000
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelMismatchError, match="its tokenizer gives piece 5000, and its network knows 64"):
        load_text_encoder(tmp_path).encode(["cat"])
