"""Word vectors: how prompts become tokens, what is refused, and that the embedded table knows English."""

import functools
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import grn
from grn.errors import BadInputError, ConfigError, ModelMismatchError, ModelNotFoundError
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig, split_words

EMBEDDED = Path(grn.__file__).parent / "models" / "embedded" / "emoji" / "text_encoder"
VOCABULARY = ["cat", "dog", "red", "noto", "style", "a", "the", "c", "t", "##nap", "##s", "##a", "pinata"]


def table(max_words: int = 15) -> StaticWordVectors:
    vectors = torch.randn(len(VOCABULARY), 8, generator=torch.Generator().manual_seed(1)).half()
    config = StaticWordVectorsConfig(dim=8, rows=len(VOCABULARY), max_words=max_words)
    return StaticWordVectors(config, list(VOCABULARY), vectors)


def vector(word: str) -> torch.Tensor:
    return table().vectors[VOCABULARY.index(word)].float()


def test_split_words() -> None:
    assert split_words("A woman’s high-heeled shoe, 3D style!") == [
        "a",
        "woman",
        "high",
        "heeled",
        "shoe",
        "3d",
        "style",
    ]
    assert split_words("Piñata at ten o'clock_now") == ["pinata", "at", "ten", "o'clock", "now"]
    assert split_words("a red \N{CAT FACE}!") == ["a", "red", "cat", "face"]
    assert split_words("keycap # and the dogs' bone") == ["keycap", "#", "and", "the", "dogs", "bone"]


def test_an_entry_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    words = [*VOCABULARY[:-3], "a\u2028b", "c\x85", "d\x0c"]
    made = StaticWordVectors(StaticWordVectorsConfig(dim=8, rows=len(words)), words, torch.randn(len(words), 8))
    made.save(tmp_path)
    assert StaticWordVectors.load(tmp_path).vocabulary == words


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("a red cat", []),
        ("the cats", ["cats is no word that this model knows; it is read as cat s"]),
        ("cat catz", ["catz is no word that this model knows; it is read as cat"]),
        ("cat zzz zzz", ["zzz is no word that this model knows; it is left out"]),
    ],
)
def test_unknown_words_are_said_once_with_what_is_read(prompt: str, says: list[str]) -> None:
    assert table().notes(prompt) == says


def test_tokens_are_the_phrase_and_then_the_words() -> None:
    condition = table().encode(["a red cat, noto style"])
    words = torch.stack([vector(word) for word in ("red", "cat", "noto", "style")])
    assert condition.tokens.shape == (1, 5, 8)
    torch.testing.assert_close(condition.tokens[0], torch.cat([words.mean(0, keepdim=True), words]))
    assert condition.mask.all()


def test_a_batch_is_padded_and_masked() -> None:
    both = table().encode(["red cat", "dog", ""])
    assert both.mask.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert both.tokens.dtype == torch.float32
    assert not both.tokens[~both.mask].any()
    torch.testing.assert_close(both.tokens[1, :2], table().encode(["dog"]).tokens[0])


def test_empty_prompt_is_one_zero_token() -> None:
    condition = table().encode(["", " \n"])
    assert condition.tokens.shape == (2, 1, 8)
    assert not condition.tokens.any()
    assert condition.mask.all()


def test_long_prompts_lose_tokens_but_not_meaning() -> None:
    whole, short = table(max_words=15).encode(["cat dog red"]), table(max_words=2).encode(["cat dog red"])
    assert short.tokens.shape[1] == 3
    torch.testing.assert_close(short.tokens, whole.tokens[:, :3])


def test_stop_words_count_only_when_alone() -> None:
    torch.testing.assert_close(table().encode(["the cat"]).tokens, table().encode(["cat"]).tokens)
    torch.testing.assert_close(table().encode(["the"]).tokens[0, 1], vector("the"))


