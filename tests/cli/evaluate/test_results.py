"""`grn eval compare`: results beside each other."""

import json
from pathlib import Path
from typing import Any


def test_compare_shows_results_side_by_side(grn: Any, here: Path) -> None:
    Path("a.json").write_text('{"model": "x", "frechet": 20.0, "seconds": 3}')
    Path("b.json").write_text('{"model": "y", "frechet": 15.0}')
    lines = grn("eval", "compare", "a.json", "b.json").text.splitlines()
    assert [line.split() for line in lines] == [
        ["a.json", "b.json", "ratio"],
        ["frechet", "20.00", "15.00", "0.7500"],
        ["seconds", "3.0000", "-", "-"],
    ]
    record = json.loads(grn("eval", "compare", "a.json", "b.json", "--json").text)
    assert record["frechet"] == {"values": {"a.json": 20.0, "b.json": 15.0}, "ratio": 0.75}
    assert grn("eval", "compare", "a.json", "b.json", "--markdown").text.startswith("| ")
    assert grn("eval", "compare", "a.json", "b.json", "--plot", "ratios.png").code == 0
    assert grn("eval", "compare", "a.json", "b.json", "--plot", "ratios.png").code == 2  # it is there
    assert grn("eval", "compare", "a.json").code == 2
    assert grn("eval", "compare", "a.json", "none.json").code == 3
