"""`lrbench report [results=FILE | tracking.experiment=A,B] [metric=NAME direction=minimize] [target=VALUE] [out=DIR]`.

Who is fastest, who ends best, how sure that is: report.html, report.md, ranking.csv, metrics.csv and verdict.json.

Runs come from MLflow (`results_dir=results` or `tracking.uri=...`, selected by `tracking.experiment=A,B` and
`tag.NAME=VALUE`), or from a tidy CSV or Parquet file (`column.scheduler=sched` reads its column `sched` as
`scheduler`). The direction of `val/loss` and `val/accuracy` is known, that of any other metric must be given. Without
`target=` (or `target.WORKLOAD=`) it is the median final value of `constant`. `bootstrap_seed=0` fixes every bootstrap.
A report on runs of MLflow is logged there as a run of its own; `log=false` leaves that out.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrbench import api
from lrbench.cli.results_source import parse
from lrbench.reporting.report import Report
from lrbench.tracking.received import refuse_links
from lrbench.tracking.sender import Sender

_SHOWN = (
    "workload", "rank", "scheduler", "num_ok", "num_runs", "final", "final_low", "final_high", "steps_to_target",
    "speed_ratio", "on_front",
)  # fmt: skip
NOTHING_COMPARED = 4


def main(arguments: list[str]) -> int:
    """Write the report and print its summary.

    Returns:
        0; 3 when it could not be logged to MLflow; 4 when it is a report on why nothing can be compared: one
        schedule, or no two that have a run which finished without diverging.
    """
    words = parse(arguments, command="report", own=("out", "log"))
    is_logged = words.options.get("log", "true")
    if is_logged not in ("true", "false"):
        raise ValueError(f"log must be true or false, got {is_logged!r}")
    report = api.report(words.source, **words.selection, **words.declared)
    default = "report" if "results" in words.options else str(words.results_dir / "report")
    directory = Path(words.options.get("out", default)).expanduser().absolute()
    log_to = (words.results_dir, words.uri) if "results" not in words.options and is_logged == "true" else None
    return show(report, directory, log_to=log_to)


def show(report: Report, directory: Path, *, log_to: tuple[Path, str] | None) -> int:
    """Write a report's files, print its summary, and record it.

    Args:
        report: of an analysis.
        directory: gets the files.
        log_to: folder of the records and tracking URI of the run that keeps the report; None for no such run.

    Returns:
        See `main`.
    """
    refuse_links(directory)
    with ExitStack() as stack:
        # It loads MLflow, which takes seconds, while the page is drawn.
        sender = None if log_to is None else stack.enter_context(Sender(log_to[0] / "sender.log"))
        files = report.save(directory)
        print_summary(report)
        for path in files:
            print(f"wrote\t{path}")
        unsent: Sequence[object] = ()
        if sender is not None and log_to is not None:
            from lrbench.runs.report_record import record_report

            unsent = record_report(report, files, results_dir=log_to[0], tracking_uri=log_to[1], sender=sender)
        for item in unsent:
            print(f"lrbench: the report is not in MLflow yet: {item}; `lrbench sync` sends it", file=sys.stderr)
    return 3 if unsent else 0 if report.compares_something else NOTHING_COMPARED


def print_summary(report: Report) -> None:
    """Print the ranking and the verdict: a table on a terminal, tab-separated columns otherwise."""
    console = Console()
    table = report.ranking[[name for name in ("budget", *_SHOWN) if name in report.ranking.columns]]
    if not console.is_terminal:
        sys.stdout.write(table.to_csv(sep="\t", index=False, float_format="%.6g"))
        sys.stdout.writelines(f"verdict\t{line}\n" for line in report.verdict.lines)
        return
    for budget, rows in table.groupby("budget", sort=False):
        shown = Table(title=escape(str(budget)), title_justify="left")
        for name in _SHOWN:
            shown.add_column(name.replace("_", " "), justify="left" if name in ("workload", "scheduler") else "right")
        for row in rows[[name for name in _SHOWN if name in rows]].astype(object).itertuples(index=False):
            shown.add_row(*(_text(value) for value in row))
        console.print(shown)
    for line in report.verdict.lines:
        console.print(line, markup=False, highlight=False)


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else escape(str(value))
