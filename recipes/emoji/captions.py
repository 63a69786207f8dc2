"""Captions for emoji: one sensible sentence a picture, and the other ways in which people ask for it.

A caption is a plain string. The same word order, style words and synonyms are what the word vectors are made for.
"""

import re
from collections.abc import Mapping

DEFAULT_STYLE = "3d"
SYNONYMS = 2  # a tag alone is a loose description; two a picture keep it a minority
SPECIFIC_TAG = 5  # a tag shared by more emoji than this ("face", "animal") says too little to stand alone
UNSTYLED_REPEATS = 5  # about 5 in 6 captions of one style in six name no style: 14 % of all

_HAIR = re.compile(r"^(man|woman|person): ((?:red|curly|white|blond) hair|beard)$")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English articles by rule, with the exceptions that occur among the names of emoji.
_MASS = _words(
    """bread rice cheese bacon honey butter salt sushi spaghetti milk sake money food clothing luggage sunrise sunset
    fog dna water fire wood coral broccoli garlic ginger lettuce popcorn curry ice soap lipstick makeup ramen hair meat
    information o'clock"""
)
_NO_ARTICLE_FIRST = _words(
    """people hands input no not do see speak hear japanese keycap mount saturn mother mrs. mx santa aries taurus gemini
    cancer leo virgo libra scorpio sagittarius capricorn aquarius pisces ophiuchus tokyo men women copyright registered
    multiply plus minus divide warning bowling camping radioactive unlocked locked"""
)
_COUNTABLE_IN_S = _words("bus cactus compass glass dress cross octopus lotus hibiscus walrus rhinoceros christmas")
_AN = _words("sos atm hourglass")
_A_BEFORE_VOWEL = ("uni", "eu", "one", "ufo", "ut", "ewe")


def readable_name(label: str) -> str:
    """An emoji's label as running lowercase text: "man: red hair" becomes "man with red hair"."""
    name = label.lower().replace("’", "'").replace("“", "").replace("”", "").replace("!", "").strip()
    name = _HAIR.sub(lambda found: f"{found[1]} with {found[2]}", name)
    for head in ("family", "kiss", "couple with heart"):
        if name.startswith(f"{head}: "):
            people = name[len(head) + 2 :].split(", ")
            joined = ", ".join(people[:-1]) + f" and {people[-1]}"
            return f"{head} of {joined}" if head != "couple with heart" else f"{head}, {joined}"
    name = re.sub(r"^(man|woman|person): bald$", r"bald \1", name)
    return name.replace(": ", " ")


def with_article(name: str) -> str:
    """`name` with "a" or "an" before it, or as it is where English wants no article (plurals, substances, signs)."""
    first, head = name.split()[0], re.split(r" (?:with|of|in|on|and|holding|facing) ", name)[0].split()[-1]
    plural = head.endswith("s") and not head.endswith(("ss", "us", "is")) and head not in _COUNTABLE_IN_S
    if plural or first in _NO_ARTICLE_FIRST or head in _MASS or head.endswith("-thirty") or not first[0].isalpha():
        return name
    vowel = first in _AN or (first[0] in "aeiou" and not first.startswith(_A_BEFORE_VOWEL))
    return f"{'an' if vowel else 'a'} {name}"


def specific_tags(tags: list[str], shared: Mapping[str, int], names: frozenset[str]) -> list[str]:
    """The tags that could stand for the picture alone, rarest first.

    tags: the emoji's keywords; shared: how many emoji carry each tag; names: every emoji's name (a tag that names
    another emoji belongs to that one).
    """
    singular = {tag: tag[:-1] if tag.endswith("s") else tag for tag in tags}
    carried = {tag: max(shared.get(tag, 0), shared.get(singular[tag], 0)) for tag in tags}
    worded = [tag for tag in tags if sum(map(str.isalnum, tag)) > 2]  # not ":-)" nor "..."
    chosen = [tag for tag in worded if carried[tag] <= SPECIFIC_TAG and not {tag, singular[tag]} & names]
    return sorted(chosen, key=lambda tag: (carried[tag], tag))


def captions(name: str, style: str, synonyms: list[str]) -> list[str]:
    """Captions to draw from uniformly, the main one first; repeats are weights. `synonyms` are `specific_tags`.

    None has two names ("cat, kitten"): the word vectors drop "and", so "a cat and a dog" would be the name of one picture,
    too. Pictures of the default style are mostly captioned without a style, so that a prompt that names none gets that
    style; over all six styles about 85 % of the captions name theirs.
    """
    synonyms = synonyms[:SYNONYMS]
    plain = [with_article(name), with_article(name), name, *synonyms]
    styled = [f"{text}, {style} style" for text in plain] + [f"{with_article(name)} in {style} style"]
    return styled + plain * UNSTYLED_REPEATS if style == DEFAULT_STYLE else styled
