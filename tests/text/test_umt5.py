"""The umT5 text encoder: the published hidden states, from either kind of folder; which text it sees, and how often."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.plain_umt5 import plain_encoder
from helpers.published_files import REFERENCE, WORDS, pieces, reference_state
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grn.errors import ConfigError, GrnError, ModelMismatchError, ModelNotFoundError
from grn.hub import convert
from grn.models.folder import ModelFolder
from grn.networks.umt5 import Umt5Config, encoder_network
from grn.text.cleaning import clean_text
from grn.text.encoder import load_text_encoder
from grn.text.network_encoder import MAX_TOKENS
from grn.text.umt5 import Umt5Encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's weights, converted from the published format."""
    place = tmp_path_factory.mktemp("umt5")
    torch.save(reference_state("umt5"), place / "models_t5.pth")
    pieces().save(str(place / "tokenizer.json"))
    convert.convert(place / "models_t5.pth", place / "converted", "small-umt5")
    return place / "converted"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights in folders that transformers writes: an encoder alone, in shards, and with a decoder."""
    from transformers import UMT5Config, UMT5EncoderModel, UMT5ForConditionalGeneration

    config = UMT5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    place = tmp_path_factory.mktemp("theirs")
    found = {}
    for name, family, size in (
        ("encoder", UMT5EncoderModel, "1GB"),
        ("shards", UMT5EncoderModel, "20KB"),
        ("whole", UMT5ForConditionalGeneration, "1GB"),
    ):
        model: Any = family(config)
        model.encoder.load_state_dict(dict(renamed()))
        model.save_pretrained(place / name, max_shard_size=size)
        pieces().save(str(place / name / "tokenizer.json"))
        found[name] = place / name
    return found


def renamed() -> dict[str, Tensor]:
    from grn.hub.renames import rename

    return dict(rename("text-encoder", reference_state("umt5")))


def network(encoder: Umt5Encoder) -> nn.Module:
    encoder.encode(["cat"])
    made = encoder.network
    assert made is not None
    return made


def reference_states(made: nn.Module, lengths: tuple[int, ...] = (11, 7)) -> list[Tensor]:
    """The reference's texts, each alone and without its padding."""
    ids = load_file(REFERENCE / "umt5.safetensors")["ids"]
    with torch.no_grad():
        return [made(input_ids=ids[i : i + 1, :n]).last_hidden_state[0] for i, n in enumerate(lengths)]


# Hidden states


