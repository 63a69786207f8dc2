"""Which of a sample's captions a step is told: drawn by weight and type, tagged, or left out."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.training import changed, text_recipe

from grn.errors import BadInputError
from grn.text.word_vectors import StaticWordVectors
from grn.tokenizer import Tokenizer
from grn.training.generator_data import CaptionChoice, GeneratorData
from grn.training.task import Slot

CAPTIONS = [
    {"content": "right", "type": "long"},
    {"content": "left", "type": "short"},
    {"content": "right right", "type": "other", "weight": 2},
]


def drawn(source: dict[str, Any], steps: int = 800) -> dict[str, float]:
    recipe = changed(text_recipe("pictures", "tokenizer", "words"), {"data.sources": [{"path": "pictures"} | source]})
    data = GeneratorData(recipe, Tokenizer.from_pretrained("tokenizer"), StaticWordVectors.load(Path("words")))
    found = [data.read(Slot(step, 0, step % 8)).condition for step in range(steps)]
    texts = Counter(one.text for one in found if isinstance(one, CaptionChoice))
    return {text: count / steps for text, count in texts.items()}


@pytest.fixture
def several(captioned: Path) -> Path:
    for path in captioned.glob("pictures/*/*.txt"):
        path.with_suffix(".json").write_text(json.dumps({"captions": CAPTIONS}))
    return captioned


def test_captions_are_drawn_by_weight_and_type_behind_a_tag(several: Path) -> None:
    close = lambda shares: pytest.approx(shares, abs=0.05)  # noqa: E731
    assert drawn({}) == close({"right": 0.225, "left": 0.225, "right right": 0.45, "": 0.1})
    types = {"captions": {"long": 3, "short": 1}}
    assert drawn(types) == close({"right": 0.675, "left": 0.225, "": 0.1})
    assert drawn(types | {"tag": "left "}) == close({"left right": 0.675, "left left": 0.225, "": 0.1})


def test_a_sample_whose_captions_may_not_be_drawn_is_named(several: Path) -> None:
    with pytest.raises(BadInputError, match=r"no caption may be drawn \(found types long, other, short\)"):
        drawn({"captions": {"medium": 1}})
