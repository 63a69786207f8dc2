"""`grn inspect`: what files and runs say of themselves, for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["absent.png", "absent.MP4", "absent.npz"])
def test_a_file_that_is_not_there_is_no_model(grn: Any, name: str) -> None:
    outcome = grn("inspect", name)
    assert (outcome.code, outcome.err) == (3, f"grn: error: {name}: no such file; check the name\n")


def test_a_run_is_a_line_for_each_fact(grn: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('name = "tiny"\n')
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    lines = grn("inspect", tmp_path).text.splitlines()
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        ["kind", "run"],
        ["finished", "False"],
        ["last", "step = 2"],
        ["last", "loss = 1.5"],
        ["name", '= "tiny"'],
    ]
    assert json.loads(grn("inspect", tmp_path, "--json").text)["run"]["last"] == {"step": 2, "loss": 1.5}
