"""Prompts as token sequences for the generator: static word vectors, one for each English word; or umT5 (`grn.text.umt5`).

Axes: B prompts, L tokens, D vector dimensions. Token 0 of a prompt is the mean of its word vectors, then comes one
token a word in the order of the prompt. The empty prompt is one zero token: the unconditional condition.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from grn.errors import BadInputError, ConfigError, ModelMismatchError, ModelNotFoundError
from grn.files import atomic_path, display
from grn.models.folder import read_json
from grn.networks.condition import TextCondition
from grn.text.cleaning import clean_prompt, name_pictures
from grn.validation import describe

# Function words that change no picture. "no", "on", "under" and the like do, and stay.
STOP_WORDS = frozenset("a an the of and with in at for to by is are be this that these those it its as".split())  # noqa: SIM905

PIECE = "##"  # marks a vocabulary entry that continues a word rather than starting one
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[#*]")  # "#" and "*" are the names of two keys
_POSSESSIVE = re.compile(r"'s?$")


def split_words(prompt: str) -> list[str]:
    """The words of a prompt in order, cleaned, without accents, possessives or punctuation; hyphens part words.

    Emoji are the words of their Unicode names.
    """
    plain = name_pictures(clean_prompt(prompt))
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return [_POSSESSIVE.sub("", word) for word in _WORD.findall(plain)]


class StaticWordVectorsConfig(BaseModel):
    """What the folder of a `StaticWordVectors` says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(gt=0, description="D")
    rows: int = Field(gt=0, description="vocabulary entries, words and pieces")
    max_words: int = Field(
        default=15, gt=0, description="word tokens a prompt; the phrase vector still covers every word"
    )
    source: str = Field(default="", description="what the vectors were made from, and its licence")


