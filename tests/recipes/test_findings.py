"""The paper's findings: every comparison is one that `grn eval sweep` can make, with the same prompts and seeds on all sides."""

import json
from pathlib import Path
from typing import Any

import pytest

from grn.evaluation.sweep import values_of
from grn.refine.config import SamplerConfig
from recipes.findings import measure
from recipes.findings.measure import tomllib

NAMES = sorted(path.stem for path in measure.FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_finding_compares_settings_and_nothing_else(name: str) -> None:
    finding = tomllib.loads((measure.FOLDER / f"{name}.toml").read_text())
    assert finding["question"].endswith("?")
    assert finding["base"]["repeats"] >= 3
    assert len({line["label"] for line in finding["line"]}) == len(finding["line"]) > 1
    for line in finding["line"]:
        settings = {key: value for key, value in line.items() if key != "label"}
        assert settings.keys() <= set(SamplerConfig.model_fields)
        for value in settings.values():
            assert values_of(str(value)) == [value]
        SamplerConfig(**settings)


def test_a_finding_is_measured_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        calls.append(arguments)
        if arguments[1] == "sweep":
            folder = Path(next(word for word in arguments if word.startswith("--out=")).removeprefix("--out="))
            folder.mkdir(parents=True)
            runs = [500.0 + len(calls), 520.0 + len(calls)]  # far apart, but every line by as much
            best = {measure.SCORE: sum(runs) / 2, f"{measure.SCORE}_runs": runs, "mean_steps": 20.0}
            (folder / "report.json").write_text(json.dumps({"best": best}))
        return 0

    monkeypatch.setattr(measure, "run", run)
    measure.main(["refine-or-mask", "--out", str(tmp_path)])
    assert [call[1] for call in calls] == ["stats", "sweep", "sweep", "sweep", "sweep"]
    assert "--fill=mask" in calls[2]
    assert f"--reference={tmp_path / 'reference.npz'}" in calls[1:][0]
    assert "|  mask, sure |  514.00 |    2.0000 | 0.0000 |" in capsys.readouterr().out
    assert (tmp_path / "refine-or-mask.svg").read_text().startswith("<?xml")
    monkeypatch.setattr(measure, "run", lambda arguments: 3)
    with pytest.raises(SystemExit, match="3"):
        measure.main(["guidance", "--out", str(tmp_path / "other")])
