"""log.jsonl: a line a row, whatever was left there."""

import json
from pathlib import Path

import pytest

from grn.errors import EnvironmentFaultError
from grn.training.figures import write_row


def test_a_row_has_a_line_of_its_own_behind_a_part_of_one(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for step in (1, 2):
        write_row(log, {"step": step, "loss": 0.12345678, "rate": 1.23456789e-5, "unreadable": ["a"]})
    whole = log.read_bytes()
    assert [json.loads(line) for line in whole.splitlines()] == [
        {"step": step, "loss": 0.123457, "rate": 1.23457e-5, "unreadable": ["a"]} for step in (1, 2)
    ]
    for left in (whole[:-1], whole[:-9], whole[: len(whole) // 2 + 1]):
        log.write_bytes(left)
        write_row(log, {"step": 3})
        assert log.read_bytes() == left + b'\n{"step": 3}\n'
    with pytest.raises(EnvironmentFaultError, match="its folder does not exist"):
        write_row(tmp_path / "none" / "log.jsonl", {"step": 1})
