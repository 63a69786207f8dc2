"""Words that no caption has: in training, a caption's words are sometimes known only by their direction.

Axes: L words of a caption, D vector dimensions.

A prompt's new word lies near a known one, not on it: "automobile" at 30 degrees from "car", "hare" at 57 from "rabbit". A network
that has met each word at one point only draws anything there. So words are turned, by a random angle, towards others of the vocabulary,
which is what a neighbour's vector looks like.
"""

import math

import numpy as np
import torch
from torch import Tensor


def turn_words(vectors: Tensor, table: Tensor, degrees: float, rng: np.random.Generator) -> Tensor:
    """Turn each word's vector by its own angle, uniform in [0, degrees], towards the vector of a random entry of the table.

    vectors: float [L, D]. table: [rows, D] of any float type. Returns float32 [L, D], each word as long as it was.
    """
    angles = torch.from_numpy(rng.uniform(0, math.radians(degrees), (len(vectors), 1))).float()
    rows = torch.from_numpy(rng.integers(len(table), size=len(vectors)))
    length = vectors.norm(dim=1, keepdim=True)
    unit = vectors / length.clamp_min(1e-12)
    aside = table[rows].float()
    aside = aside - (aside * unit).sum(1, keepdim=True) * unit  # what of it is not along the word
    aside = aside / aside.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return length * (angles.cos() * unit + angles.sin() * aside)
