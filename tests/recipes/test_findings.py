"""The paper's findings: every comparison is one that the commands can make, with the same seeds and budget on all sides."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grn.data.sources import open_source
from grn.evaluation.sweep import values_of
from grn.refine.config import SamplerConfig
from grn.training.recipe import GeneratorRecipe, load_recipe
from recipes.findings import measure
from recipes.findings.measure import SCORE, tomllib

FINDINGS = {path.stem: tomllib.loads(path.read_text()) for path in sorted(measure.FOLDER.glob("*.toml"))}
DOCS = Path(__file__).parents[2] / "docs"
TRAINED = {name for name, finding in FINDINGS.items() if "train" in finding["base"]}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_compares_settings_and_nothing_else(name: str) -> None:
    finding = FINDINGS[name]
    assert finding["question"].endswith("?")
    assert len({line["label"] for line in finding["line"]}) == len(finding["line"]) > 1
    for line in finding["line"]:
        settings = {key: value for key, value in line.items() if key not in ("label", "recipe", "search")}
        assert ("recipe" in line) == (name in TRAINED)
        assert settings.keys() <= set(SamplerConfig.model_fields)
        for value in settings.values():
            assert values_of(str(value)) == [value]
        SamplerConfig(**settings)


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_trained_sides_have_the_same_budget_and_differ_in_what_is_asked(name: str) -> None:
    base, path = FINDINGS[name]["base"], measure.FOLDER / "train" / f"{FINDINGS[name]['base']['train']}.toml"
    assert len(set(base["seeds"])) >= 3
    own = load_recipe(path)
    assert isinstance(own, GeneratorRecipe) == ("rounds" not in base)
    for line in FINDINGS[name]["line"]:
        recipe = load_recipe(path, [f"{key}={json.dumps(value)}" for key, value in line["recipe"].items()])
        assert (recipe.run, recipe.data, recipe.optimizer) == (own.run, own.data, own.optimizer)


def test_settings_are_searched_on_other_seeds_than_they_are_measured_with() -> None:
    lines = [(finding["base"], line) for finding in FINDINGS.values() for line in finding["line"] if "search" in line]
    assert lines
    for base, line in lines:
        assert not set(base["search_seeds"]) & set(base["seeds"])
        assert all(len(values_of(text)) > 1 for text in line["search"].values())
        assert line["search"].keys() <= set(SamplerConfig.model_fields)


@pytest.mark.parametrize("name", sorted(FINDINGS.keys() - TRAINED))
def test_what_is_not_trained_is_measured_several_times(name: str) -> None:
    assert FINDINGS[name]["base"]["repeats"] >= 3


class Commands:
    """Stands in for the command line: remembers what was asked, and writes what a command would."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> int:
        self.calls.append(arguments)
        folder = Path(next((word[6:] for word in arguments if word.startswith("--out=")), "."))
        value = 500.0 + len(self.calls)  # lines are far apart, their runs by as much
        if arguments[1] == "stats":
            Path(arguments[-1]).touch()
        elif arguments[1] == "sweep" and "--guidance=1,2,4" in arguments:
            point = {"guidance": 2, "temperature": 0.7, SCORE: value - 1}
            self.write(folder / "report.json", {"points": [{"guidance": 1, "temperature": 1.3, SCORE: value}, point]})
        elif arguments[1] == "sweep":
            best = {SCORE: value + 10, f"{SCORE}_runs": [value, value + 20], "mean_steps": 20.0}
            self.write(folder / "report.json", {"best": best})
        elif arguments[1] == "fid":
            self.write(folder / "report.json", {SCORE: value})
        elif arguments[1] == "recon":
            rows = [{"rounds": rounds, "psnr": 20.0, "ssim": 0.5, "frechet": value} for rounds in (4, None)]
            print(json.dumps({"rows": rows}))
        elif arguments[0] == "train":
            Path(arguments[arguments.index("-o") + 1]).mkdir(parents=True)
        return 0

    @staticmethod
    def write(path: Path, record: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))

    @property
    def names(self) -> list[str]:
        return [call[0] if call[0] == "train" else call[1] for call in self.calls]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(measure, "run", made)
    return made


