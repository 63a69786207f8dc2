"""Results as JSON beside each other: all figures by name, ratios, and files that hold none."""

import json
from pathlib import Path

import pytest

from grn.errors import BadInputError
from grn.evaluation.records import load_record, side_by_side


def written(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record))
    return path


def test_figures_are_found_at_any_depth(tmp_path: Path) -> None:
    record = {
        "model": "a",
        "fid": 12.5,
        "ok": True,
        "none": None,
        "rows": [{"psnr": 30}, {"psnr": 31.5}],
        "steps": [1] * 40,
    }
    assert load_record(written(tmp_path / "a.json", record)) == {"fid": 12.5, "rows.0.psnr": 30, "rows.1.psnr": 31.5}


def test_figures_stand_side_by_side_with_the_ratio_of_the_last_to_the_first() -> None:
    rows = side_by_side([{"fid": 10.0, "kid": 0.0, "old": 1.0}, {"fid": 9.0}, {"fid": 5.0, "kid": 1.0, "new": 2.0}])
    assert rows == [
        ("fid", [10.0, 9.0, 5.0], 0.5),
        ("kid", [0.0, None, 1.0], None),
        ("old", [1.0, None, None], None),
        ("new", [None, None, 2.0], None),
    ]


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00", "[" * 100_000, '{"a": 1} {"b": 2}'])
def test_what_holds_no_results_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInputError, match=r"a\.json: no results of a measurement \(") as caught:
        load_record(tmp_path / "a.json")
    assert len(str(caught.value)) < 400
    with pytest.raises(BadInputError, match="No such file"):
        load_record(tmp_path / "none.json")
