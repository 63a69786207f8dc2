"""Which prompts have a word that no caption has: python recipes/emoji/sheet.py [recipes/emoji/sheet.txt]

Reads the captions of all the tars that prepare.py has written; what scenes say besides ("two", "above") is a new word here.
"""

import argparse
import re
import sys
from pathlib import Path

from grn.data.sources import open_source
from grn.errors import GrnError

FOLDER = Path(__file__).parent


def words(text: str) -> set[str]:
    """In small letters, without punctuation."""
    return set(re.findall(r"[\w']+", text.lower()))


def main(argv: list[str] | None = None) -> int:
    """Print each prompt with its unseen words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path, nargs="?", default=FOLDER / "sheet.txt")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="folder of the tars")
    arguments = parser.parse_args(argv)
    try:
        sources = [open_source(path) for path in sorted(arguments.data.glob("*.tar"))]
        seen = {word for source in sources for sample in source for text in sample.captions for word in words(text)}
    except GrnError as error:
        print(f"sheet: error: {error}", file=sys.stderr)
        return 1
    if not seen:
        print(f"sheet: error: {arguments.data}: holds no captions; run recipes/emoji/prepare.py first", file=sys.stderr)
        return 1
    for prompt in arguments.prompts.read_text(encoding="utf-8").splitlines():
        print(f"{prompt:32}{', '.join(sorted(words(prompt) - seen)) or '-'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
