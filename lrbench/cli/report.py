"""`lrbench report [results=FILE | tracking.experiment=A,B] [metric=NAME direction=minimize] [target=VALUE] [out=DIR]`.

Who is fastest, who ends best, how sure that is: report.html, report.md, ranking.csv, metrics.csv and verdict.json.

Runs come from MLflow (`results_dir=results` or `tracking.uri=...`, selected by `tracking.experiment=A,B` and
`tag.NAME=VALUE`), or from a tidy CSV or Parquet file (`column.scheduler=sched` reads its column `sched` as
`scheduler`). The direction of `val/loss` and `val/accuracy` is known, that of any other metric must be given. Without
`target=` (or `target.WORKLOAD=`) it is the median final value of `constant`. `bootstrap_seed=0` fixes every bootstrap.
A report on runs of MLflow is logged there as a run of its own; `log=false` leaves that out.
"""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.audit.findings import Finding
from lrbench.analysis.machine_files import ranking_table, write_machine_files
from lrbench.analysis.model import Analysis
from lrbench.analysis.verdict.verdict import Verdict, verdict
from lrbench.cli.results_source import mixture_of, parse, read_results, settings_of
from lrbench.spec import RunState
from lrbench.tracking.record import Record
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
    frame = read_results(words)
    settings = settings_of(words, frame)
    default = "report" if "results" in words.options else str(words.results_dir / "report")
    directory = Path(words.options.get("out", default)).expanduser().absolute()
    log_to = (words.results_dir, words.uri) if "results" not in words.options and is_logged == "true" else None
    return report_on(frame, settings, directory, log_to=log_to, mixture=mixture_of(words, frame))


def report_on(
    frame: pd.DataFrame,
    settings: Settings,
    directory: Path,
    *,
    log_to: tuple[Path, str] | None,
    mixture: Sequence[Finding] = (),
) -> int:
    """Analyse runs, write the report's files, and print its summary.

    Args:
        frame: tidy, see lrbench.results.schema.
        settings: what is declared about the metric.
        directory: gets the files.
        log_to: folder of the records and tracking URI of the run that keeps the report; None for no such run.
        mixture: how the runs came together, as far as that needs saying.

    Returns:
        See `main`.
    """
    with ExitStack() as stack:
        # It loads MLflow, which takes seconds, while the runs are analysed.
        sender = None if log_to is None else stack.enter_context(Sender(log_to[0] / "sender.log"))
        analysis = analyse(frame, settings=settings)
        analysis = replace(analysis, findings=(*mixture, *analysis.findings))
        said = verdict(analysis)
        files = write_machine_files(analysis, said, directory)
        files.insert(0, write_page(analysis, said, directory))
        print_summary(analysis, said)
        for path in files:
            print(f"wrote\t{path}")
        code = log_report(files, frame, settings, *log_to, sender=sender) if log_to and sender else 0
    return code or (0 if compares_something(analysis) else NOTHING_COMPARED)


def write_page(analysis: Analysis, said: Verdict, directory: Path) -> Path:
    """Write report.html and its pictures."""
    from lrbench.reporting.page import write_html  # matplotlib and jinja take a while

    return write_html(analysis, said, directory)


def compares_something(analysis: Analysis) -> bool:
    """Whether two schedules have a final value on one workload."""
    finished = [
        (cell.workload, cell.scheduler) for section in analysis.sections for cell in section.cells if cell.num_ok
    ]
    return any(sum(workload == other for other, _ in finished) > 1 for workload, _ in finished)


def print_summary(analysis: Analysis, said: Verdict) -> None:
    """Print the ranking and the verdict: a table on a terminal, tab-separated columns otherwise."""
    console = Console()
    table = ranking_table(analysis)
    table = table[[name for name in ("budget", *_SHOWN) if name in table.columns]]
    if not console.is_terminal:
        sys.stdout.write(table.to_csv(sep="\t", index=False, float_format="%.6g"))
        sys.stdout.writelines(f"verdict\t{line}\n" for line in said.lines)
        return
    for budget, rows in table.groupby("budget", sort=False):
        shown = Table(title=str(budget), title_justify="left")
        for name in _SHOWN:
            shown.add_column(name.replace("_", " "), justify="left" if name in ("workload", "scheduler") else "right")
        for row in rows[[name for name in _SHOWN if name in rows]].astype(object).itertuples(index=False):
            shown.add_row(*(_text(value) for value in row))
        console.print(shown)
    for line in said.lines:
        console.print(line, markup=False, highlight=False)


def log_report(
    files: Sequence[Path],
    frame: pd.DataFrame,
    settings: Settings,
    results_dir: Path,
    tracking_uri: str,
    *,
    sender: Sender,
) -> int:
    """Record the report as a run of its own, whose artifacts are its files; 3 when MLflow did not get it.

    The directory may hold other files of the user, so only these and the pictures are copied.
    """
    from lrbench.reporting.page import pictures_of

    page = next(path for path in files if path.suffix == ".md")
    experiments = sorted(set(frame["experiment"].dropna()))
    content = "\n".join(sorted(set(frame["run_id"]))) + repr(settings)
    root = results_dir / "runs"
    root.mkdir(parents=True, exist_ok=True)
    with Record.create(
        root,
        name="report",
        experiment=experiments[0] if len(experiments) == 1 else "lrbench-reports",
        tracking_uri=tracking_uri,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        tags={"role": "report"},
        params={
            "report.metric": settings.metric,
            "report.direction": settings.direction,
            "report.bootstrap_seed": settings.bootstrap_seed,
            "report.experiments": experiments,
            "report.num_runs": int(frame["run_id"].nunique()),
        },
        note=page.read_text(encoding="utf-8"),
    ) as record:
        for path in files:
            shutil.copy2(path, record.artifacts)
        (record.artifacts / "figures").mkdir()
        for path in pictures_of(page.with_suffix(".html")):
            shutil.copy2(path, record.artifacts / "figures")
        sender.follow(record.path)
        record.end("FINISHED", RunState.OK)
        unsent = sender.close()
    return _unsent(unsent)


def _unsent(unsent: Sequence[object]) -> int:
    for item in unsent:
        print(f"lrbench: the report is not in MLflow yet: {item}; `lrbench sync` sends it", file=sys.stderr)
    return 3 if unsent else 0


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
