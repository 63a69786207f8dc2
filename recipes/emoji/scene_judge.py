"""What is in a picture of a scene: objects are found by cutting it where there is nothing between them, and named by their nearest emoji.

A picture is uint8 [S, S, 3] on a plain ground. Boxes are (left, top, right, bottom) in pixels. Names come from the cosine of the feature
network's vectors with those of every known emoji, once in its own size and drawn small as well. Where things are asked for in a colour, they
are compared by shape and shading alone (the greatest of red, green and blue, stretched), and their colour is read from their pixels.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scenes import COLOURS
from torch import Tensor

from grn.features.efficientnet import FeatureNetwork

Box = tuple[int, int, int, int]
GROUND = 26  # levels: a pixel that differs less from the ground belongs to it
SPECK = 14  # pixels: what is smaller is no object
SIDE = 96  # pixels that a crop is scaled to before the feature network sees it
SMALL = (58, 40)  # sides that gallery pictures are shrunk to as well, as objects are in a scene
_BETTER = 0.03  # by how much parts must match better than the whole to be objects of their own
_DEPTH = 2  # cuts of cuts: rows of columns
_AT_ONCE = 64  # crops through the network


@dataclass(frozen=True)
class Seen:
    """One object: where, the nearest emoji's name, how near, and its colour."""

    box: Box
    name: str
    closeness: float
    colour: str | None

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass
class _Piece:
    """A box that may be an object, or the parts it falls into in one of several ways."""

    box: Box
    ways: list[list["_Piece"]] = field(default_factory=list)
    number: int = -1  # of its crop

    def all(self) -> Iterator["_Piece"]:
        yield self
        for way in self.ways:
            for part in way:
                yield from part.all()


def on_white(sprite: np.ndarray) -> np.ndarray:
    """uint8 [..., 4], straight alpha -> [..., 3]."""
    alpha = sprite[..., 3:].astype(np.float32) / 255
    return (sprite[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def foreground(picture: np.ndarray) -> np.ndarray:
    """bool [S, S]: what differs from the ground, whose colour is the median of the edge."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ground = np.median(edge, axis=0)
    return np.abs(picture.astype(np.int16) - ground).max(2) > GROUND


def crop(picture: np.ndarray, mask: np.ndarray, box: Box, grey: bool) -> np.ndarray:
    """What is in the box, on white, in a square with a narrow edge; float32 [SIDE, SIDE, 3] in [-1, 1]."""
    left, top, right, bottom = box
    inside, shown = mask[top:bottom, left:right], picture[top:bottom, left:right].astype(np.float32)
    if grey:
        value = shown.max(2)
        low, high = np.percentile(value[inside], (2, 98)) if inside.any() else (0.0, 1.0)
        shown = np.repeat(((value - low) / max(high - low, 8.0) * 200)[..., None], 3, 2)
    shown = np.where(inside[..., None], shown.clip(0, 255), 255)
    size = max(right - left, bottom - top)
    whole = size + 2 * max(1, round(0.04 * size))
    square = np.full((whole, whole, 3), 255, np.uint8)
    y, x = (whole - (bottom - top)) // 2, (whole - (right - left)) // 2
    square[y : y + bottom - top, x : x + right - left] = shown.round().astype(np.uint8)
    scaled = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32) / 127.5 - 1


def colour_of(picture: np.ndarray, mask: np.ndarray, box: Box) -> str | None:
    """The name of COLOURS that most of the object's pixels have; None where there is nothing."""
    left, top, right, bottom = box
    pixels = picture[top:bottom, left:right][mask[top:bottom, left:right]].astype(np.float32) / 255
    if not len(pixels):
        return None
    value, low = pixels.max(1), pixels.min(1)
    saturation = (value - low) / np.maximum(value, 1e-3)
    if np.median(value) < 0.34:
        return "black"
    if np.median(saturation) < 0.13 and np.median(value) > 0.7:
        return "white"
    vivid = value * saturation
    spread = np.maximum(value - low, 1e-3)
    red, green, blue = pixels.T
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / spread % 6, (blue - red) / spread + 2],
        (red - green) / spread + 4,
    )
    names = [name for name, at in COLOURS.items() if at >= 0]
    away = np.abs(hue[:, None] / 6 - np.array([COLOURS[name] for name in names]))
    nearest = np.minimum(away, 1 - away).argmin(1)
    return names[int(np.bincount(nearest, weights=vivid, minlength=len(names)).argmax())]


def bounds(mask: np.ndarray, box: Box) -> Box | None:
    """The box drawn in to what is there; None for less than a speck."""
    left, top, right, bottom = box
    inside = mask[top:bottom, left:right]
    if inside.sum() < SPECK:
        return None
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


