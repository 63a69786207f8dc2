"""Results as tables and plots."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grn.errors import EnvironmentFaultError
from grn.evaluation.sweep import curves
from grn.files import atomic_path

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
