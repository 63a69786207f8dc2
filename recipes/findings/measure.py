"""One of the paper's findings at a small size: `python recipes/findings/measure.py refine-or-mask [--out runs/findings]`.

NAME.toml beside this script says what is asked, what the paper found, and which sampling settings are compared: `base`
holds the options of `grn eval sweep` that all share, each `line` its label and its own. Every line draws the same prompts
from the same seeds. What has been measured already is not drawn again; a table and NAME.svg come out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from grn.evaluation.report import table
from grn.evaluation.sweep import spread_of
from grn_cli.app import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
SCORE = "frechet_inception_distance"


def options_of(settings: dict[str, Any]) -> list[str]:
    """{"guidance_start": 0.3} -> ["--guidance-start=0.3"]."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "label"]


def reference(base: dict[str, Any], out: Path) -> int:
    """Gather the statistics of the real pictures once, for all findings; an exit code."""
    if (out / "reference.npz").is_file():
        return 0
    out.mkdir(parents=True, exist_ok=True)
    shared = {name: base[name] for name in ("keep", "resolution") if name in base}
    made = ["eval", "stats", base["captions"], *options_of(shared), "--size=128", "-o", str(out / "reference.npz")]
    return run(made)


def measure(name: str, out: Path, more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Each line's label and its figures. Raises SystemExit with the command's code where one fails."""
    finding = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    if code := reference(finding["base"], out):
        sys.exit(code)
    found = []
    for line in finding["line"]:
        folder = out / name / line["label"].replace(" ", "-").replace(",", "")
        settings = {**finding["base"], "reference": out / "reference.npz", "out": folder, **line}
        if code := run(["eval", "sweep", *options_of(settings), *more]):
            sys.exit(code)
        found.append({"label": line["label"], **json.loads((folder / "report.json").read_text())["best"]})
    return found


def differences(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Of each line to the first: the mean over the runs, which share prompts and seeds, and half of its 95% interval."""
    runs = [row[f"{SCORE}_runs"] for row in rows]
    found = []
    for one in runs:
        mean, half = spread_of([value - first for value, first in zip(one, runs[0], strict=True)])
        found.append((mean, half or 0.0))
    return found


def plot(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """How much farther from the real pictures each line is than the first, with the interval that holds it with 95%."""
    figure = Figure(figsize=(5.6, 0.7 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    found = differences(rows)
    labels = [row["label"] for row in rows]
    axes.errorbar([mean for mean, _ in found], labels, xerr=[half for _, half in found], fmt="o", capsize=3)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(y=0.15)
    axes.set_xlabel(title, fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str]) -> None:
    """Measure a finding, print its table as Markdown, and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=sorted(path.stem for path in FOLDER.glob("*.toml")))
    parser.add_argument("--out", type=Path, default=Path("runs/findings"))
    given = parser.parse_args(arguments)
    rows = measure(given.name, given.out)
    found = zip(rows, differences(rows), strict=True)
    cells = [[row["label"], row[SCORE], mean, half, row["mean_steps"]] for row, (mean, half) in found]
    print("\n".join(table(["", "Frechet", f"to {rows[0]['label']}", "+-", "steps"], cells, markdown=True)))
    plot(rows, f"Frechet distance, difference to {rows[0]['label']}", given.out / f"{given.name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
