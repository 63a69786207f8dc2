"""The page of a run: all of it in one file, and nothing of what names, prompts and logs say is more than text."""

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grn.errors import BadInputError
from grn.evaluation.page import page_of
from grn.media import write_image

HOSTILE = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">&\"'"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


class Reader(html.parser.HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sweep's folder with pictures and, as nobody would have it, a training log; all names are hostile."""
    folder = tmp_path / "a <b> run"
    (folder / "samples").mkdir(parents=True)
    (folder / "pictures").mkdir()
    points = [{"guidance": g, "frechet_inception_distance": 20.0 - g, HOSTILE: g} for g in (1, 2)]
    record = {"kind": "sweep", "model": HOSTILE, "points": points, "axes": ["guidance"], "best": points[1], "seed": 7}
    record |= {"sampling": {"guidance": 1.5, HOSTILE: HOSTILE}, "steps": [10, 12, 12]}
    (folder / "report.json").write_text(json.dumps(record))
    rows = [{"step": i, "loss": 1 / i, HOSTILE: i * i} for i in range(1, 9)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 9, "lo')
    (folder / "run.toml").write_text(f"name = {HOSTILE!r}\n")
    picture = np.zeros((20, 30, 3), np.uint8)
    write_image(folder / "samples" / "000100.png", picture)
    for i in range(3):
        write_image(folder / "pictures" / f"{i}.png", picture, {"grn": json.dumps({"prompt": HOSTILE, "seed": i})})
    return folder


def test_a_page_holds_all_of_a_run_and_loads_nothing(run: Path) -> None:
    page = page_of(run)
    found = Reader(page)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "svg", "a", "base"})
    sources = [attributes["src"] or "" for tag, attributes in found.tags if tag == "img"]
    assert len(sources) == 6  # a sweep's curve, steps, pictures; two of the log; samples
    assert all(source.startswith("data:image/") for source in sources)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "default-src 'none'" in str(found.tags[:4])
    assert not re.search(r"url\(|@import", page)
    assert found.text.count(HOSTILE) >= 5
    for word in ("a <b> run", "Figures", "Settings that were tried", "Training", "Samples", "Recipe", "seed 2"):
        assert word in found.text


def test_a_run_that_went_on_has_each_step_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed at step 8 and went on from a checkpoint of step 4."""
    drawn: list[Any] = []
    monkeypatch.setattr("grn.evaluation.report.line_plot", lambda lines, x, y: drawn.append((y, lines)) or b"")
    page_of(run)
    expected = drawn.copy()
    rows = (run / "log.jsonl").read_text().splitlines()[:8]
    lost = [json.dumps({"step": step, "loss": 9.0, HOSTILE: -1}) for step in (5, 6, 7, 8)]
    (run / "log.jsonl").write_text("\n".join([*rows[:4], *lost, *rows[4:]]))
    drawn.clear()
    page_of(run)
    assert drawn == expected
    assert ("loss", {"": [(step, 1 / step) for step in range(1, 9)]}) in drawn


def test_what_there_is_to_show_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text("[1]")
    for name, message in (("empty", "no results and no training run"), ("list.json", "a list"), ("no.json", "No such")):
        with pytest.raises(BadInputError, match=message):
            page_of(tmp_path / name)
    assert "Training" not in page_of(run / "report.json")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_it_and_runs_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page_of(run))
    line = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    page = (tmp_path / "page.html").as_uri()
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*line, f"--screenshot={shot}", "--window-size=900,1200", page], check=True, capture_output=True, timeout=120
    )
    assert len(np.unique(np.asarray(Image.open(shot).convert("L")))) > 20  # text and pictures, not an empty window
    dom = subprocess.run([*line, "--dump-dom", page], check=True, capture_output=True, timeout=120).stdout.decode()
    assert "<title>a &lt;b&gt; run</title>" in dom
