"""The command and the library draw the same pictures for the same seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grn.media import read_image
from grn.pipeline import Pipeline


@pytest.mark.parametrize(
    ("prompts", "more", "names"),
    [
        (["cat"], [], ["cat"]),
        (["cat", "dog"], [], ["cat", "dog"]),
        (["cat", "dog"], ["-n", 2], ["cat-5", "cat-6", "dog-5", "dog-6"]),
        (["cat", "dog", "cat"], [], ["cat-5", "dog-5", "cat-6"]),
    ],
)
def test_one_rule_of_seeds(
    grn: Any,
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompts: list[str],
    more: Any,
    names: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = grn("generate", *prompts, "-m", words, "--seed", 5, *more)
    assert outcome.text.split() == [f"{name}.png" for name in names]
    asked = [prompt for prompt in prompts for _ in range(2 if more else 1)]
    for name, result in zip(names, Pipeline.from_pretrained(words)(asked, seed=5), strict=True):
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), result.frames[0])