def test_a_finding_is_measured_line_by_line(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    measure.main(["refine-or-mask", "--out", str(tmp_path)])
    assert commands.names == ["stats", "sweep", "sweep", "sweep", "sweep"]
    assert "--fill=mask" in commands.calls[2]
    assert f"--reference={tmp_path / 'reference-train-128.npz'}" in commands.calls[1]
    assert "|  mask, sure |  514.00 |    2.0000 | 0.0000 |" in capsys.readouterr().out
    assert (tmp_path / "refine-or-mask.svg").read_text().startswith("<?xml")
    found = json.loads((tmp_path / "refine-or-mask.json").read_text())
    assert [row["label"] for row in found["rows"]] == ["refine", "mask", "mask, sure", "mask, sharp"]
    monkeypatch.setattr(measure, "run", lambda arguments: 3)
    with pytest.raises(SystemExit, match="3"):
        measure.main(["guidance", "--out", str(tmp_path / "other")])


def test_lines_that_are_trained_alike_share_their_trainings(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(measure, "classes", lambda captioned, count, out: out / "classes.tar")
    seeds = FINDINGS["trained-mask"]["base"]["seeds"]
    measure.main(["trained-mask", "--out", str(tmp_path)])
    others = FINDINGS["trained-mask"]["base"]["search_seeds"]
    trainings = 2 * len(seeds) + len(others)
    assert Counter(commands.names) == {"train": trainings, "stats": 1, "sweep": len(others), "fid": 3 * len(seeds)}
    masked = [call for call in commands.calls if '--set=fill="mask"' in call]
    assert {word for call in masked for word in call if "run.seed" in word} == {
        f"--set=run.seed={n}" for n in (*seeds, *others)
    }
    drawn = [call for call in commands.calls if call[1] == "fid"]
    assert {word for call in drawn for word in call if word.startswith("--seed=")} == {
        f"--seed={1000 * n}" for n in seeds
    }
    # What was found with other seeds is what is drawn with.
    assert {("--guidance=2" in call, "--temperature=0.7" in call) for call in drawn if "searched" in str(call)} == {
        (True, True)
    }
    labels = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert labels == ["refine", "mask", "mask, searched"]
    measure.main(["absolute-or-relative", "--out", str(tmp_path)])
    relative = len(FINDINGS["absolute-or-relative"]["base"]["seeds"])
    assert Counter(commands.names)["train"] == trainings + relative  # absolute bits are there already


def test_tokenizers_are_measured_at_every_number_of_rounds(tmp_path: Path, commands: Commands, capsys: Any) -> None:
    measure.main(["channels", "--out", str(tmp_path)])
    measure.main(["channels", "--out", str(tmp_path)])
    assert Counter(commands.names) == {"train": 6, "recon": 6}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[-4:]] == [
        "16 channels, M = 4",
        "16 channels, not quantized",
        "64 channels, M = 4",
        "64 channels, not quantized",
    ]


def test_classes_are_emoji_that_every_style_has(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, (code, style) in enumerate(
        (code, style) for code in "abcd" for style in ("flat", "noto") if (code, style) != ("b", "noto")
    ):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(source / f"{style}-{code}.png")
        (source / f"{style}-{code}.json").write_text(json.dumps({"hexcode": code, "style": style}))
    found = list(open_source(measure.classes(source, 2, tmp_path)))
    assert [(sample.key, sample.label) for sample in found] == [
        ("flat-a", 0),
        ("noto-a", 0),
        ("flat-c", 1),
        ("noto-c", 1),
    ]
    assert found[3].image()[0, 0, 0] == 4


@pytest.mark.parametrize("name", FINDINGS)
def test_the_page_shows_what_was_measured_with_these_settings(name: str) -> None:
    found = json.loads((DOCS / "findings" / f"{name}.json").read_text())
    assert {key: found[key] for key in FINDINGS[name]} == FINDINGS[name]
    page = (DOCS / "findings.md").read_text()
    for line in measure.table_of(found["rows"]):
        assert line in page
    assert f"findings/{name}.svg" in page
    assert (DOCS / "findings" / f"{name}.svg").is_file()
