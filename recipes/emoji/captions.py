"""Captions for emoji: one sensible sentence a picture, and the other ways in which people ask for it.

A caption is a plain string. The same word order, style words and synonyms are what the word vectors are made for.
"""

import re

DEFAULT_STYLE = "3d"
TAG_CAPTIONS = 2  # a tag alone is a loose description; two a picture keep it a minority
SPECIFIC_TAG = 5  # a tag shared by more emoji than this ("face", "animal") says too little to stand alone

_HAIR = re.compile(r"^(man|woman|person): ((?:red|curly|white|blond) hair|beard)$")
_MASS = frozenset(
    ["bread", "rice", "cheese", "bacon", "honey", "butter", "salt", "sushi", "spaghetti", "milk", "sake", "money", "food", "clothing", "luggage", "sunrise", "sunset", "fog", "dna", "water", "fire", "wood", "coral", "broccoli", "garlic", "ginger", "lettuce", "popcorn", "chocolate", "curry", "ice", "soap", "lipstick", "makeup", "clapping", "laughing", "crying", "fencing", "wrestling", "surfing", "swimming", "bowling", "fishing", "skiing", "ramen", "hair", "pie", "meat"]
)
_NO_ARTICLE_FIRST = frozenset(
    ["people", "men", "women", "hands", "input", "no", "not", "do", "on", "in", "soon", "back", "end", "top", "free", "new", "cool", "ok", "up", "down", "left", "right", "please", "see", "speak", "hear", "japanese", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "number", "keycap", "mount", "saturn", "christmas", "mother", "mrs.", "santa", "merpeople", "zodiac", "aries", "taurus", "gemini", "cancer", "leo", "virgo", "libra", "scorpio", "sagittarius", "capricorn", "aquarius", "pisces", "ophiuchus", "tokyo", "face-with"]
)
_COUNTABLE_IN_S = frozenset(["bus", "cactus", "compass", "glass", "dress", "cross", "octopus", "lotus", "hibiscus", "walrus", "tennis", "chess"])


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
    if plural or first in _NO_ARTICLE_FIRST or head in _MASS or not first[0].isalpha():
        return name
    vowel = first[0] in "aeiou" and not first.startswith(("uni", "eu", "one", "ufo"))
    return f"{'an' if vowel or first.startswith('hour') else 'a'} {name}"


def captions(name: str, style: str, tags: list[str], shared: dict[str, int], names: frozenset[str]) -> list[str]:
    """Captions to draw from uniformly, the main one first; repeats are weights.

    tags: the emoji's keywords; shared: how many emoji carry each tag; names: every emoji's name. A tag stands alone only
    if it is specific and not itself the name of another emoji. Pictures of the default style are mostly captioned
    without a style, so that a prompt that names none gets that style; over all six styles about 85 % of the captions
    name theirs.
    """
    specific = sorted((t for t in tags if shared[t] <= SPECIFIC_TAG and t not in names), key=lambda t: (shared[t], t))
    plain = [with_article(name), name, *specific[:TAG_CAPTIONS]]
    plain += [f"{name}, {tag}" for tag in sorted(set(tags) - set(name.split()), key=lambda t: (shared[t], t))[:1]]
    styled = [f"{text}, {style} style" for text in plain]
    styled += [styled[0], f"{with_article(name)} in {style} style"]
    if style != DEFAULT_STYLE:
        return styled
    # Five unstyled repeats to each styled one here are 5/6 of one style in six: 14 % of all captions.
    return styled + (plain + [plain[0]] * (len(styled) - len(plain))) * 5
