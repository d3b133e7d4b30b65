"""`lrbench report [results=FILE | tracking.experiment=A,B] [metric=NAME] [target=VALUE] [reference=SCHEDULE]`.

Who is fastest, who ends best, how sure that is: report.html, report.md, ranking.csv, metrics.csv and verdict.json.

Runs come from MLflow (`results_dir=results` or `tracking.uri=...`, selected by `tracking.experiment=A,B` and
`tag.NAME=VALUE`), or from a tidy CSV or Parquet file (`column.scheduler=sched` reads its column `sched` as
`scheduler`). The metric is the endpoint by which the runs were judged; the direction of those that lrbench measures
(`val/loss`, `val/accuracy`, `val/rmse`, ...) is known, that of any other must be given. Without `target=` (or
`target.WORKLOAD=`) it is the median final value of `constant`. `margin=0.1` is what counts as equivalent, 10 % of the
error or loss; `reference=cosine` compares all others with it, and not all pairs. `bootstrap_seed=0` fixes every
bootstrap; `out=DIR` gets the files.
The first screen is printed; `--full` prints the whole ranking and every sentence, `--json` what verdict.json has.
`prediction=FILE`, written by `lrbench predict --json`, is shown beside what was measured.
A report on runs of MLflow is logged there as a run of its own; `log=false` leaves that out.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from textwrap import wrap

from rich.console import Console

from lrbench import api
from lrbench.analysis.audit.findings import plural
from lrbench.analysis.machine_files import verdict_document
from lrbench.analysis.prediction import Prediction
from lrbench.analysis.verdict.screen_text import main_section, screen_table
from lrbench.cli.outputs import print_json, split_json
from lrbench.cli.results_source import parse
from lrbench.reporting.report import Report
from lrbench.tracking.received import refuse_links
from lrbench.tracking.sender import Sender

_SHOWN = (
    "workload", "rank", "scheduler", "state", "num_ok", "num_runs", "final", "final_low", "final_high",
    "steps_to_target", "speed_ratio", "on_front",
)  # fmt: skip
NOTHING_COMPARED = 4
_MOST_LINES, _MOST_ROWS, _MOST_OTHERS = 22, 14, 4  # of 25, with a line that there is more and the files


def main(arguments: list[str]) -> int:
    """Write the report and print its summary.

    Returns:
        0; 3 when it could not be logged to MLflow; 4 when it is a report on why nothing can be compared: one
        schedule, or no two that have a run which finished without diverging.
    """
    as_json, rest = split_json(arguments)
    is_full = "--full" in rest
    words = parse([word for word in rest if word != "--full"], command="report", own=("out", "log", "prediction"))
    is_logged = words.options.get("log", "true")
    if is_logged not in ("true", "false"):
        raise ValueError(f"log must be true or false, got {is_logged!r}")
    prediction = None
    if "prediction" in words.options:
        prediction = Prediction.of(json.loads(Path(words.options["prediction"]).read_text(encoding="utf-8")))
    report = api.report(words.source, prediction=prediction, **words.selection, **words.declared)
    default = "report" if "results" in words.options else str(words.results_dir / "report")
    directory = Path(words.options.get("out", default)).expanduser().absolute()
    log_to = (words.results_dir, words.uri) if "results" not in words.options and is_logged == "true" else None
    return show(report, directory, log_to=log_to, is_full=is_full, as_json=as_json)


def show(
    report: Report,
    directory: Path,
    *,
    log_to: tuple[Path, str] | None,
    is_full: bool = False,
    as_json: bool = False,
) -> int:
    """Write a report's files, print its summary, and record it.

    Args:
        report: of an analysis.
        directory: gets the files.
        is_full: print everything there is to say, not only the first screen.
        as_json: print what verdict.json has instead.
        log_to: folder of the records and tracking URI of the run that keeps the report; None for no such run.

    Returns:
        See `main`.
    """
    refuse_links(directory)
    with ExitStack() as stack:
        # It loads MLflow, which takes seconds, while the page is drawn.
        sender = None if log_to is None else stack.enter_context(Sender(log_to[0] / "sender.log"))
        files = report.save(directory)
        if as_json:
            print_json(verdict_document(report.analysis, report.verdict))
        else:
            (print_all if is_full else print_summary)(report)
            print(f"wrote\t{files[0]}\nbeside it\t{', '.join(path.name for path in files[1:])}")
        unsent: Sequence[object] = ()
        if sender is not None and log_to is not None:
            from lrbench.runs.report_record import record_report

            unsent = record_report(report, files, results_dir=log_to[0], tracking_uri=log_to[1], sender=sender)
        for item in unsent:
            print(f"lrbench: the report is not in MLflow yet: {item}; `lrbench sync` sends it", file=sys.stderr)
    return 3 if unsent else 0 if report.compares_something else NOTHING_COMPARED


def print_summary(report: Report) -> None:
    """Print the first screen, in at most 25 lines together with the names of the files."""
    analysis, said = report.shown
    index = main_section(analysis.sections)
    screen = said.sections[index].screen
    others = [f"{words.title}: {words.headline}" for words in said.sections if words is not said.sections[index]]
    notes = [*screen.against, *(finding.sentence for finding in analysis.findings), *others[:_MOST_OTHERS]]
    notes += [f"and {plural(len(others) - _MOST_OTHERS, 'other budget')}"] * (len(others) > _MOST_OTHERS)
    heads, rows = screen_table(analysis.question, screen)
    console = Console()
    if not console.is_terminal:
        sys.stdout.writelines("\t".join(row) + "\n" for row in (heads, *rows[:_MOST_ROWS]))
        sys.stdout.writelines(f"verdict\t{line}\n" for line in (screen.sentence, screen.advice, *notes) if line)
        return
    width = console.width
    head = [*wrap(screen.sentence, width), *wrap(screen.advice, width)]
    shown = rows[: max(3, _MOST_ROWS - len(head))]
    more = [f"and {plural(len(rows) - len(shown), 'other schedule')}"] * (len(rows) > len(shown))
    lines = [*head, "", *fitted([heads, *shown], width), *more, ""]
    for note in notes:
        wrapped = wrap(note, width, initial_indent="- ", subsequent_indent="  ")
        if len(lines) + len(wrapped) > _MOST_LINES:
            lines.append("- more in the report, and with --full")
            break
        lines += wrapped
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_all(report: Report) -> None:
    """Print the whole ranking in tab-separated columns, and every sentence of the verdict."""
    table = report.ranking[[name for name in ("budget", *_SHOWN) if name in report.ranking.columns]]
    sys.stdout.write(table.to_csv(sep="\t", index=False, float_format="%.6g"))
    sys.stdout.writelines(f"verdict\t{line}\n" for line in report.verdict.lines)


def fitted(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay rows out in columns; what does not fit is dropped by whole columns, and never cut.

    The name and the state stay to the end; of the rest the last column goes first.

    Args:
        rows: the heads first, all of one length.
        width: characters of a line.
    """
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while len(sizes) > 1 and sum(sizes) + 2 * (len(sizes) - 1) > width:
        sizes.pop()
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=False)).rstrip() for row in rows]
