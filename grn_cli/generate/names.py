"""Prompts as names of files that Linux, macOS and Windows take, in the script that the prompt is written in."""

import os
import re
from unicodedata import category, combining, name, normalize

from grn.text.cleaning import name_pictures

# A seed, a number, suffixes and a file beside it fit on, also where a name has 143 bytes at most.
_LENGTH, _BYTES = 60, 120
_PLAIN = re.compile(r"[^a-z0-9]+")
_FIRST_OTHER = "\u0370"  # below are Latin letters, and signs that modify them
_LATIN = re.compile("LATIN |MODIFIER LETTER |ROMAN NUMERAL ")
# Those that no accent can be taken off.
_STROKED = re.compile("LATIN SMALL (?:LETTER|LIGATURE) (?:DOTLESS )?([A-Z]{1,2})(?: WITH .*)?")
_SPELT = str.maketrans({"ß": "ss", "ð": "d", "þ": "th"})
# Letters and marks that nobody sees: two names that look the same would be two files.
_UNSEEN = re.compile("FILLER|VARIATION SELECTOR|GRAPHEME JOINER|VOWEL INHERENT")
_JOINER = "\u200d"
_DEVICES = re.compile("con|prn|aux|nul|(com|lpt)[0-9]")  # Windows knows these as no files, whatever their suffix


def name_of(prompt: str | int) -> str:
    """A name without suffix: the prompt's words joined by "-", emoji by their names, at most 120 bytes of UTF-8.

    Latin letters are a to z, their accents and strokes left out; letters, digits and marks of other scripts stay as they are (NFC,
    lower case).
    """
    letters, within = [], False  # within: a word of a script whose marks are more than accents
    for letter in normalize("NFC", name_pictures(str(prompt)).lower().translate(_SPELT)):
        if within and (letter == _JOINER or category(letter)[0] == "M"):
            letters.append("" if letter == _JOINER or _UNSEEN.search(name(letter, "")) else letter)
            continue
        within = _is_of_another_script(letter)
        letters.append(letter if within else _plain(letter))
    text = normalize("NFC", "".join(letters))
    words = filter(None, (text if _can_be_a_name(text) else _PLAIN.sub("-", text)).split("-"))
    short = _cut("-".join(words)) or "picture"
    return f"{short}-picture" if _DEVICES.fullmatch(short) else short


def _plain(letter: str) -> str:
    """What a to z and 0 to 9 have for a letter: nothing for an accent, "-" for what is no letter."""
    plain = "".join(c for c in normalize("NFKD", letter) if not combining(c))
    stroked = _STROKED.fullmatch(name(plain, "")) if len(plain) == 1 else None
    return _PLAIN.sub("-", stroked[1].lower() if stroked else plain)


def _is_of_another_script(letter: str) -> bool:
    """Whether it is a letter or digit, and none that is written with Latin ones, as a full-width A is."""
    written = letter.isalpha() or letter.isdecimal() or category(letter) == "Nl"  # such as the Chinese zero
    if letter < _FIRST_OTHER or not written or _UNSEEN.search(name(letter, "")):
        return False
    return not any((c.isascii() and c.isalnum()) or _LATIN.match(name(c, "")) for c in normalize("NFKD", letter))


def _can_be_a_name(text: str) -> bool:
    """Whether file names are in an encoding that has the letters."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str) -> str:
    """The beginning that is short enough, no letter without its marks."""
    end = min(len(text), _LENGTH)
    while len(text[:end].encode()) > _BYTES or (end < len(text) and category(text[end])[0] == "M"):
        end -= 1
    return text[:end]
