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
from lrbench.search.study import point_of
from lrbench.studies.contestants import Contestant, records_of
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
    """Report on the whole of a finished sweep and on nothing else, in a folder of its own.

    What it is about comes from its studies, not from what this process trained: given again, the command reports the
    same.

    Returns:
        The exit code of `lrbench report`.
    """
    # pandas and matplotlib take a while, and a sweep that is stopped needs neither.
    from lrbench.cli.report import report_on
    from lrbench.cli.results_source import Words, settings_of
    from lrbench.tracking.read import read_runs

    first = session.study[0]
    records = records_of(session.study)
    present = [path for path in records if path.is_dir()]
    if len(present) < len(records):
        print(
            f"lrbench: {len(records) - len(present)} runs of the sweep have no record any more; the report lacks them",
            file=sys.stderr,
        )
    roles = {load_state(path).run_id: records[path] for path in present}
    uri = tracking_uri_of(first.plan)
    frame = read_runs(uri, experiments=sorted({read_facts(path).experiment for path in present}), run_ids=roles)
    frame["role"] = frame["run_id"].map(roles).astype(frame["role"].dtype)
    settings = settings_of(Words({}, {}, {}, {}), frame)
    results_dir = Path(first.values["results_dir"])
    return report_on(frame, settings, results_dir / "reports" / _report_name(session.study), log_to=(results_dir, uri))


def _report_name(contestants: Sequence[Contestant]) -> str:
    """Readable, the same for the same sweep, and of no other one."""
    workloads = {contestant.plan.workload for contestant in contestants}
    readable = workloads.pop() if len(workloads) == 1 else f"{len(workloads)}-workloads"
    studies = "\n".join(sorted(contestant.name for contestant in contestants))
    stem = contestants[0].values["experiment"] or readable
    return f"{stem}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"
