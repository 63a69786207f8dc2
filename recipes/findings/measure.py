"""One of the paper's findings at a small size: `python recipes/findings/measure.py refine-or-mask [--out runs/findings]`.

NAME.toml beside this script says what is asked, what the paper found, and what is compared: `base` is what all lines share, each
`line` has its label and its own. There are three kinds:

    a model that is there   base.model; a line's keys are sampling settings. `base.repeats` runs, each of other prompts and seeds.
    trained generators      base.train names a recipe in train/; a line's `recipe` changes some of its keys, the others are sampling
                            settings. `base.seeds` trainings, from which pictures of all classes are drawn.
                            A line's `search` names values of settings instead: those are taken that are best, on average over
                            trainings from other seeds, `base.search_seeds`.
    trained tokenizers      the same with base.rounds, the numbers of rounds at which held-out pictures are reconstructed.

Run i of every line has the same seed and prompts. What has been trained or measured already is not done again, and lines that are
trained alike share their trainings. A table, NAME.json and NAME.svg come out.
"""

import argparse
import contextlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from grn.data.sources import open_source
from grn.evaluation.report import table
from grn.evaluation.sweep import spread_of
from grn_cli.app import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
SCORE = "frechet_inception_distance"
NAMES = {SCORE: "Frechet", "psnr": "PSNR", "ssim": "SSIM", "mean_steps": "steps"}
DRAWN = (
    "num",
    "batch_size",
    "resolution",
    "steps",
    "guidance",
)  # what the lines of trained generators share of drawing
COMPARED = (SCORE, "psnr")  # of these, also the difference to the first line


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """{"guidance_start": 0.3} -> ["--guidance-start=0.3"]."""
    return [
        f"--{name.replace('_', '-')}={value}"
        for name, value in settings.items()
        if name not in ("label", "recipe", "search")
    ]


def command(*words: object) -> None:
    """Run a command of grn. Raises SystemExit with its code where it fails."""
    if code := run([str(word) for word in words]):
        sys.exit(code)


def reference(data: Path | str, base: Mapping[str, Any], size: int, out: Path) -> Path:
    """Gather the statistics of the real pictures, once for all findings of these."""
    path = out / f"reference-{Path(data).stem}-{size}.npz"
    if not path.is_file():
        shared = {name: base[name] for name in ("keep", "resolution") if name in base}
        command("eval", "stats", data, *options_of(shared), f"--size={size}", "-o", path)
    return path


def classes(captioned: Path, count: int, out: Path) -> Path:
    """Write a tar of `count` classes: one for each emoji that every style has, spread over all of those, with a picture of each style."""
    path = out / f"classes-{count}.tar"
    if path.is_file():
        return path
    found: dict[str, list[Any]] = {}
    for sample in open_source(captioned):
        found.setdefault(sample.info["hexcode"], []).append(sample)
    styles = max(map(len, found.values()))
    whole = sorted(code for code, samples in found.items() if len(samples) == styles)
    with tarfile.open(path.with_suffix(".part"), "w") as tar:
        for number, code in enumerate(whole[i * len(whole) // count] for i in range(count)):
            for sample in sorted(found[code], key=lambda sample: sample.info["style"]):
                for suffix, data in ((".png", sample.data()), (".cls", str(number).encode())):
                    about = tarfile.TarInfo(f"{sample.info['style']}-{code}{suffix}")
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))
    return path.with_suffix(".part").rename(path)


def trained(
    recipe: str, changes: Mapping[str, Any], seed: int, out: Path, data: Path | None = None
) -> tuple[Path, float]:
    """Train a model, on other data than the recipe's where they are given, or find it trained.

    Returns its folder, and the seconds of processor time that it took.
    """
    told_apart = [*([data.stem] if data else []), *(f"{key}={value}" for key, value in sorted(changes.items()))]
    name = ",".join([recipe, *told_apart, f"seed={seed}"])
    folder, told = out / "trained" / name, out / "trained" / name / "seconds.json"
    if not told.is_file():
        sets = [f"{key}={json.dumps(value)}" for key, value in {**changes, "run.seed": seed}.items()]
        sets += [f"data.sources=[{{path={json.dumps(str(data))}}}]"] if data else []
        words = [f"--set={one}" for one in sets]
        start = time.process_time()
        command("train", FOLDER / "train" / f"{recipe}.toml", "-q", "-o", folder, *words)
        told.write_text(json.dumps(time.process_time() - start))
    return folder / "final", json.loads(told.read_text())


def of_model(line: Mapping[str, Any], base: Mapping[str, Any], folder: Path, out: Path) -> list[dict[str, Any]]:
    """Figures of a line of a model that is there: one row, with those of each run."""
    settings = {**base, "reference": reference(base["captions"], base, 128, out), "out": folder, **line}
    command("eval", "sweep", *options_of(settings))
    best = json.loads((folder / "report.json").read_text())["best"]
    return [{"label": line["label"], SCORE: best[f"{SCORE}_runs"], "mean_steps": [best["mean_steps"]]}]