def test_unknown_words_are_the_mean_of_their_pieces() -> None:
    encoder = table()
    assert encoder.pieces("catnaps") == ["cat", "##nap", "##s"]
    expected = (vector("cat") + vector("##nap") + vector("##s")) / 3
    torch.testing.assert_close(encoder.encode(["catnaps"]).tokens[0, 1], expected)


@pytest.mark.parametrize("prompt", ["猫", "!!!", "\N{EMOJI MODIFIER FITZPATRICK TYPE-4}", "zzz 猫"])
def test_unreadable_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(BadInputError, match="no word that this model can read"):
        table().encode([prompt])


def test_save_and_load(tmp_path: Path) -> None:
    table(max_words=3).save(tmp_path / "new")
    loaded = StaticWordVectors.load(tmp_path / "new")
    assert loaded.config == table(max_words=3).config
    assert loaded.vocabulary == VOCABULARY
    assert torch.equal(loaded.vectors, table().vectors)
    assert (tmp_path / "new" / "vectors.safetensors").stat().st_mode & 0o044


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("config.json", None, ModelNotFoundError),
        ("config.json", b"{", ConfigError),
        ("config.json", b'{"dim": 8, "rows": 13, "colour": 1}', ConfigError),
        ("config.json", b'{"dim": 9, "rows": 13}', ModelMismatchError),
        ("vocab.txt", b"cat\ndog\n", ModelMismatchError),
        ("vocab.txt", b"cat\n" * 13, ModelMismatchError),
        ("vocab.txt", b"\xff\xfe", ModelMismatchError),
        ("vectors.safetensors", b"short", ModelMismatchError),
        ("vectors.safetensors", None, ModelNotFoundError),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, name: str, content: bytes | None, error: type[Exception]) -> None:
    table().save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=tmp_path.name):
        StaticWordVectors.load(tmp_path)


@functools.cache
def load_embedded() -> StaticWordVectors:
    return StaticWordVectors.load(EMBEDDED)


@pytest.fixture
def embedded() -> StaticWordVectors:
    return load_embedded()


@pytest.mark.parametrize(
    ("word", "near"), [("kitten", "cat"), ("puppy", "dog"), ("automobile", "car"), ("glad", "happy")]
)
def test_embedded_synonyms_are_near(embedded: StaticWordVectors, word: str, near: str) -> None:
    query = embedded.word_vectors(word)
    others = ("cat", "dog", "car", "happy", "house", "banana", "clock", "tree", "shoe", "airplane")
    scores = {other: torch.cosine_similarity(query, embedded.word_vectors(other)).item() for other in others}
    assert max(scores, key=scores.__getitem__) == near
    assert scores[near] > 0.4


def test_embedded_table_knows_the_styles(embedded: StaticWordVectors) -> None:
    for style in ("3d", "fluent", "flat", "noto", "twemoji", "openmoji", "style"):
        assert embedded.pieces(style) == [style]
    assert embedded.vectors.float().square().mean().sqrt().item() == pytest.approx(1, abs=0.05)
    assert (EMBEDDED / "vectors.safetensors").stat().st_size < 14e6


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_embedded_pieces_spell_any_latin_word(word: str) -> None:
    assert "".join(piece.removeprefix("##") for piece in load_embedded().pieces(word)) == word


def test_config_file_is_plain_json() -> None:
    assert set(json.loads((EMBEDDED / "config.json").read_text())) == {"dim", "rows", "max_words", "source"}


def test_its_fingerprint_is_of_its_words_and_their_vectors() -> None:
    vectors = torch.arange(6.0).view(3, 2)

    def table(words: str = "cat dog owl", vectors: torch.Tensor = vectors, most: int = 15) -> StaticWordVectors:
        return StaticWordVectors(StaticWordVectorsConfig(dim=2, rows=3, max_words=most), words.split(), vectors)

    others = [table("cat dog own"), table(vectors=vectors + 1), table(vectors=vectors.half()), table(most=3)]
    assert len({one.fingerprint for one in (table(), table(), *others)}) == 5
