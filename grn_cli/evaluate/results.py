"""`grn eval report` and `grn eval compare`: what was measured, shown."""

from pathlib import Path

from grn.errors import UsageError
from grn.evaluation.page import page_of
from grn.evaluation.records import load_record, side_by_side
from grn.evaluation.report import plot_comparison, table
from grn.files import atomic_path, is_folder
from grn_cli.evaluate.sets import check_output, check_plot
from grn_cli.options.evaluate import Compare, Report


def report(options: Report) -> None:
    """Write the page."""
    run = options.run
    out = options.out or (run / "report.html" if is_folder(run) else run.with_suffix(".html"))
    check_output(out, options.force)
    page = page_of(run)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    options.console.result({"output": str(out), "bytes": Path(out).stat().st_size}, str(out))


def compare_results(options: Compare) -> None:
    """The figures of several results, and the ratio of the last to the first."""
    if len(options.results) < 2:
        raise UsageError("one result has nothing to be compared with; name two or more")
    check_plot(options.plot, options.force)
    rows = side_by_side([load_record(path) for path in options.results])
    names = [str(path) for path in options.results]
    if options.plot:
        plot_comparison(rows, names, options.plot)
    record = {name: {"values": dict(zip(names, values, strict=True)), "ratio": ratio} for name, values, ratio in rows}
    cells = [[name, *values, ratio] for name, values, ratio in rows]
    options.console.result(record, *table(["", *names, "ratio"], cells, options.markdown))