class StaticWordVectors:
    """A table of word vectors with pieces ("##ing") for the words that it lacks.

    vocabulary: one entry a row, unique. vectors: [rows, D] of any float type, kept as it is.
    """

    name = "word vectors"

    def __init__(self, config: StaticWordVectorsConfig, vocabulary: list[str], vectors: Tensor) -> None:
        assert vectors.shape == (config.rows, config.dim), f"{tuple(vectors.shape)} for {config}"
        assert len(vocabulary) == config.rows, f"{len(vocabulary)} entries for {config}"
        self.config = config
        self.vocabulary = vocabulary
        self.vectors = vectors
        self._row = {entry: row for row, entry in enumerate(vocabulary)}
        assert len(self._row) == config.rows, "a vocabulary entry occurs twice"
        self._longest = max(map(len, vocabulary))
        self._cached_rows = lru_cache(maxsize=65536)(self._find_rows)  # training meets each caption again and again

    @property
    def dim(self) -> int:
        """D, the size of a token."""
        return self.config.dim

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the table, its vocabulary and how many words of a prompt are read."""
        told = f"{self.config.max_words} {self.vectors.dtype}".encode() + "\n".join(self.vocabulary).encode()
        table = self.vectors.cpu().contiguous().flatten().view(torch.uint8).numpy()
        return hashlib.sha256(hashlib.sha256(told).digest() + hashlib.sha256(table.data).digest()).hexdigest()

    @classmethod
    def load(cls, folder: Path, content: Mapping[str, Any] | None = None) -> "StaticWordVectors":
        """Read config.json, vocab.txt and vectors.safetensors; `content` is config.json's, where that has been read.

        Raises ModelNotFoundError for a missing file, ConfigError for a bad config.json and ModelMismatchError for files
        that are damaged or do not belong together.
        """
        paths = [folder / name for name in ("config.json", "vocab.txt", "vectors.safetensors")]
        for path in paths:
            if not path.is_file():
                raise ModelNotFoundError(f"{display(path)}: no such file; restore the text encoder's folder")
        try:
            config = StaticWordVectorsConfig.model_validate(read_json(paths[0]) if content is None else content)
        except ValidationError as error:
            said = describe(error, StaticWordVectorsConfig)
            raise ConfigError(f"{display(paths[0])}: {said}; restore the file") from error
        try:
            # A line ends at a line feed alone: others that str.splitlines knows may stand in an entry.
            vocabulary = paths[1].read_bytes().decode("utf-8").removesuffix("\n").split("\n")
            vectors = load_file(paths[2])["vectors"]
        except (UnicodeDecodeError, SafetensorError, KeyError) as error:
            raise ModelMismatchError(
                f"{display(folder)}: damaged word vectors ({error}); restore the folder"
            ) from error
        found = (len(vocabulary), len(set(vocabulary)), *vectors.shape)
        if found != (config.rows, config.rows, config.rows, config.dim) or not vectors.is_floating_point():
            raise ModelMismatchError(
                f"{display(folder)}: word vectors do not match their config (expected {config.rows} entries"
                f" of {config.dim} dimensions, found {found[0]} in vocab.txt, {found[1]} of them different, and"
                f" vectors of shape {list(vectors.shape)}); restore the folder"
            )
        return cls(config, vocabulary, vectors)

    def save(self, folder: Path) -> None:
        """Write the files that `load` reads; the folder is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "vectors.safetensors") as path:
            # Not save_file: it would make the file private to its owner.
            path.write_bytes(save({"vectors": self.vectors.contiguous()}))
        with atomic_path(folder / "vocab.txt") as path:
            path.write_bytes("".join(f"{entry}\n" for entry in self.vocabulary).encode())
        with atomic_path(folder / "config.json") as path:
            path.write_text(self.config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def pieces(self, word: str) -> list[str]:
        """The vocabulary entries that a word is made of, by greedy longest match; letters in none are left out.

        The `tokenizers` library's word pieces do the same, but give up a whole word for one odd letter.
        """
        found, start = [], 0
        while start < len(word):
            mark = PIECE if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                if mark + word[start:end] in self._row:
                    found.append(mark + word[start:end])
                    start = end
                    break
            else:
                start += 1
        return found

    def word_vectors(self, prompt: str) -> Tensor:
        """[words, D] float32: the vectors of the prompt's words without stop words, unless it has no others.

        A word outside the vocabulary is the mean of its pieces. Raises BadInputError for a prompt with text but not one
        word that the vocabulary can spell: it would be taken for the empty prompt.
        """
        rows = self._cached_rows(prompt)
        return (
            torch.stack([self.vectors[list(row)].float().mean(0) for row in rows]) if rows else torch.zeros(0, self.dim)
        )

    def check(self, prompt: str) -> None:
        """Raises BadInputError as `word_vectors` does."""
        self._cached_rows(prompt)

    def length(self, prompt: str) -> int:
        """How many tokens `encode` makes of a prompt."""
        return 1 + min(len(self._cached_rows(prompt)), self.config.max_words)

    def notes(self, prompt: str) -> list[str]:
        """The words of a prompt that the table does not know, and what is read instead."""
        found = []
        for word in dict.fromkeys(split_words(prompt)):
            pieces = self.pieces(word)
            if pieces != [word] and word not in STOP_WORDS:
                read = f"read as {' '.join(piece.removeprefix(PIECE) for piece in pieces)}" if pieces else "left out"
                found.append(f"{word} is no word that this model knows; it is {read}")
        return found

    def release(self) -> None:
        """A table is small, and stays."""

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Tokens [B, L, D] float32 with their mask [B, L], L the longest prompt's; padding is zero and masked out.

        A prompt with more than `config.max_words` words keeps the first ones as tokens. Raises BadInputError as
        `word_vectors` does.
        """
        return self.condition([self.word_vectors(prompt) for prompt in prompts])

    def condition(self, words: list[Tensor]) -> TextCondition:
        """What `encode` makes of prompts whose word vectors, [words, D] float32 each, are known."""
        assert words, "nothing to encode"
        sequences = []
        for vectors in words:
            phrase = vectors.mean(0, keepdim=True) if len(vectors) else torch.zeros(1, self.dim)
            sequences.append(torch.cat([phrase, vectors[: self.config.max_words]]))
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        tokens = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        return TextCondition(tokens, torch.arange(tokens.shape[1])[None] < lengths[:, None])

    def _find_rows(self, prompt: str) -> tuple[tuple[int, ...], ...]:
        """The rows of each word that counts."""
        words = [(word, tuple(self._row[piece] for piece in self.pieces(word))) for word in split_words(prompt)]
        rows = [row for word, row in words if row and word not in STOP_WORDS] or [row for _, row in words if row]
        if not rows and clean_prompt(prompt):
            raise BadInputError(f"prompt {prompt[:80]!r}: holds no word that this model can read; use English words")
        return tuple(rows)