def test_the_published_file_gives_the_published_hidden_states(folder: Path) -> None:
    reference = load_file(REFERENCE / "umt5.safetensors")
    assert reference["mask"].sum(1).tolist() == [11, 7]
    for i, states in enumerate(reference_states(network(Umt5Encoder.load(folder)))):
        torch.testing.assert_close(states, reference["hidden"][i, : len(states)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["encoder", "shards", "whole"])
def test_a_transformers_folder_gives_the_same(kind: str, theirs: dict[str, Path], folder: Path) -> None:
    assert (kind == "shards") == (theirs[kind] / "model.safetensors.index.json").is_file()
    ours, other = Umt5Encoder.load(folder), Umt5Encoder.load(theirs[kind])
    assert other.name == kind
    for a, b in zip(reference_states(network(ours)), reference_states(network(other)), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(ours.encode(["a red cat"]).tokens[0], other.encode(["a red cat"]).tokens[0])


CONFIGS = [
    Umt5Config.tiny(),
    Umt5Config(vocabulary=20, width=10, depth=1, heads=1, head_width=7, hidden=9, buckets=32, distance=128),
    Umt5Config(vocabulary=20, width=8, depth=3, heads=2, head_width=4, hidden=24, buckets=12, distance=9),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_other_dimensions_equal_the_plain_network(config: Umt5Config) -> None:
    torch.manual_seed(0)
    made = encoder_network(config)
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.5 if parameter.dim() < 2 else 0.3)
    made = made.double().eval()
    numbers = torch.randint(config.vocabulary, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.no_grad():
        states = made(input_ids=torch.tensor([numbers])).last_hidden_state[0]
    plain = plain_encoder(config, made.state_dict(), numbers)
    torch.testing.assert_close(states.float(), plain.float(), rtol=1e-4, atol=1e-4)


# Texts


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("  A  Red\n\tCat ", "A Red Cat"),
        ("na\u00c3\u00afve", "na\u00efve"),
        ("salt &amp; pepper", "salt & pepper"),
        ("a &amp;lt; b", "a < b"),
        ("猫 &quot;x&quot;", '猫 "x"'),
        ("", ""),
    ],
)
def test_text_is_cleaned_as_published(prompt: str, expected: str) -> None:
    assert clean_text(prompt) == expected


def test_only_real_tokens_come_out(folder: Path) -> None:
    encoder = Umt5Encoder.load(folder)
    texts = encoder.encode(["a red cat", "", "dog"])
    assert [tuple(text.shape) for text in texts.tokens] == [(4, 32), (1, 32), (2, 32)]  # with the end of the text
    made = network(encoder)
    with torch.no_grad():
        alone = made(input_ids=torch.tensor([[WORDS.index(w) for w in ("a", "red", "cat", "</s>")]])).last_hidden_state
    assert torch.equal(texts.tokens[0], alone[0])
    condition = texts.rows(torch.tensor([2, 0]))
    assert condition.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert not condition.tokens[0, 2:].any()


def test_a_text_is_the_same_in_any_company(folder: Path) -> None:
    together = Umt5Encoder.load(folder).encode(["cat", "a red dog on a green house"])
    assert torch.equal(together.tokens[0], Umt5Encoder.load(folder).encode(["cat"]).tokens[0])


def test_long_texts_are_cut_and_still_end(folder: Path) -> None:
    encoder = Umt5Encoder.load(folder)
    assert MAX_TOKENS == 512
    assert encoder.encode(["cat " * 511]).tokens[0].shape[0] == 512
    exact, cut = encoder.encode(["cat " * 511, "cat " * 511 + "dog"]).tokens
    assert torch.equal(exact, cut)


def test_any_text_can_be_read(folder: Path) -> None:
    encoder = Umt5Encoder.load(folder)
    for prompt in ("???", "\x00\x1b[31m", "\ud800", "猫", "\u202e", "x" * 20_000):
        encoder.check(prompt)
        assert encoder.encode([prompt]).tokens[0].isfinite().all()


# Which encoder it is


def test_a_folder_of_ours_is_known_by_what_its_config_says_of_its_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    first = load_text_encoder(folder).fingerprint
    (other / "model.safetensors").write_bytes(b"gigabytes that are not read")
    assert load_text_encoder(other).fingerprint == first
    content = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(content | {"weights_sha256": "0" * 64}))
    assert load_text_encoder(other).fingerprint != first
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_transformers_is_known_by_its_files(
    theirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "shards"
    shutil.copytree(theirs["shards"], other)
    first = load_text_encoder(theirs["shards"])
    assert load_text_encoder(other).fingerprint == first.fingerprint
    shard = sorted(other.glob("*.safetensors"))[-1]
    state = load_file(shard)
    save_file({name: value + 1 for name, value in state.items()}, shard, {"format": "pt"})
    changed = load_text_encoder(other)
    assert (changed.name, first.name) == ("shards", "shards")
    assert changed.fingerprint != first.fingerprint


# When the network runs


class _Counted:
    """An encoder that counts how often its network is loaded and run."""

    def __init__(self, folder: Path) -> None:
        self.loads, self.runs = 0, 0
        self._model = ModelFolder.open(folder)
        self.encoder = Umt5Encoder(self._model.config.network, pieces(), "counted", self._load, lambda: "0" * 64)

    def _load(self) -> nn.Module:
        self.loads += 1
        made: nn.Module = self._model.load_network("cpu", None)[0]
        made.register_forward_hook(self._ran)
        return made

    def _ran(self, *_: object) -> None:
        self.runs += 1


def test_each_text_is_run_once(folder: Path) -> None:
    counted = _Counted(folder)
    encoder = counted.encoder
    assert not encoder.loaded
    first = encoder.encode(["cat", "dog", "cat", " cat\n"])
    assert (counted.loads, counted.runs) == (1, 2)
    assert first.tokens[0] is first.tokens[3]
    encoder.release()
    assert not encoder.loaded
    again = encoder.encode(["dog", "cat"])
    assert (counted.loads, counted.runs, encoder.loaded) == (1, 2, False)
    assert torch.equal(again.tokens[1], first.tokens[0])
    encoder.encode(["house"])
    assert (counted.loads, counted.runs, encoder.loaded) == (2, 3, True)


def test_what_is_remembered_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grn.text.network_encoder.CACHE_BYTES", 3 * 2 * 32 * 4)  # three texts of one word and its end
    counted = _Counted(folder)
    encoder = counted.encoder
    texts = encoder.encode(["cat", "dog", "red", "green"])
    assert len(texts) == 4
    encoder.encode(["green", "red", "dog"])
    assert counted.runs == 4
    encoder.encode(["cat"])
    assert counted.runs == 5


@pytest.mark.parametrize(
    ("asked", "stored", "used"),
    [
        (None, torch.float32, torch.float32),
        (None, torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float32, torch.bfloat16),
    ],
)
def test_it_runs_in_the_type_asked_for_or_stored(
    asked: torch.dtype | None, stored: torch.dtype, used: torch.dtype, tmp_path: Path
) -> None:
    torch.save({key: value.to(stored) for key, value in reference_state("umt5").items()}, tmp_path / "w.pth")
    pieces().save(str(tmp_path / "tokenizer.json"))
    convert.convert(tmp_path / "w.pth", tmp_path / "m", "small")
    encoder = Umt5Encoder.load(tmp_path / "m", dtype=asked)
    assert encoder.encode(["cat"]).tokens[0].dtype == used
    assert {p.dtype for p in network(encoder).parameters()} == {used}


@torch.inference_mode()
def test_it_is_one_graph_for_texts_of_any_length() -> None:
    torch.manual_seed(0)
    made, graphs = encoder_network(Umt5Config.tiny()).eval(), []

    def counted(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(made, backend=counted, fullgraph=True, dynamic=True)
    for length in (7, 11, 5):
        numbers = torch.randint(64, (1, length))
        given = {"input_ids": numbers, "attention_mask": torch.ones_like(numbers)}
        found, wanted = (one(**given).last_hidden_state for one in (compiled, made))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert len(graphs) == 1


# What is refused


def _config(folder: Path, **changes: Any) -> None:
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(config))


def _other_pieces(folder: Path) -> None:
    pieces([*WORDS, "more"]).save(str(folder / "tokenizer.json"))


def _tensors(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, {"format": "pt"})


OURS: dict[str, tuple[Any, type[GrnError], str]] = {
    "no pieces": (lambda f: (f / "tokenizer.json").unlink(), ModelNotFoundError, "put the text encoder's tokenizer.json"),
    "other pieces": (_other_pieces, ModelMismatchError, "tokenizer.json: damaged or of another model"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ModelNotFoundError, "model.safetensors: no such file"),
    "another kind": (lambda f: _config(f, kind="tokenizer", network={}), ModelMismatchError, "is a tokenizer; give the folder of"),
    "a newer version": (lambda f: _config(f, format_version=9), ConfigError, "written in format version 9"),
    "a misspelt size": (lambda f: _config(f, network={"headz": 3}), ConfigError, "did you mean 'network.heads'?"),
    "damaged weights": (lambda f: _tensors(f, lambda s: s.popitem()), ModelMismatchError, "damaged or of another model"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "says"), OURS.values(), ids=OURS.keys())
def test_a_spoilt_folder_of_ours_is_refused(
    spoil: Any, error: type[GrnError], says: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    load_text_encoder(tmp_path / "m").encode(["cat"])
    spoil(tmp_path / "m")
    with pytest.raises(error) as caught:
        load_text_encoder(tmp_path / "m").encode(["cat"])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


THEIRS: dict[str, tuple[Any, type[GrnError], str]] = {
    "another MLP": (lambda f: _config(f, feed_forward_proj="relu"), ModelMismatchError, "expected gated-gelu, found 'relu'"),
    "a size that is none": (lambda f: _config(f, d_model=-3), ConfigError, "width: "),
    "no size": (lambda f: _config(f, d_model=None), ConfigError, "width: "),
    "too few pieces": (lambda f: _config(f, vocab_size=5), ModelMismatchError, "has 12 entries and the text encoder 5"),
    "other dimensions": (lambda f: _config(f, num_layers=3), ModelMismatchError, "missing: block.2"),
    "a tensor too few": (lambda f: _tensors(f, lambda s: s.pop("shared.weight")), ModelMismatchError, "1 missing: embed_"),
    "a tensor too many": (lambda f: _tensors(f, lambda s: s.update(x=torch.ones(1))), ModelMismatchError, "1 unexpected: x"),
    "not finite": (
        lambda f: _tensors(f, lambda s: s["shared.weight"].fill_(torch.nan)), ModelMismatchError, "not finite"
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ModelNotFoundError, "model.safetensors: no such file"),
    "an index of nothing": (
        lambda f: (f / "model.safetensors.index.json").write_text("{}"), ModelMismatchError, "names no shards"
    ),
    "an index that leads elsewhere": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}'),
        ModelMismatchError, "names no shards",
    ),
    "pieces that are none": (lambda f: (f / "tokenizer.json").write_text("{}"), ConfigError, "tokenizer.json: cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "says"), THEIRS.values(), ids=THEIRS.keys())
def test_a_spoilt_transformers_folder_is_refused(
    spoil: Any, error: type[GrnError], says: str, theirs: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(theirs["encoder"], tmp_path / "m")
    load_text_encoder(tmp_path / "m").encode(["cat"])
    spoil(tmp_path / "m")
    with pytest.raises(error) as caught:
        load_text_encoder(tmp_path / "m").encode(["cat"])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pieces_that_end_no_text_are_refused(folder: Path, theirs: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import processors

    shutil.copytree(theirs["encoder"], tmp_path / "m")
    endless = pieces()
    endless.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    endless.save(str(tmp_path / "m" / "tokenizer.json"))
    with pytest.raises(ModelMismatchError, match="marks no text's end"):
        Umt5Encoder.load(tmp_path / "m")


def test_word_vectors_are_still_word_vectors(words: Path) -> None:
    assert load_text_encoder(words / "text_encoder").name == "word vectors"
