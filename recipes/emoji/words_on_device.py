"""Captions as rows of a table of word vectors on the device, turned and dropped there as `grn train` does on the processor."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grn.errors import BadInputError
from grn.networks.condition import TextCondition
from grn.text.word_vectors import STOP_WORDS, StaticWordVectors, split_words
from grn.training.recipe import WordsConfig


def words_of(caption: str) -> list[str]:
    """The words that count, in order: without stop words, unless there are no others."""
    words = split_words(caption)
    return [word for word in words if word not in STOP_WORDS] or words


class DeviceWords:
    """Captions as `StaticWordVectors.encode` makes them: the mean of the words' vectors, then each of the first words.

    Held as numbers of words: int32 [N, L], 0 where there is none; L is the most words of a caption. known: the words.
    """

    def __init__(self, text: StaticWordVectors, captions: Sequence[Sequence[str]], device: torch.device) -> None:
        """captions: `words_of` each. BadInputError for one without a word that the vocabulary can spell."""
        table, numbers = [torch.zeros(text.dim)], {}
        for word in sorted(set(itertools.chain.from_iterable(captions))):
            if text.pieces(word):
                numbers[word] = len(table)
                table.append(text.word_vectors(word)[0])
        rows = [[numbers[word] for word in caption if word in numbers] for caption in captions]
        for caption, row in zip(captions, rows, strict=True):
            if not row:
                raise BadInputError(f"caption {' '.join(caption)!r}: holds no word that the word vectors can spell")
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int32)
        ids[np.arange(lengths.max()) < lengths[:, None]] = list(itertools.chain.from_iterable(rows))
        self.known, self.most = frozenset(numbers), text.config.max_words
        self.ids, self.table = torch.from_numpy(ids).to(device), torch.stack(table).to(device)
        self.others = text.vectors.to(device)

    def __call__(self, rows: Tensor, generator: torch.Generator, words: WordsConfig, dropped: float) -> TextCondition:
        """The captions of these rows [B], tokens [B, 1 + L, D]; a share `dropped` of them is the empty prompt."""
        ids = self.ids[rows].long()
        there, device = ids > 0, ids.device
        vectors = self._turned(self.table[ids], there, generator, words)
        phrase = vectors.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        kept = torch.rand(len(rows), generator=generator, device=device) >= dropped
        vectors, there = vectors[:, : self.most], there[:, : self.most]
        tokens = torch.cat([phrase[:, None], vectors], 1) * kept[:, None, None]
        mask = torch.cat([torch.ones_like(there[:, :1]), there & kept[:, None]], 1)
        return TextCondition(tokens, mask)

    def _turned(self, vectors: Tensor, there: Tensor, generator: torch.Generator, words: WordsConfig) -> Tensor:
        """`grn.training.words.turn_words` for a share of the captions."""
        device, shape = vectors.device, there.shape
        which = torch.randint(len(self.others), shape, generator=generator, device=device)
        chosen = torch.rand((len(vectors), 1, 1), generator=generator, device=device) < words.turned
        angle = math.radians(words.degrees) * torch.rand((*shape, 1), generator=generator, device=device) * chosen
        length = vectors.norm(dim=-1, keepdim=True)
        unit = vectors / length.clamp(min=1e-12)
        aside = self.others[which].float()
        aside = F.normalize(aside - (aside * unit).sum(-1, keepdim=True) * unit, dim=-1)
        return torch.where(there[..., None], length * (angle.cos() * unit + angle.sin() * aside), 0.0)
