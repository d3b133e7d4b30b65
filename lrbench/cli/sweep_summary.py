"""What a person sees at the end of an Optuna sweep: a line a study, then the verdict on the finals."""

import math
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lrbench.runs.destination import tracking_uri as tracking_uri_of
from lrbench.runs.result import format_metric
from lrbench.runs.session import Session
from lrbench.search.study import point_of
from lrbench.studies.contestants import Contestant
from lrbench.studies.record import summarized
from lrbench.tracking.facts import read_facts
from lrbench.tracking.outbox import load_state


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
    best, metric = contestant.source.best, contestant.plan.dataset.task.objective
    test = metric.replace("val/", "test/")
    values = [result.found[test] for result in contestant.finals if math.isfinite(result.found.get(test, math.nan))]
    sums = summarized("x", values)
    interval = (
        f"{format_metric(test, sums['x/low'])} to {format_metric(test, sums['x/high'])}" if "x/low" in sums else ""
    )
    point = {} if best is None else point_of(best)
    return {
        "study": contestant.name,
        "trials": str(len(contestant.source.trials)),
        "best " + metric: "" if best is None else format_metric(metric, best.values[0]),
        "point": " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in point.items()),
        "finals": f"{len(values)} of {len(contestant.finals)}",
        "mean " + test: format_metric(test, sums["x/mean"]) if values else "",
        "95 % interval": interval,
    }


def compare(session: Session) -> int:
    """Report on the runs of a finished study, whatever else the database holds.

    Returns:
        The exit code of `lrbench report`.
    """
    # pandas and matplotlib take a while, and a sweep that is stopped needs neither.
    from lrbench.cli.report import report_on
    from lrbench.cli.results_source import Words, settings_of
    from lrbench.tracking.read import read_runs

    records = [result.record for result in session.results if result.record is not None]
    results_dir = Path(session.study[0].values["results_dir"])
    tracking_uri = tracking_uri_of(session.study[0].plan)
    run_ids = {load_state(record).run_id for record in records}
    frame = read_runs(tracking_uri, experiments=sorted({read_facts(record).experiment for record in records}))
    frame = frame[frame["run_id"].isin(run_ids)].reset_index(drop=True)
    settings = settings_of(Words({}, {}, {}, {}), frame)
    return report_on(frame, settings, results_dir / "report", log_to=(results_dir, tracking_uri))
