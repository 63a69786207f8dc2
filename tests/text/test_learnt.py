"""The words of a generator's captions: kept in a file, and what is nearest to one that is not among them."""

import os
from pathlib import Path

import torch

from grn.text.learnt import WORDS, LearntWords, listed, read_words, words_file
from grn.text.word_vectors import StaticWordVectors, StaticWordVectorsConfig

VOCABULARY = ["cat", "kitten", "car", "the", "bus", "##es"]


def table() -> StaticWordVectors:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.0, 2.0], [1.0, 1.0], [0.1, 0.5], [0.0, 1.0]])
    return StaticWordVectors(StaticWordVectorsConfig(dim=2, rows=6), list(VOCABULARY), vectors)


def test_the_file_holds_the_words_that_count_once(tmp_path: Path) -> None:
    files = words_file(["The red Cat!", "a cat in a café", "the"])
    assert files == {WORDS: b"cafe\ncat\nred\n"}
    (tmp_path / WORDS).write_bytes(files[WORDS])
    assert read_words(tmp_path) == {"cat", "red", "cafe"}
    assert listed(read_words(tmp_path)) == files
    assert words_file(["a dog"], read_words(tmp_path)) == {WORDS: b"cafe\ncat\ndog\nred\n"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / WORDS)
    assert read_words(tmp_path) == frozenset()


def test_a_folder_may_say_nothing_of_its_words(tmp_path: Path) -> None:
    assert read_words(tmp_path) == frozenset()
    assert listed([]) == {}
    (tmp_path / WORDS).write_bytes(b"\xff\xfe\x00")
    assert read_words(tmp_path) == frozenset()
    assert LearntWords(table(), frozenset()).notes("a kitten") == []


def test_new_words_are_read_as_what_is_nearest() -> None:
    learnt = LearntWords(table(), frozenset({"cat", "car", "zebra"}))
    found = learnt.notes("the kitten, the kitten and a cat on a bus")
    said = "was in no caption that this model learnt from; the nearest word that was is"
    assert found == [f"kitten {said} cat", f"bus {said} car"]
    assert learnt.notes("buses") == []  # read in pieces, which is said elsewhere
