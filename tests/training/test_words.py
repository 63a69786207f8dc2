"""Turned words: as long as before, at most so far away, towards the vocabulary, and decided by the seed."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from grn.training.words import turn_words


def _angles(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(F.cosine_similarity(before, after, dim=1).clamp(-1, 1).acos())


@pytest.mark.parametrize("degrees", [0.0, 20.0, 90.0])
def test_words_keep_their_length_and_turn_by_angles_up_to_the_largest(degrees: float) -> None:
    generator = torch.Generator().manual_seed(0)
    words, table = torch.randn(400, 8, generator=generator) * 3, torch.randn(50, 8, generator=generator).half()
    turned = turn_words(words, table, degrees, np.random.default_rng(0))
    assert torch.allclose(turned.norm(dim=1), words.norm(dim=1), rtol=1e-5)
    angles = _angles(words, turned)
    assert angles.max() <= degrees + 0.1
    assert angles.mean() == pytest.approx(degrees / 2, abs=degrees / 20 + 0.1)


def test_a_word_turns_in_the_plane_of_itself_and_an_entry() -> None:
    word, entry = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[3.0, 4.0, 0.0]])
    turned = turn_words(word, entry, 90.0, np.random.default_rng(3))
    angle = math.radians(float(_angles(word, turned)))
    assert torch.allclose(turned, 2 * torch.tensor([[math.cos(angle), math.sin(angle), 0.0]]), atol=1e-5)


def test_a_word_on_the_entry_itself_and_no_words_at_all() -> None:
    word = torch.tensor([[0.5, 0.25]])
    turned = turn_words(word, word, 90.0, np.random.default_rng(0))
    assert torch.isfinite(turned).all()
    assert turn_words(torch.zeros(0, 2), word, 60.0, np.random.default_rng(0)).shape == (0, 2)


def test_the_seed_decides() -> None:
    words, table = torch.randn(3, 4), torch.randn(9, 4)
    once, again, other = (turn_words(words, table, 60.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