def cut(mask: np.ndarray, box: Box, depth: int = _DEPTH) -> _Piece:
    """The box and the ways in which it falls into parts, by columns and by rows.

    At every gap; and, as two things may touch, at the narrowest place near the middle.
    """
    piece = _Piece(box)
    if depth == 0:
        return piece
    left, top, right, bottom = box
    for across in (True, False):
        filled = mask[top:bottom, left:right].sum(0 if across else 1)
        length = len(filled)
        gaps = [(start + end) // 2 for start, end in _runs(filled == 0)]
        middle = range(length * 2 // 5, max(length * 2 // 5 + 1, length * 3 // 5))
        narrow = min(middle, key=lambda at: (filled[at], abs(at - length // 2)))
        ways = [gaps] if gaps else []
        if narrow not in gaps and length >= 24 and filled[narrow] < 0.6 * filled.max():
            ways.append([narrow])
        for places in ways:
            ends = [0, *places, length]
            parts = []
            for start, end in itertools.pairwise(ends):
                part = (left + start, top, left + end, bottom) if across else (left, top + start, right, top + end)
                drawn = bounds(mask, part)
                if drawn is not None:
                    parts.append(cut(mask, drawn, depth - 1))
            if len(parts) > 1:
                piece.ways.append(parts)
    return piece


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Where flags are set, from here to there."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


class Judge:
    """Names what is in pictures.

    names, sprites: every known emoji, uint8 [N, S, S, 4], straight alpha.
    """

    def __init__(self, names: Sequence[str], sprites: np.ndarray, network: FeatureNetwork) -> None:
        self.network = network
        crops: dict[bool, list[np.ndarray]] = {False: [], True: []}
        self.names: list[str] = []
        for name, sprite in zip(names, sprites, strict=True):
            for side in (sprite.shape[0], *SMALL):
                self.names.append(name)
                scaled = np.asarray(Image.fromarray(sprite).resize((side, side), Image.Resampling.BILINEAR))
                picture = on_white(scaled)
                # A pale thing is seen as far as it differs from white, and in another colour as a whole.
                for grey, mask in ((False, foreground(picture)), (True, scaled[..., 3] > 127)):
                    box = bounds(mask, (0, 0, side, side)) or (0, 0, side, side)
                    crops[grey].append(crop(picture, mask, box, grey))
        self.gallery = {grey: self._features(found) for grey, found in crops.items()}

    @torch.inference_mode()
    def _features(self, crops: Sequence[np.ndarray]) -> Tensor:
        """Unit vectors [N, D]."""
        parts = [np.stack(crops[at : at + _AT_ONCE]) for at in range(0, len(crops), _AT_ONCE)]
        found = [self.network(torch.from_numpy(part).permute(0, 3, 1, 2)).float() for part in parts]
        return F.normalize(torch.cat(found), dim=1)

    def distinct(self, limit: float) -> set[str]:
        """Names that no other emoji looks like: the nearest of another name is less near than `limit`, in colour and without."""
        places = {name: n for n, name in enumerate(dict.fromkeys(self.names))}
        numbers = torch.tensor([places[name] for name in self.names])
        alike = set()
        for gallery in self.gallery.values():
            close = gallery @ gallery.T
            close[numbers[:, None] == numbers[None]] = -1
            alike |= {self.names[row] for row in (close.amax(1) >= limit).nonzero().flatten().tolist()}
        return set(self.names) - alike

    def look(self, pictures: Sequence[np.ndarray], coloured: bool) -> list[list[Seen]]:
        """The objects of each picture. coloured: things may have any colour, which is told."""
        masks = [foreground(picture) for picture in pictures]
        trees: list[_Piece | None] = []
        crops: list[np.ndarray] = []
        for picture, mask in zip(pictures, masks, strict=True):
            box = bounds(mask, (0, 0, picture.shape[1], picture.shape[0]))
            tree = None if box is None else cut(mask, box)
            trees.append(tree)
            for piece in tree.all() if tree else ():
                piece.number = len(crops)
                crops.append(crop(picture, mask, piece.box, coloured))
        if not crops:
            return [[] for _ in pictures]
        closeness, rows = (self._features(crops) @ self.gallery[coloured].T).max(1)
        found = []
        for picture, mask, tree in zip(pictures, masks, trees, strict=True):
            objects = self._best(tree, closeness)[1] if tree else []
            found.append([
                Seen(
                    piece.box,
                    self.names[int(rows[piece.number])],
                    float(closeness[piece.number]),
                    colour_of(picture, mask, piece.box) if coloured else None,
                )
                for piece in objects
            ])  # fmt: skip
        return found

    def _best(self, piece: _Piece, closeness: Tensor) -> tuple[float, list[_Piece]]:
        """The reading of a piece whose objects match best on average."""
        score, objects = float(closeness[piece.number]), [piece]
        for way in piece.ways:
            parts = [self._best(part, closeness) for part in way]
            mean = sum(score for score, _ in parts) / len(parts)
            if mean > score + (_BETTER if objects == [piece] else 0):
                score, objects = mean, [one for _, found in parts for one in found]
        return score, objects
