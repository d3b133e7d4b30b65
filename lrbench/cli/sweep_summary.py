"""What a person sees at the end of an Optuna sweep: a line a study, then the verdict on the finals."""

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lrbench.runs.destination import tracking_uri as tracking_uri_of
from lrbench.runs.result import format_metric
from lrbench.runs.session import Session
from lrbench.studies.contestants import Contestant
from lrbench.studies.record import summarized


def print_studies(contestants: Iterable[Contestant]) -> None:
    """Print what was chosen and what it reached on fresh seeds: a table on a terminal, else tab-separated columns."""
    rows = [_row(contestant) for contestant in contestants]
    console = Console()
    if not console.is_terminal:
        sys.stdout.write("\t".join(rows[0]) + "\n")
        sys.stdout.writelines("\t".join(row.values()) + "\n" for row in rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def _row(contestant: Contestant) -> dict[str, str]:
    choice, metric = contestant.source.choice, contestant.plan.endpoint
    test = metric.replace("val/", "test/")
    values = [result.found[test] for result in contestant.finals if math.isfinite(result.found.get(test, math.nan))]
    sums = summarized("x", values)
    interval = (
        f"{format_metric(test, sums['x/low'])} to {format_metric(test, sums['x/high'])}" if "x/low" in sums else ""
    )
    point = {} if choice is None else choice.point
    return {
        "study": contestant.name,
        "trials": str(len(contestant.source.trials)),
        "best " + metric: "" if choice is None else format_metric(metric, choice.trial.values[0]),
        "point": " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in point.items()),
        "finals": f"{len(values)} of {len(contestant.finals)}",
        "mean " + test: format_metric(test, sums["x/mean"]) if values else "",
        "95 % interval": interval,
    }


def report_sweep(session: Session) -> int:
    """Report on the whole of a finished sweep and on nothing else, in a folder of its own.

    What it is about comes from its studies, not from what this process trained: given again, the command reports the
    same.

    Returns:
        The exit code of `lrbench report`.
    """
    # pandas and matplotlib take a while, and a sweep that is stopped needs neither.
    from lrbench import api
    from lrbench.cli.report import NOTHING_COMPARED, show
    from lrbench.studies.study import Study

    first = session.study[0]
    results_dir, uri = Path(first.values["results_dir"]), tracking_uri_of(first.plan)
    directory = results_dir / "reports" / _report_name(session.study)
    code = show(
        api.report(Study.of(session), **session.declared), directory, log_to=(results_dir, uri) if uri else None
    )
    # One schedule alone has nothing to be compared with, as was asked for.
    schedules = {contestant.values["scheduler"]["name"] for contestant in session.study}
    return 0 if code == NOTHING_COMPARED and len(schedules) == 1 else code


def _report_name(contestants: Sequence[Contestant]) -> str:
    """Readable, the same for the same sweep, and of no other one."""
    workloads = {contestant.plan.workload for contestant in contestants}
    readable = workloads.pop() if len(workloads) == 1 else f"{len(workloads)}-workloads"
    studies = "\n".join(sorted(contestant.name for contestant in contestants))
    stem = contestants[0].values["experiment"] or readable
    return f"{stem}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"
