"""Starting from pictures and clips, in the library: what is given stays, what is asked for changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.generators import SIDE
from PIL import Image

from grn import editing
from grn.errors import UsageError
from grn.media import to_pixels
from grn.pipeline import Pipeline
from grn.refine.step import StepView


@pytest.fixture(scope="module")
def drawing(words: Path) -> Pipeline:
    """Pictures from words."""
    return Pipeline.from_pretrained(words)


@pytest.fixture(scope="module")
def filming(clips_model: Path) -> Pipeline:
    """Clips from words."""
    return Pipeline.from_pretrained(clips_model)


def _pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]


def _tokens(pipeline: Pipeline, frames: list[np.ndarray]) -> torch.Tensor:
    return pipeline.tokenizer.encode(to_pixels(np.stack(frames)), pipeline.rounds)[0]


def _last(pipeline: Pipeline, known: Any, size: tuple[int, ...], **options: Any) -> tuple[np.ndarray, torch.Tensor]:
    """Frames of a cat drawn from what is known, and their indices."""
    views: list[StepView] = []
    (result,) = pipeline(["cat"], known=known, size=size, callback=views.append, **options)
    return result.frames, pipeline.indices(views[-1].prediction)


PICTURE = (1, SIDE, SIDE)


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_outside_the_mask_the_tokens_are_the_pictures(drawing: Pipeline, strength: float) -> None:
    (photo,) = _pictures(1)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[17:30, 40] = True  # in row 1 and column 2 of 4x4 tokens of 16 pixels
    mask[32, 63] = True
    known = editing.refined_picture(drawing, Image.fromarray(photo), strength, mask)
    frames, indices = _last(drawing, known, PICTURE, steps=8)
    kept = torch.ones(1, 4, 4, dtype=torch.bool)
    kept[0, 1, 2] = kept[0, 2, 3] = False
    given = _tokens(drawing, [photo])
    assert torch.equal(indices[kept], given[kept])
    assert (indices[~kept] != given[~kept]).any(-1).all()
    # The picture is the decoding of these very tokens.
    assert np.array_equal(frames, drawing.pictures(indices[None])[0])


def test_what_is_known_says_the_size(filming: Pipeline) -> None:
    (photo,) = _pictures(1)
    wide = np.concatenate([photo, photo], 1)
    for known, shape in (
        (editing.refined_picture(filming, wide, 0.5), (1, SIDE, 2 * SIDE, 3)),
        (editing.animated_picture(filming, photo, 5), (5, SIDE, SIDE, 3)),
    ):
        assert filming("cat", known=known, steps=2).frames.shape == shape


def test_strength_says_how_much_of_a_picture_is_left(drawing: Pipeline) -> None:
    (photo,) = _pictures(1)
    given = _tokens(drawing, [photo])
    shares = []
    for strength in (0.05, 0.5, 1.0):
        known = editing.refined_picture(drawing, photo, strength)
        assert not known.fixed.any()
        indices = _last(drawing, known, PICTURE, steps=20)[1]
        shares.append(float((indices == given).float().mean()))
    assert len(set(shares)) == 3
    # A network that was never trained draws what it likes; of a picture wholly redrawn, chance is what is left.
    free = [r.frames.tobytes() for r in drawing(["cat"], size=PICTURE, steps=20)]
    assert free == [_last(drawing, editing.refined_picture(drawing, photo, 1.0), PICTURE, steps=20)[0].tobytes()]


def test_a_clip_begins_with_the_picture(filming: Pipeline) -> None:
    (photo,) = _pictures(1)
    known = editing.animated_picture(filming, photo, 9)
    frames, indices = _last(filming, known, (9, SIDE, SIDE))
    assert frames.shape == (9, SIDE, SIDE, 3)
    assert torch.equal(indices[:1], _tokens(filming, [photo]))
    assert np.array_equal(frames[:1], filming.pictures(_tokens(filming, [photo])[None])[0])
    other = _last(filming, None, (9, SIDE, SIDE))[1]
    assert (indices[1:] != other[1:]).any()  # what comes after heeds it


@pytest.mark.parametrize(
    ("count", "length", "used"),
    [(30, 17, slice(25, 30)), (3, 17, slice(2, 3)), (6, 17, slice(1, 6)), (9, 9, slice(8, 9)), (1, 9, slice(0, 1))],
)
def test_a_clip_goes_on_from_the_last_frames(filming: Pipeline, count: int, length: int, used: slice) -> None:
    clip = _pictures(count)
    known = editing.continued_clip(filming, iter(clip), length)
    frames, indices = _last(filming, known, (length, SIDE, SIDE))
    given = _tokens(filming, clip[used])
    assert frames.shape[0] == length
    assert torch.equal(indices[: len(given)], given)
    assert torch.equal(known.fixed.flatten(1).all(1), torch.arange(len(indices)) < len(given))


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 9, 12])
def test_clips_are_as_long_as_asked_for(filming: Pipeline, frames: int) -> None:
    (result,) = filming(["cat"], size=(frames, 32, 48))
    assert result.frames.shape == (frames, 32, 48, 3)
    (default,) = filming(["cat"])
    assert default.frames.shape == (9, SIDE, SIDE, 3)
    assert (filming.frames, filming.fps) == (9, 4.0)


def test_what_cannot_be_drawn_is_refused(drawing: Pipeline, filming: Pipeline) -> None:
    (photo,) = _pictures(1)
    with pytest.raises(UsageError, match="5 frames: tiny-words draws still pictures"):
        drawing(["cat"], size=(5, SIDE, SIDE))
    with pytest.raises(UsageError, match="still pictures"):
        editing.animated_picture(drawing, photo, 5)
    with pytest.raises(UsageError, match="a clip of 1 frames is 1 tokens long and 1 would be given"):
        editing.animated_picture(filming, photo, 1)
    with pytest.raises(UsageError, match="nothing in it is white"):
        editing.refined_picture(drawing, photo, 1.0, np.zeros((SIDE, SIDE), bool))
    with pytest.raises(UsageError, match="use multiples of 16"):
        editing.refined_picture(drawing, photo[:40], 1.0)
    for strength in (0.0, 1.1, -1.0):
        with pytest.raises(UsageError, match="out of range"):
            editing.refined_picture(drawing, photo, strength)
