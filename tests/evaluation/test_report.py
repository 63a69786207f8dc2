"""Tables, histograms and plots."""

import math

import pytest

from grn.errors import UsageError
from grn.evaluation import report
from grn.evaluation.reconstruction import Quality

ROWS = [Quality(1, 0.0625, 15.0, 0.5, 40.0), Quality(4, 0.25, 25.0, 0.9, 10.0), Quality(None, None, 26.0, 0.95, 9.0)]


def test_table_aligns_and_shows_missing_values():
    found = report.table(["rounds", "psnr"], [[1, 25.0], ["none", None]])
    assert found == ["rounds   psnr", "     1  25.00", "  none      -"]


def test_markdown_table():
    found = report.table(["rounds", "ssim"], [[1, 0.5], [16, 0.98765]], markdown=True)
    assert found == ["| rounds |   ssim |", "| -----: | -----: |", "|      1 | 0.5000 |", "|     16 | 0.9877 |"]


def test_histogram_shows_every_value_between_least_and_most():
    assert report.histogram([10, 10, 10, 10, 12], width=8) == ["  10 | ######## 4", "  11 |  0", "  12 | ## 1"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots_are_written_whole(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    rounds, steps = tmp_path / f"rounds.{suffix}", tmp_path / f"steps.{suffix}"
    report.plot_rounds(ROWS, "net", rounds)
    report.plot_steps([10, 20, 20, 50], (10, 50), "steps", steps)
    for path in (rounds, steps):
        assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_comparison_draws_what_differs_whatever_it_is_called(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        ("fid", [10.0, 5.0, None], None),
        ("same", [3.0, 3.0, 3.0], 1.0),
        ("new", [None, 2.0, 2.0], None),
        ("change", [1.0, -2.0, math.inf], None),
        ("$\\frac{_cost", [2.0, 1.0, 8.0], 4.0),
    ]
    report.plot_comparison(rows, ["$a", "_b", "$\\x{c"], tmp_path / "ratios.svg")
    text = (tmp_path / "ratios.svg").read_text()
    for shown in ("fid", "$\\frac{_cost", "ratio to $a", "_b", "$\\x{c"):
        assert f"<!-- {shown} -->" in text
    for left_out in ("same", "new", "change"):
        assert f"<!-- {left_out} -->" not in text
    with pytest.raises(UsageError, match="differ in no figure"):
        report.plot_comparison(rows[1:3], ["a", "b", "c"], tmp_path / "none.svg")
