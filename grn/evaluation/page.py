"""A measurement or a training run as one HTML page that holds all it shows: nothing is loaded, and what names and prompts
say stays text.
"""

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from grn.errors import BadInputError
from grn.evaluation import report
from grn.evaluation.sweep import curves
from grn.files import display, is_folder
from grn.media import contact_sheet, read_image, read_note

_MOST_PICTURES = 48
_THUMB = 160  # pixels of a picture's longer side in a sheet
_MAX_LOG = 256 << 20
_SCORE = "frechet_inception_distance"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}"
    "td{font-variant-numeric:tabular-nums;overflow-wrap:break-word;max-width:36em}.wide{overflow-x:auto}img{max-width:100%}pre{background:#f4f4f4;padding:1em;"
    "overflow:auto}.best{font-weight:bold}ol{columns:3;font-size:.8em}"
)


def page_of(run: Path) -> str:
    """The page of a folder that `grn eval` or `grn train` wrote, or of a result's JSON file.

    Raises BadInputError where there is nothing to show.
    """
    sections = [section for section in _sections(run) if section[1]]
    if not sections:
        raise BadInputError(
            f"{display(run)}: no results and no training run (expected a JSON file, or a folder with report.json or log.jsonl)"
        )
    name = html.escape(display(run.name or str(run)))
    body = "".join(f"<h2>{html.escape(title)}</h2>\n{content}\n" for title, content in sections)
    # The policy lets nothing be loaded or run, whatever might have slipped in.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><title>{name}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{name}</h1>\n{body}</body></html>\n"
    )


def _sections(run: Path) -> Iterator[tuple[str, str]]:
    record = _record(run)
    folder = run if is_folder(run) else run.parent
    if record is not None:
        yield "Figures", _figures(record)
        yield from _plots(record)
        yield from _sheet(Path(record["pictures"]) if isinstance(record.get("pictures"), str) else folder / "pictures")
        settings = {k: v for k, v in record.items() if isinstance(v, Mapping) and k != "best"}
        yield "Settings", "".join(_table([name, ""], list(values.items())) for name, values in settings.items())
    if is_folder(run):
        yield "Training", _training(run / "log.jsonl")
        sheets = sorted((run / "samples").glob("*.png"))
        chosen = list(dict.fromkeys([*sheets[:1], *sheets[-1:]]))
        yield "Samples", "".join(f"<p>{html.escape(sheet.name)}</p>{_image(read_image(sheet))}" for sheet in chosen)
        recipe = run / "run.toml"
        yield "Recipe", f"<pre>{html.escape(recipe.read_text('utf-8', 'replace'))}</pre>" if recipe.is_file() else ""


def _record(run: Path) -> dict[str, Any] | None:
    """The result, None where a folder holds none."""
    path = run / "report.json" if is_folder(run) else run
    if is_folder(run) and not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, expected an object")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else display(str(error))
        raise BadInputError(f"{display(path)}: no result of a measurement ({reason})") from error
    return found


def _figures(record: Mapping[str, Any]) -> str:
    """Single values; lists and objects have sections of their own."""
    rows = [(k, v) for k, v in record.items() if isinstance(v, str | int | float) and k != "pictures"]
    return _table(["", ""], rows)


def _plots(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    points, axes = record.get("points"), record.get("axes")
    if isinstance(points, list) and isinstance(axes, list) and points:
        headers = list(points[0])
        rows = [[point.get(key) for key in headers] for point in points]
        best = points.index(record["best"]) if record.get("best") in points else None
        lines = {axis: {"": line} for axis, line in curves(points, axes, _SCORE).items() if len(line) > 1}
        drawn = "".join(_plot(line, axis, "Frechet distance") for axis, line in lines.items())
        yield "Settings that were tried", drawn + _table(headers, rows, best)
    rounds = record.get("rows")
    if isinstance(rounds, list) and rounds and isinstance(rounds[0], Mapping):
        headers = list(rounds[0])
        curve = [(row["rounds"], row["psnr"]) for row in rounds if row.get("rounds") and row.get("psnr") is not None]
        drawn = _plot({"": curve}, "rounds", "PSNR (dB)") if len(curve) > 1 else ""
        yield "Rounds", drawn + _table(headers, [[row.get(key) for key in headers] for row in rounds])
    steps = record.get("steps")
    if isinstance(steps, list) and steps and all(isinstance(step, int) for step in steps):
        counts = {"": [(step, float(steps.count(step))) for step in range(min(steps), max(steps) + 1)]}
        yield "Steps", _plot(counts, "steps", "samples")


def _sheet(folder: Path) -> Iterator[tuple[str, str]]:
    """The first pictures of a folder, with their prompts."""
    paths = sorted(folder.rglob("*.png"))[:_MOST_PICTURES] if folder.is_dir() else []
    if not paths:
        return
    thumbs, words = [], []
    for path in paths:
        image = Image.fromarray(read_image(path))
        image.thumbnail((_THUMB, _THUMB))
        canvas = Image.new("RGB", (_THUMB, _THUMB), "white")
        canvas.paste(image, ((_THUMB - image.width) // 2, (_THUMB - image.height) // 2))
        thumbs.append(np.asarray(canvas))
        try:
            note = json.loads(read_note(path))
            words.append(f"{note['prompt']} (seed {note['seed']})")
        except (BadInputError, ValueError, KeyError, TypeError):
            words.append(path.name)
    listed = "".join(f"<li>{html.escape(display(word))}</li>" for word in words)
    yield "Pictures", f"{_image(contact_sheet(thumbs, 8))}<ol>{listed}</ol>"


def _training(log: Path) -> str:
    """A curve for every figure of a log that changes."""
    if not log.is_file():
        return ""
    if log.stat().st_size > _MAX_LOG:
        raise BadInputError(f"{display(log)}: longer than {_MAX_LOG} bytes")
    rows: list[tuple[float, dict[str, Any]]] = []
    for line in log.read_text("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
            step = float(row["step"])
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a run that was killed
        while rows and rows[-1][0] > step:
            rows.pop()  # it went on from a checkpoint before these
        rows.append((step, row))
    series: dict[str, dict[float, float]] = {}
    for step, row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, {})[step] = float(value)
    moving = {name: list(line.items()) for name, line in series.items() if len({*line.values()}) > 1}
    return "".join(_plot({"": line}, "step", name) for name, line in moving.items())


def _plot(lines: Mapping[str, Sequence[tuple[Any, float]]], x: str, y: str) -> str:
    """As SVG within an image, where nothing of it can run."""
    data = report.line_plot(lines, x, y)
    return f'<img alt="{html.escape(display(y))}" src="data:image/svg+xml;base64,{base64.b64encode(data).decode()}">'


def _image(pixels: np.ndarray) -> str:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "WEBP", quality=85)
    return f'<img alt="pictures" src="data:image/webp;base64,{base64.b64encode(held.getvalue()).decode()}">'


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]], best: int | None = None) -> str:
    def cells(row: Sequence[Any], kind: str) -> str:
        return "".join(f"<{kind}>{html.escape(display(_text(cell)))}</{kind}>" for cell in row)

    # Spaces let long names be broken.
    head = f"<tr>{cells([name.replace('_', ' ') for name in headers], 'th')}</tr>" if any(headers) else ""
    lines = (f"<tr{' class=best' if i == best else ''}>{cells(row, 'td')}</tr>" for i, row in enumerate(rows))
    return f"<div class=wide><table>{head}{''.join(lines)}</table></div>"


def _text(cell: Any) -> str:
    if isinstance(cell, list):
        return ", ".join(map(_text, cell))
    return "" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell)
