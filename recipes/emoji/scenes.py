"""Scenes: what stands where, and captions that say so. Made by rules from sprites; there is no end of them.

Units: a picture is [-1, 1] in x (to the right) and y (down); an object's side is a share of the picture's. Every combination (two names, a name and a
number, a name and a colour) is trained on or held out, by a hash of it, so that what is measured was never seen together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from captions import DEFAULT_STYLE, with_article
from prepare import uniform
from sprites import Sprite

from grn.errors import BadInputError

Item = TypeVar("Item")
OBJECTS = 6  # the most in a scene
HELDOUT = 0.08  # share of the combinations that training never sees
COLOURS = {
    **{"red": 0.0, "orange": 0.083, "yellow": 0.145, "green": 0.36, "blue": 0.61, "purple": 0.76, "pink": 0.92},
    **{"black": -1.0, "white": -2.0},
}
"""Hues in [0, 1); the two below 0 are no hues (compose.py)."""
GROUNDS = {
    **{"red": (226, 88, 80), "blue": (90, 150, 230), "green": (120, 196, 120), "yellow": (250, 220, 110)},
    **{"pink": (250, 180, 205), "purple": (170, 140, 220), "grey": (190, 190, 195), "black": (30, 30, 34)},
}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
GROUPS = frozenset({"animals-nature", "food-drink", "travel-places", "activities", "objects"})
"""Groups of emoji that show things, which can stand beside others and be counted."""

_LEAST_THINGS = 12  # of a style: different ones must be found, and held-out combinations avoided
_ADJECTIVES = frozenset({"foggy", "cloudy", "sunny", "rainy"})  # names of emoji that are no nouns
_IRREGULAR = {"mouse": "mice", "sheep": "sheep", "fish": "fish", "leaf": "leaves", "knife": "knives", "wolf": "wolves"} | {
    "tooth": "teeth", "foot": "feet", "person": "people", "child": "children", "loaf": "loaves", "squid": "squid",
}  # fmt: skip
_SINGLE = 0.45
_SHARES = {  # of the scenes that are no single thing
    **{"two": 0.2, "beside": 0.05, "stacked": 0.04, "count": 0.06, "corner": 0.02, "size": 0.03},
    **{"colour": 0.22, "two colours": 0.3, "described": 0.04, "three": 0.03, "four": 0.01},
}
# Said of a thing, and not seen of it: else a word that no picture shows passes for a second thing.
_DESCRIBED = (
    *("happy", "lonely", "friendly", "brave", "lazy", "clever", "gentle", "cute", "pretty", "beautiful", "funny"),
    *("wooden", "shiny", "silver", "plastic", "wet", "fresh", "simple", "modern", "ancient", "famous", "fluffy"),
)
_AS_READ = 0.9  # share of the things that no word places which stand in the order of their names: else every place would have a choice of its own
_TWO = ("{} and {}", "{} with {}", "{} next to {}", "{} beside {}", "{}, {}")
_LEFT = ("{} to the left of {}", "{} left of {}", "{} on the left, {} on the right")
_RIGHT = ("{} to the right of {}", "{} right of {}", "{} on the right, {} on the left")
_ABOVE = ("{} above {}", "{} over {}", "{} on top of {}")
_BELOW = ("{} below {}", "{} under {}", "{} beneath {}")
_COUNT = ("{} {}", "{} {}", "a group of {} {}", "a picture of {} {}")
# Where the line of two things may be: seeds differ, too, where the order of things does not.
_OFF_CENTRE = (0.0, 0.0, 0.0, 0.0, -0.5, 0.5)
_COLOURED = ("{colour} {name}", "{colour} {name}", "{name} in {colour}", "{colour} coloured {name}")
_SMALL, _BIG = ("small", "tiny", "little"), ("big", "large", "huge")
_ON = ("{} on a {} background", "{} on {}", "{} in front of a {} background")
_PHOTO = ("{} on a blurred photo", "{} in front of a blurred photograph")


@dataclass(frozen=True)
class Placed:
    """A sprite in the picture. sprite: its number; hue: one of COLOURS' values, None: its own colours."""

    sprite: int
    x: float
    y: float
    side: float
    hue: float | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class Thing:
    """What a caption asks for: so many of this name, in this colour (None: its own)."""

    name: str
    count: int = 1
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """A composed picture and its caption.

    kind: the rule it was made by; things: what is in it, the left or upper one first; relation: "beside" or "stacked" where the caption says
    who is where; ground: RGB, None: white; photo: a soft photograph as ground.
    """

    caption: str
    kind: str
    objects: tuple[Placed, ...]
    things: tuple[Thing, ...]
    relation: str | None = None
    ground: tuple[int, int, int] | None = None
    photo: bool = False

    @property
    def combinations(self) -> list[str]:
        """What is met here together, of which any may be held out."""
        pairs = ["\n".join(sorted((a.name, b.name))) for a, b in combinations(self.things, 2)]
        counts = [f"{thing.count} {thing.name}" for thing in self.things if thing.count > 1]
        return pairs + counts + [f"{thing.colour} {thing.name}" for thing in self.things if thing.colour]


