"""Prompts as they were meant: what editors, encodings and web pages have done to a text is undone, once for all encoders."""

import html
import re
import unicodedata

_SPACE = re.compile(r"\s+")
_PLAIN = re.compile(r"[ -%'-~]*")  # ASCII without control characters and "&": nothing in it can be amiss
_FIRST_PICTURE = 0x2190  # symbols below are signs in a text, "90\u00b0" or "\u00a9"
_PARTS = ("regional indicator", "emoji modifier", "tag ", "variation selector")  # of a picture, none by themselves


def clean_text(prompt: str) -> str:
    """The text without mojibake and HTML entities, white space folded: as published models were shown it."""
    if not _PLAIN.fullmatch(prompt):
        import ftfy  # 0.06 s, and few prompts need it

        # Twice: "&amp;lt;" is a bracket that was escaped on two of its ways.
        prompt = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return _SPACE.sub(" ", prompt).strip()


def clean_prompt(prompt: str) -> str:
    """The cleaned text for a table of words: NFKC, lowercase, without control characters, single spaces."""
    text = clean_text(prompt)
    if text.isascii() and text.isprintable():  # as nearly all are, of which training reads thousands
        return text.lower()
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c for c in text if c == " " or unicodedata.category(c)[0] != "C").split())


def name_pictures(text: str) -> str:
    """The text with its emoji and other symbols as words, by their Unicode names: a cat's face is " cat face "."""
    if text.isascii():
        return text
    return "".join(f" {_name(c)} " if ord(c) >= _FIRST_PICTURE and unicodedata.category(c) == "So" else c for c in text)


def _name(symbol: str) -> str:
    name = unicodedata.name(symbol, "").lower()
    return "" if name.startswith(_PARTS) else name
