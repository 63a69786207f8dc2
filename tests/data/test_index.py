"""What is kept of a place on disk: made anew where it is damaged, and a full disk is named."""

import json
import os
from pathlib import Path

import pytest
from helpers.forked import code_of_child, limit_files

from grn.data.sources import open_source
from grn.errors import EnvironmentFaultError

ROW = 24


def listed(tmp_path: Path, count: int = 2, more: str = "") -> Path:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"file_name": f"{n}.png", "note": more}) + "\n" for n in range(count)))
    os.utime(path, (1e9, 1e9))  # what was changed a moment ago is not kept
    return path


def test_a_damaged_index_is_made_anew_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", str(tmp_path / "cache"))
    path = listed(tmp_path)
    open_source(path)
    (index,) = (tmp_path / "cache" / "indices").iterdir()
    whole = index.read_bytes()
    records = whole.index(b'["0.png"')
    blank, other = b"[" + b" " * 10, b'"0.png"    '
    for at, damage in ((records, blank), (records, other), (records - 2 * ROW, b"\xff" * 12)):
        index.write_bytes(whole[:at] + damage + whole[at + len(damage) :])
        source = open_source(path)
        with pytest.raises(EnvironmentFaultError, match="start again to have it made anew"):
            _ = source[0]
        assert [sample.key for sample in open_source(path)] == ["0.png", "1.png"]
        assert index.read_bytes() == whole


def test_no_room_for_what_is_kept_aside_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRN_CACHE", "/dev/null/grn")
    path = listed(tmp_path, 300, "x" * 8000)

    def opened() -> int:
        limit_files(1 << 16)
        with pytest.raises(EnvironmentFaultError, match=r"set TMPDIR to a folder with room$"):
            open_source(path)
        return 0

    assert code_of_child(opened) == 0
    assert len(open_source(path)) == 300