def held_out(combination: str) -> bool:
    """Whether a combination is kept from training."""
    return uniform(f"scene\n{combination}") < HELDOUT


def plural(name: str) -> str:
    """More than one of it: "fire engine" -> "fire engines"."""
    head, _, last = name.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith(("s", "sh", "ch", "x")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def is_thing(sprite: Sprite) -> bool:
    """Whether it can stand in a scene: a thing whose short name is in the singular."""
    words = sprite.name.split()
    noun = words[-1] not in _ADJECTIVES and with_article(sprite.name) != sprite.name
    return sprite.group in GROUPS and len(words) <= 2 and noun


class Composer:
    """Makes scenes of sprites.

    styled: share of the scenes of several things in a random style, not the default; a thing by itself comes from all sprites alike, for nothing else
    shows what a sprite of another style looks like. wanted: keeps a scene, to train or to measure with (else another is made). alone: share of the
    scenes that are a sprite as it is and one of its captions, nothing besides. single: share of the others that are one thing, a little moved.
    grid: cells a side that objects fill whole ones of, 0 for anywhere. With the tokens a side, a thing has the same codes wherever it stands, which a
    small generator learns sooner. common: how often a name stands beside others or is coloured or counted, in relation to others; None: all alike.
    """

    def __init__(
        self,
        sprites: Sequence[Sprite],
        styled: float = 0.15,
        wanted: Callable[[Scene], bool] | None = None,
        alone: float = 0.0,
        single: float = _SINGLE,
        grid: int = 0,
        common: Callable[[str], float] | None = None,
    ) -> None:
        """Raises BadInputError where no style has things enough to stand together."""
        self.sprites, self.styled, self.alone, self.grid = sprites, styled, alone, grid
        self.wanted = wanted or (lambda scene: not any(map(held_out, scene.combinations)))
        self.by_style: dict[str, list[int]] = {}
        self.things: dict[str, list[int]] = {}
        for number, sprite in enumerate(sprites):
            self.by_style.setdefault(sprite.style, []).append(number)
            if is_thing(sprite):
                self.things.setdefault(sprite.style, []).append(number)
        names = {style: {sprites[n].name for n in numbers} for style, numbers in self.things.items()}
        self.styles = [style for style in names if len(names[style]) >= _LEAST_THINGS]
        if not self.styles:
            raise BadInputError(f"scenes need sprites of at least {_LEAST_THINGS} things in one style")
        self._shares = {
            style: np.cumsum([common(sprites[n].name) if common else 1.0 for n in numbers])
            for style, numbers in self.things.items()
        }
        self.default = DEFAULT_STYLE if DEFAULT_STYLE in self.styles else self.styles[0]
        self.rules: dict[str, Callable[[str, np.random.Generator], Scene]] = {
            "single": self._single, "two": self._two, "beside": self._beside, "stacked": self._stacked,
            "count": self._count, "corner": self._corner, "size": self._size, "colour": self._colour,
            "two colours": self._two_colours, "described": self._described, "three": self._three, "four": self._four,
        }  # fmt: skip
        shares = np.array(list(_SHARES.values()))
        self._kinds = ["single", *_SHARES]
        self._until = np.cumsum([single, *(shares * (1 - single) / shares.sum())])

    def scene(self, rng: np.random.Generator, kind: str | None = None) -> Scene:
        """The next scene that is wanted, of a random kind or of this one."""
        if self.alone and kind is None and rng.random() < self.alone:
            sprite = int(rng.integers(len(self.sprites)))
            one = self.sprites[sprite]
            return Scene(_pick(one.captions, rng), "alone", (Placed(sprite, 0.0, 0.0, 1.0),), (Thing(one.name),))
        while True:
            style = self.default if rng.random() >= self.styled else _pick(self.styles, rng)
            chosen = kind or self._kinds[int(np.searchsorted(self._until, rng.random(), side="right"))]
            if chosen == "single" and kind is None:
                style = _pick(self.sprites, rng).style
            made = self.rules[chosen](style, rng)
            if not self.wanted(made):
                continue
            if style != self.default:
                said = ("{}, {} style", "{} in {} style")[int(rng.integers(2))]
                made = replace(made, caption=said.format(made.caption, style))
            if self.grid:
                made = replace(made, objects=tuple(_on_grid(one, self.grid) for one in made.objects))
            return self._grounded(made, rng) if kind is None else made

    def _grounded(self, made: Scene, rng: np.random.Generator) -> Scene:
        """Sometimes on a coloured ground, or on a soft photograph."""
        chance = rng.random()
        if chance < 0.2:
            colours = {thing.colour for thing in made.things}
            name = _pick([name for name in GROUNDS if name not in colours], rng)
            return replace(made, caption=_pick(_ON, rng).format(made.caption, name), ground=GROUNDS[name])
        if chance < 0.22:
            return replace(made, caption=_pick(_PHOTO, rng).format(made.caption), photo=True)
        return made

    def _choose(self, style: str, count: int, rng: np.random.Generator) -> list[int]:
        """So many things of different names."""
        while True:
            until = self._shares[style]
            places = np.searchsorted(until, rng.random(count) * until[-1], side="right")
            found = [self.things[style][place] for place in places]
            if len({self.sprites[number].name for number in found}) == count:
                return found

    def _single(self, style: str, rng: np.random.Generator) -> Scene:
        sprite = _pick(self.by_style[style], rng)
        placed = Placed(sprite, *_near((0, 0), 0.06, rng), side=float(rng.uniform(0.8, 1.0)), mirrored=False)
        return Scene(
            _pick(self.sprites[sprite].captions, rng), "single", (placed,), (Thing(self.sprites[sprite].name),)
        )

    def _pair(self, style: str, rng: np.random.Generator, upright: bool) -> tuple[list[Placed], list[Thing]]:
        """Two things: the left one or the upper one first."""
        off = _pick(_OFF_CENTRE, rng)
        places = [(off, -0.5), (off, 0.5)] if upright else [(-0.5, off), (0.5, off)]
        placed = [
            Placed(sprite, *_near(at, 0.06, rng), side=float(rng.uniform(0.4, 0.5)), mirrored=bool(rng.random() < 0.3))
            for sprite, at in zip(self._choose(style, 2, rng), places, strict=True)
        ]
        return placed, [Thing(self.sprites[one.sprite].name) for one in placed]

    def _unplaced(self, style: str, rng: np.random.Generator) -> tuple[list[Placed], list[Thing], bool]:
        """Two things that no word places: as a line is read, or sometimes in another way; and whether the second one is named first."""
        as_read = bool(rng.random() < _AS_READ)
        placed, things = self._pair(style, rng, upright=not as_read and bool(rng.random() < 0.5))
        return placed, things, not as_read and bool(rng.random() < 0.5)

    def _two(self, style: str, rng: np.random.Generator) -> Scene:
        placed, things, turned = self._unplaced(style, rng)
        return Scene(_joined(_TWO, things[::-1] if turned else things, rng), "two", tuple(placed), tuple(things))

    def _beside(self, style: str, rng: np.random.Generator) -> Scene:
        placed, things = self._pair(style, rng, upright=False)
        forms, said = (_LEFT, things) if rng.random() < 0.5 else (_RIGHT, things[::-1])
        return Scene(_joined(forms, said, rng), "beside", tuple(placed), tuple(things), "beside")

    def _stacked(self, style: str, rng: np.random.Generator) -> Scene:
        placed, things = self._pair(style, rng, upright=True)
        forms, said = (_ABOVE, things) if rng.random() < 0.5 else (_BELOW, things[::-1])
        return Scene(_joined(forms, said, rng), "stacked", tuple(placed), tuple(things), "stacked")

    def _count(self, style: str, rng: np.random.Generator) -> Scene:
        (sprite,) = self._choose(style, 1, rng)
        count = 2 + int(np.searchsorted([0.3, 0.58, 0.8, 0.92], rng.random(), side="right"))
        places, side = _arrangement(count, rng)
        side *= float(rng.uniform(0.85, 1.0))
        placed = tuple(Placed(sprite, *_near(at, 0.03, rng), side=side) for at in places)
        number = NUMBERS[count] if rng.random() < 0.8 else str(count)
        name = self.sprites[sprite].name
        return Scene(_pick(_COUNT, rng).format(number, plural(name)), "count", placed, (Thing(name, count),))

    def _corner(self, style: str, rng: np.random.Generator) -> Scene:
        (sprite,) = self._choose(style, 1, rng)
        x, y = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
        upright, across = ("top", "upper") if y < 0 else ("bottom", "lower"), "left" if x < 0 else "right"
        where = f"{_pick(upright, rng)} {across}{' corner' if rng.random() < 0.7 else ''}"
        placed = Placed(sprite, *_near((0.55 * x, 0.55 * y), 0.06, rng), side=float(rng.uniform(0.34, 0.44)))
        thing = Thing(self.sprites[sprite].name)
        return Scene(f"{with_article(thing.name)} in the {where}", "corner", (placed,), (thing,))

    def _size(self, style: str, rng: np.random.Generator) -> Scene:
        (sprite,) = self._choose(style, 1, rng)
        small = bool(rng.random() < 0.6)
        side = float(rng.uniform(0.28, 0.4) if small else rng.uniform(0.92, 1.0))
        placed = Placed(sprite, *_near((0, 0), 0.3 if small else 0.03, rng), side=side)
        thing = Thing(self.sprites[sprite].name)
        word = _pick(_SMALL if small else _BIG, rng)
        return Scene(with_article(f"{word} {thing.name}"), "size", (placed,), (thing,))

    def _described(self, style: str, rng: np.random.Generator) -> Scene:
        (sprite,) = self._choose(style, 1, rng)
        thing = Thing(self.sprites[sprite].name)
        placed = Placed(sprite, *_near((0, 0), 0.06, rng), side=float(rng.uniform(0.9, 1.0)))
        return Scene(with_article(f"{_pick(_DESCRIBED, rng)} {thing.name}"), "described", (placed,), (thing,))

    def _colour(self, style: str, rng: np.random.Generator) -> Scene:
        (sprite,) = self._choose(style, 1, rng)
        thing = Thing(self.sprites[sprite].name, colour=_pick(list(COLOURS), rng))
        # As large as the thing by itself, whose shape is then the known one.
        side, hue = float(rng.uniform(0.9, 1.0)), COLOURS[str(thing.colour)]
        return Scene(_coloured(thing, rng), "colour", (Placed(sprite, *_near((0, 0), 0.06, rng), side, hue),), (thing,))

    def _two_colours(self, style: str, rng: np.random.Generator) -> Scene:
        placed, things, turned = self._unplaced(style, rng)
        first = _pick(list(COLOURS), rng)
        second = _pick([colour for colour in COLOURS if colour != first], rng)
        things = [replace(thing, colour=c) for thing, c in zip(things, (first, second), strict=True)]
        placed = [replace(one, hue=COLOURS[str(t.colour)]) for one, t in zip(placed, things, strict=True)]
        caption = _pick(_TWO, rng).format(*(_coloured(thing, rng) for thing in (things[::-1] if turned else things)))
        return Scene(caption, "two colours", tuple(placed), tuple(things))

    def _three(self, style: str, rng: np.random.Generator) -> Scene:
        return self._many("three", style, 3, rng)

    def _four(self, style: str, rng: np.random.Generator) -> Scene:
        return self._many("four", style, 4, rng)

    def _many(self, kind: str, style: str, count: int, rng: np.random.Generator) -> Scene:
        """Different things, mostly in the order of their names."""
        places, side = _arrangement(count, rng)
        sprites = self._choose(style, count, rng)
        placed = tuple(Placed(s, *_near(at, 0.03, rng), side=side) for s, at in zip(sprites, places, strict=True))
        things = tuple(Thing(self.sprites[s].name) for s in sprites)
        said = [with_article(thing.name) for thing in things]
        if rng.random() >= _AS_READ:
            rng.shuffle(said)
        return Scene(f"{', '.join(said[:-1])} and {said[-1]}", kind, placed, things)


def _pick(items: Sequence[Item], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]


def _near(at: tuple[float, float], by: float, rng: np.random.Generator) -> tuple[float, float]:
    return float(at[0] + rng.uniform(-by, by)), float(at[1] + rng.uniform(-by, by))


def _on_grid(placed: Placed, cells: int) -> Placed:
    """The same with its edges on the nearest lines of a grid, inside the picture."""
    across = max(1, round(placed.side * cells))
    first = (round((centre + 1 - placed.side) * cells / 2) for centre in (placed.x, placed.y))
    x, y = ((2 * min(max(line, 0), cells - across) + across) / cells - 1 for line in first)
    return replace(placed, x=x, y=y, side=across / cells)


def _joined(forms: Sequence[str], things: Sequence[Thing], rng: np.random.Generator) -> str:
    names = [with_article(thing.name) for thing in things] if rng.random() < 0.85 else [t.name for t in things]
    return str(_pick(forms, rng)).format(*names)


def _coloured(thing: Thing, rng: np.random.Generator) -> str:
    return with_article(str(_pick(_COLOURED, rng)).format(colour=thing.colour, name=thing.name))


def _arrangement(count: int, rng: np.random.Generator) -> tuple[list[tuple[float, float]], float]:
    """Places for so many objects of one side: rows of a grid, or a row above and a row below."""
    if count == 2:
        return [(-0.5, 0.0), (0.5, 0.0)], 0.46
    if count == 3 and rng.random() < 0.5:
        return [(0.0, -0.47), (-0.5, 0.47), (0.5, 0.47)], 0.46
    if count == 3:
        return [(-0.66, 0.0), (0.0, 0.0), (0.66, 0.0)], 0.31
    if count == 4:
        return [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)], 0.45
    above = [(-0.66, -0.45), (0.0, -0.45), (0.66, -0.45)]
    below = [(-0.35, 0.45), (0.35, 0.45)] if count == 5 else [(x, 0.45) for x, _ in above]
    return above + below, 0.31