def searched(
    line: Mapping[str, Any], base: Mapping[str, Any], folder: Path, out: Path, data: Path
) -> list[dict[str, Any]]:
    """What each combination of a line's `search` is worth on average over the trainings of that; the best one first."""
    found: dict[str, list[dict[str, Any]]] = {}
    own = {name: base[name] for name in DRAWN if name in base}
    for seed in base["search_seeds"]:
        model, _ = trained(base["train"], line["recipe"], seed, out, data)
        place = folder / f"search-{seed}"
        settings = {**own, "model": model, "reference": reference(data, base, base["size"], out), "seed": 1000 * seed}
        command("eval", "sweep", "-q", *options_of({**settings, "out": place, **line["search"]}))
        for point in json.loads((place / "report.json").read_text())["points"]:
            tried = {name: point[name] for name in line["search"]}
            found.setdefault(json.dumps(tried), []).append({**tried, SCORE: point[SCORE]})
    means = [{**points[0], SCORE: spread_of([point[SCORE] for point in points])[0]} for points in found.values()]
    return sorted(means, key=lambda point: float(point[SCORE]))


def of_generators(line: Mapping[str, Any], base: Mapping[str, Any], folder: Path, out: Path) -> list[dict[str, Any]]:
    """Figures of a line of trained generators: one row, with those of each training."""
    data = Path(base["data"]) if "data" in base else classes(Path(base["captions"]), base["classes"], out)
    own = {name: base[name] for name in DRAWN if name in base}
    row: dict[str, Any] = {"label": line["label"], SCORE: [], "seconds": []}
    if "search" in line:
        row["search"] = searched(line, base, folder, out, data)
        line = {**line, **{name: row["search"][0][name] for name in line["search"]}}
    for seed in base["seeds"]:
        model, seconds = trained(base["train"], line["recipe"], seed, out, data)
        settings = {**own, "model": model, "reference": reference(data, base, base["size"], out), "seed": 1000 * seed}
        run_folder = folder / str(seed)
        command(
            "eval", "fid", "-q", *options_of({**settings, "out": run_folder, "save": run_folder / "pictures", **line})
        )
        row[SCORE].append(json.loads((run_folder / "report.json").read_text())[SCORE])
        row["seconds"].append(seconds)
    return [row]


def of_tokenizers(line: Mapping[str, Any], base: Mapping[str, Any], folder: Path, out: Path) -> list[dict[str, Any]]:
    """Figures of a line of trained tokenizers: a row for each number of rounds, with those of each training."""
    own = {name: base[name] for name in base if name not in ("train", "seeds")}
    rows: dict[Any, dict[str, Any]] = {}
    for seed in base["seeds"]:
        model, seconds = trained(base["train"], line["recipe"], seed, out)
        told = folder / f"{seed}.json"
        if not told.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                command("eval", "recon", "-q", "--json", *options_of({**own, "tokenizer": model}))
            told.write_text(printed.getvalue())
        for one in json.loads(told.read_text())["rows"]:
            label = f"{line['label']}, {'not quantized' if one['rounds'] is None else 'M = ' + str(one['rounds'])}"
            row = rows.setdefault(one["rounds"], {"label": label, "psnr": [], "ssim": [], SCORE: [], "seconds": []})
            for key, value in (
                ("psnr", one["psnr"]),
                ("ssim", one["ssim"]),
                (SCORE, one["frechet"]),
                ("seconds", seconds),
            ):
                row[key].append(value)
    return list(rows.values())


def measure(name: str, out: Path) -> dict[str, Any]:
    """What a finding asks, and its rows: each label with its figures of every run."""
    finding = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    base, rows = finding["base"], []
    out.mkdir(parents=True, exist_ok=True)
    way = of_model if "train" not in base else of_tokenizers if "rounds" in base else of_generators
    for line in finding["line"]:
        rows += way(line, base, out / name / line["label"].replace(" ", "-").replace(",", ""), out)
    return {**finding, "rows": rows}


def difference(row: Mapping[str, Any], first: Mapping[str, Any], key: str) -> tuple[float, float]:
    """To the first row: the mean over the runs, which share prompts and seeds, and half of its 95% interval."""
    mean, half = spread_of([value - other for value, other in zip(row[key], first[key], strict=True)])
    return mean, half or 0.0


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown: each figure's mean over the runs, and of those that are compared the difference to the first row."""
    keys = [key for key in NAMES if key in rows[0]]
    headers = [""]
    cells: list[list[object]] = [[row["label"]] for row in rows]
    for key in keys:
        headers += [NAMES[key], *((f"to {rows[0]['label']}", "+-") if key in COMPARED else ())]
        for line, row in zip(cells, rows, strict=True):
            line += [spread_of(row[key])[0], *(difference(row, rows[0], key) if key in COMPARED else ())]
    return table(headers, cells, markdown=True)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """How far each row is from the first, by each figure that is compared, with the interval that holds it with 95%."""
    keys = [key for key in COMPARED if key in rows[0]]
    figure = Figure(figsize=(1 + 4.6 * len(keys), 0.7 + 0.36 * len(rows)), layout="constrained")
    labels = [row["label"] for row in rows]
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False, sharey=True)[0], keys, strict=True):
        found = [difference(row, rows[0], key) for row in rows]
        axes.errorbar([mean for mean, _ in found], labels, xerr=[half for _, half in found], fmt="o", capsize=3)
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.margins(y=0.15)
        name = "Frechet distance" if key == SCORE else f"{NAMES[key]} (dB)"
        axes.set_xlabel(f"{name}, difference to {rows[0]['label']}", fontsize=8)
        axes.grid(alpha=0.3)
    axes.invert_yaxis()  # shared: of all
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str]) -> None:
    """Measure a finding, print its table as Markdown, and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=sorted(path.stem for path in FOLDER.glob("*.toml")))
    parser.add_argument("--out", type=Path, default=Path("runs/findings"))
    given = parser.parse_args(arguments)
    found = measure(given.name, given.out)
    print("\n".join(table_of(found["rows"])))
    (given.out / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    plot(found["rows"], given.out / f"{given.name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
