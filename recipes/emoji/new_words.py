"""Pictures captioned with words that no caption has: python recipes/emoji/new_words.py

For each word of the text encoder's vocabulary that no caption holds (nor its plural or singular), the known one-word name that lies nearest, if
it is near enough: that name's picture in the default style, captioned with the new word. Writes data/emoji/new-words.tar, which shows, by

    python recipes/emoji/neighbours.py --data data/emoji/new-words.tar --among data/emoji/train.tar --keep 3d

how often a new word draws what it lies near. Near is by the model's own vectors, so a word may lie near a wrong name
("wren" near "wrench"): following it is right by this measure all the same.
"""

import argparse
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import torch
import torch.nn.functional as F
from captions import DEFAULT_STYLE, with_article
from sheet import words

from grn.data.samples import Sample
from grn.data.sources import open_source
from grn.errors import GrnError
from grn.hub.resolve import resolve
from grn.text.word_vectors import StaticWordVectors, split_words

_WORD = re.compile(r"[a-z]{3,}")


def is_new(word: str, seen: set[str]) -> bool:
    """Whether a vocabulary entry is a word that no caption has in any number."""
    singular = {re.sub(ending, "", word) for ending in ("s$", "es$")} | {re.sub("ies$", "y", word)}
    return bool(_WORD.fullmatch(word)) and not {word, f"{word}s", f"{word}es", *singular} & seen


def nearest(text: StaticWordVectors, new: list[str], names: list[str], least: float) -> list[tuple[str, str]]:
    """(new word, nearest name) for the words whose cosine with a name is at least `least`, the nearest pairs first."""
    vectors = [F.normalize(torch.cat([text.word_vectors(word) for word in group]), dim=1) for group in (new, names)]
    best, which = (vectors[0] @ vectors[1].T).max(1)
    order = [i for i in best.argsort(descending=True, stable=True).tolist() if best[i] >= least]
    return [(new[i], names[int(which[i])]) for i in order]


def write(pairs: list[tuple[str, str]], pictures: dict[str, Sample], path: Path) -> None:
    """One sample a pair: the name's picture, the new word with its article, the name and style as facts."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for word, name in pairs:
            facts = json.dumps({"name": name, "style": DEFAULT_STYLE}).encode()
            files = {"png": pictures[name].data(), "txt": with_article(word).encode(), "json": facts}
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{word}.{suffix}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))


def main(argv: list[str] | None = None) -> int:
    """The command line; errors as one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="folder of prepare.py's tars")
    parser.add_argument("--text-encoder", default="emoji", help="name or folder of the word vectors")
    parser.add_argument("--least", type=float, default=0.7, help="cosine from which a name is near")
    arguments = parser.parse_args(argv)
    try:
        sources = {
            name: open_source(arguments.data / f"{name}.tar") for name in ("train", "heldout-name", "heldout-pair")
        }
        text = StaticWordVectors.load(resolve(arguments.text_encoder, kind="text-encoder").folder)
    except GrnError as error:
        print(f"new_words: error: {error}", file=sys.stderr)
        return 1
    seen = {
        word for source in sources.values() for sample in source for line in sample.captions for word in words(line)
    }
    pictures = {
        s.info["name"]: s for s in sources["train"].keep(style=[DEFAULT_STYLE]) if len(split_words(s.info["name"])) == 1
    }
    new = [word for word in text.vocabulary if is_new(word, seen)]
    pairs = nearest(text, new, list(pictures), arguments.least)
    write(pairs, pictures, arguments.data / "new-words.tar")
    print(json.dumps({"words": len(pairs), "names": len({name for _, name in pairs})}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
