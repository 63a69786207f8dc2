"""`grn eval report`: a run or a result as one page."""

from pathlib import Path

from grn.evaluation.page import page_of
from grn.files import atomic_path
from grn_cli.evaluate_sets import refuse_existing
from grn_cli.options.evaluate import Report


def report(options: Report) -> None:
    """Write the page."""
    run = options.run
    out = options.out or (run / "report.html" if run.is_dir() else run.with_suffix(".html"))
    refuse_existing(out, options.force)
    page = page_of(run)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    options.console.result({"output": str(out), "bytes": Path(out).stat().st_size}, str(out))
