"""Results as tables and plots."""

import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grn.errors import EnvironmentFaultError, UsageError
from grn.evaluation.records import FigureRow
from grn.evaluation.sweep import curves
from grn.files import atomic_path, display

if TYPE_CHECKING:
    from grn.evaluation.reconstruction import Quality


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], markdown: bool = False) -> list[str]:
    """Lines of a table with aligned columns; floats get 4 significant digits or more, None shows as a dash."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in [list(headers), *cells]]
    if not markdown:
        return ["  ".join(line) for line in lines]
    rule = ["-" * (width - 1) + ":" for width in widths]
    return ["| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]]]


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.2f}" if abs(cell) >= 10 else f"{cell:.4f}"
    return str(cell)


def histogram(values: Sequence[int], width: int = 40) -> list[str]:
    """Lines "value | bar count", one for every value from the least to the most; the longest bar has `width` marks."""
    counts = Counter(values)
    scale = width / max(counts.values())
    lines = []
    for value in range(min(counts), max(counts) + 1):
        bar = "#" * max(round(counts[value] * scale), counts[value] > 0)
        lines.append(f"{value:4d} | {bar} {counts[value]}".rstrip())
    return lines


def check_plot(path: Path) -> None:
    """Raises UsageError for a file of a kind that no plot can be, EnvironmentFaultError where none can be drawn."""
    kinds = _figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix and path.suffix.lower()[1:] not in kinds:
        raise UsageError(f"{display(path)}: no plot can be a {path.suffix} file (expected .png, .svg or .pdf)")


def plot_rounds(rows: Sequence["Quality"], network: str, path: Path) -> None:
    """PSNR, SSIM and Frechet distance against the rounds; a dashed line is the quality without quantization."""
    figure = _figure(12, 3.6)
    panels = (("PSNR (dB)", "psnr"), ("SSIM", "ssim"), (f"Frechet distance, {network}", "frechet"))
    quantized = sorted((row for row in rows if row.rounds is not None), key=lambda row: row.rounds or 0)
    for axes, (title, key) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot([row.rounds for row in quantized], [getattr(row, key) for row in quantized], "o-", label="quantized")
        for row in rows:
            if row.rounds is None:
                axes.axhline(getattr(row, key), linestyle="--", color="grey", label="not quantized")
        axes.set_xlabel("rounds")
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def plot_steps(steps: Sequence[int], bounds: tuple[int, int], title: str, path: Path) -> None:
    """Histogram of the number of steps that samples took."""
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    axes.hist(steps, bins=[edge - 0.5 for edge in range(bounds[0], bounds[1] + 2)])
    axes.set_xlabel("steps")
    axes.set_ylabel("samples")
    axes.set_title(title, fontsize=9)
    _save(figure, path)


def plot_sweep(points: Sequence[Mapping[str, Any]], axes: Sequence[str], score: str, network: str, path: Path) -> None:
    """The score against each setting, the others being at their best (figure 12)."""
    figure = _figure(1 + 3.4 * len(axes), 3.6)
    half = f"{score}_interval"
    for place, (axis, line) in zip(
        figure.subplots(1, len(axes), squeeze=False)[0], curves(points, axes, score).items(), strict=True
    ):
        values = [str(value) if isinstance(value, str) else value for value, _ in line]
        place.plot(values, [found for _, found in line], "o-")
        if half in points[0] and len(axes) == 1:
            by_value = {point[axis]: point[half] for point in points}
            place.errorbar(values, [found for _, found in line], [by_value[value] for value, _ in line], fmt="none")
        place.set_xlabel(axis.replace("_", " "))
        place.set_ylabel("Frechet distance")
        place.grid(alpha=0.3)
    figure.suptitle(network, fontsize=9)
    _save(figure, path)


def plot_comparison(rows: Sequence[FigureRow], names: Sequence[str], path: Path) -> None:
    """Each figure in which results differ, as a ratio to that of the first (1: alike), on a logarithmic scale.

    rows: as `grn.evaluation.records.side_by_side` gives them, of the results called `names`. Raises UsageError where none can be drawn.
    """
    found = [(name, [_ratio(value, values[0]) for value in values[1:]]) for name, values, _ in rows]
    found = [(name, ratios) for name, ratios in found if any(ratio not in (None, 1.0) for ratio in ratios)]
    if not found:
        raise UsageError("nothing to draw: the results differ in no figure that the first one has, too")
    figure = _figure(7, 1.2 + 0.28 * len(found))
    axes = figure.subplots()
    for result in range(len(names) - 1):
        drawn = [(ratios[result], place) for place, (_, ratios) in enumerate(found) if ratios[result] is not None]
        axes.plot([ratio for ratio, _ in drawn], [place for _, place in drawn], "o")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    # Names of figures and files are texts, whatever dollars are in them.
    axes.set_yticks(range(len(found)), [name for name, _ in found], fontsize=8, parse_math=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(f"ratio to {names[0]}", fontsize=8, parse_math=False)
    axes.grid(alpha=0.3)
    for text in axes.legend(axes.lines[:-1], names[1:], fontsize=8).get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def _ratio(value: float | None, first: float | None) -> float | None:
    """What a logarithmic scale can show."""
    if value is None or not first:
        return None
    ratio = value / first
    return ratio if 0 < ratio < math.inf else None


def line_plot(lines: Mapping[str, Sequence[tuple[Any, float]]], x: str, y: str) -> bytes:
    """Curves by name, of points (x, y), as SVG. Texts are drawn as they are, without mathematical signs."""
    figure = _figure(5.2, 3)
    axes = figure.subplots()
    for name, line in lines.items():
        axes.plot([value for value, _ in line], [found for _, found in line], ".-", label=name or None)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.grid(alpha=0.3)
    if any(lines):
        axes.legend()
    held = io.BytesIO()
    figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    return held.getvalue()


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EnvironmentFaultError("a plot needs matplotlib, which is not installed") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    held = io.BytesIO()
    figure.savefig(held, dpi=150, format=path.suffix.lower()[1:] or None)
    with atomic_path(path) as temporary:
        # In one piece by Python, which notices a full disk; not every format's own writer does.
        temporary.write_bytes(held.getvalue())
