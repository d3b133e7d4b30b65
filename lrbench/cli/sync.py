"""`lrbench sync [results_dir=results]`: send records that have not reached MLflow yet."""

from pathlib import Path

from lrbench.config.plan import absolute_folder
from lrbench.runs.destination import report_unsent
from lrbench.tracking.sync import sync


def main(arguments: list[str]) -> int:
    """Complete MLflow's copy of every record; 3 when something could not be sent."""
    results_dir = "results"
    for word in arguments:
        key, equals, value = word.partition("=")
        if key != "results_dir" or not equals:
            raise ValueError(f"lrbench sync takes results_dir=DIRECTORY only, got {word!r}")
        results_dir = value
    report = sync(Path(absolute_folder("results_dir", results_dir)))
    print(f"sent\t{len(report.sent)}\nunsent\t{len(report.unsent)}\nrunning\t{len(report.running)}")
    report_unsent(report.unsent)
    return 3 if report.unsent else 0
