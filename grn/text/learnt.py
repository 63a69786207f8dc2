"""The words that a generator's captions had: what it can draw, of the many more that a table of word vectors can read.

They lie in the generator's folder, one a line; a folder without the file says nothing of its words.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from grn.text.word_vectors import STOP_WORDS, StaticWordVectors, split_words

WORDS = "words.txt"
_MOST_BYTES = 1 << 24


def words_file(captions: Iterable[str], before: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """The file of all words of the captions that count, by its name. before: those that had been learnt when training began."""
    words = {word for caption in captions for word in split_words(caption)} - STOP_WORDS
    return listed(words | before)


def listed(words: Iterable[str]) -> dict[str, bytes]:
    """The file of these words, by its name; no file of none."""
    lines = "".join(f"{word}\n" for word in sorted(words)).encode()
    return {WORDS: lines} if lines else {}


def read_words(folder: Path) -> frozenset[str]:
    """The words in a generator's folder; none where it has no such file, or one that is no list of words."""
    path = folder / WORDS
    if not path.is_file():  # nor a pipe that somebody's folder may hold, which would wait
        return frozenset()
    try:
        with path.open("rb") as file:
            return frozenset(file.read(_MOST_BYTES).decode().split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


class LearntWords:
    """Finds what stands nearest to a word that was in no caption: how it is drawn, as far as the table knows meanings."""

    def __init__(self, text: StaticWordVectors, words: frozenset[str]) -> None:
        self.text = text
        self.words = sorted(word for word in words if text.pieces(word) == [word])
        self._known = words
        self._vectors: Tensor | None = None

    def notes(self, prompt: str) -> list[str]:
        """A line for each word of the prompt that the table has and no caption had. Empty where the captions' words are not known."""
        found = []
        for word in dict.fromkeys(split_words(prompt)):
            if self.words and word not in STOP_WORDS and word not in self._known and self.text.pieces(word) == [word]:
                found.append(
                    f"{word} was in no caption that this model learnt from; the nearest word that was is {self.nearest(word)}"
                )
        return found

    def nearest(self, word: str) -> str:
        """The learnt word with the least angle to a word of the table."""
        if self._vectors is None:
            self._vectors = F.normalize(torch.cat([self.text.word_vectors(one) for one in self.words]), dim=-1)
        return self.words[int((self._vectors @ self.text.word_vectors(word)[0]).argmax())]
