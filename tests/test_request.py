"""What a call asks for: seeds, sizes, and the names that other libraries have for things."""

from typing import Any

import numpy as np
import pytest

from grn.errors import UsageError
from grn.refine.config import SamplerConfig
from grn.request import HABITS, DrawOptions, Request


def test_one_prompt_is_one() -> None:
    """Not as many as it has letters."""
    assert Request.of("a cat").prompts == ("a cat",)
    assert Request.of(3).prompts == (3,)
    assert Request.of(["a cat", "a dog"]).prompts == ("a cat", "a dog")
    assert Request.of([]).prompts == ()


def test_the_nth_picture_of_a_prompt_has_seed_plus_n() -> None:
    assert Request.of("a").seeds == (0,)
    assert Request.of(["a", "b", "a", "a", "b"], seed=7).seeds == (7, 7, 8, 9, 8)
    assert Request.of([1, 1, 2], seed=np.int64(3)).seeds == (3, 4, 3)
    assert Request.of(["a", "a"], seed=[5, 5]).seeds == (5, 5)
    assert Request.of(["a", "a"], seed=range(5, 7)).seeds == (5, 6)


def test_a_size_for_all_or_for_each() -> None:
    assert Request.of(["a", "b"]).sizes == (None, None)
    assert Request.of(["a", "b"], size=(32, 64)).sizes == ((32, 64), (32, 64))
    assert Request.of(["a", "b"], size=[(32, 64), (9, 16, 16)]).sizes == ((32, 64), (9, 16, 16))
    assert Request.of(["a", "b"], size=32).sizes == ((32, 32), (32, 32))


def test_what_is_not_of_the_call_is_of_the_sampler() -> None:
    request = Request.of("a", steps=5, guidance=None, negative_prompt="b", batch_size=2)
    assert request.overrides == {"steps": 5, "guidance": None}
    assert (request.negative_prompt, request.batch_size, request.known, request.callback) == ("b", 2, None, None)
    assert SamplerConfig.model_fields.keys() < DrawOptions.__annotations__.keys()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": [0]}, "1 seeds for 2 pictures: expected one for each, or one for all"),
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"seed": None}, "seed None: expected a whole number, or one for each"),
        ({"seed": 1.5}, "seed 1.5: expected a whole number"),
        ({"seed": [3, -2]}, "seed -2: expected 0 or more"),
        ({"size": [(32, 32)]}, "1 sizes for 2 pictures"),
        ({"batch_size": 0}, "batch_size 0: expected 1 or more"),
    ],
)
def test_numbers_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Request.of(["a", "b"], **options)


@pytest.mark.parametrize(
    ("habit", "ours"),
    [
        ("num_inference_steps", "steps"),
        ("guidance_scale", "guidance"),
        ("generator", "seed"),
        ("num_images_per_prompt", "a list of prompts"),
        ("image", "known=grn.refined_picture"),
        ("height", r"size=\(height, width\)"),
    ],
)
def test_habits_are_told_our_names(habit: str, ours: str) -> None:
    with pytest.raises(UsageError, match=f"{habit}: is not known here; it is {ours}"):
        Request.of("a", **{habit: 30})


def test_no_prompt_at_all() -> None:
    nothing: Any = None
    with pytest.raises(UsageError, match="prompts: expected a text, a class, or a list of them"):
        Request.of(nothing)


def test_no_habit_is_a_name_of_ours() -> None:
    assert not HABITS.keys() & DrawOptions.__annotations__.keys()
