"""`lrbench sync [results_dir=results] [tracking.uri=URI]`: send records that have not reached MLflow yet.

They go to the database in the folder. A record that names any other address is sent there only if that is the
`tracking.uri` given here, or MLFLOW_TRACKING_URI: the folder may be somebody else's.
"""

import os
from pathlib import Path

from lrbench.config.plan import absolute_folder
from lrbench.runs.destination import report_unsent
from lrbench.tracking.database import absolute_uri
from lrbench.tracking.sync import sync


def main(arguments: list[str]) -> int:
    """Complete MLflow's copy of every record; 3 when something could not be sent."""
    options = {"results_dir": "results", "tracking.uri": os.environ.get("MLFLOW_TRACKING_URI", "")}
    for word in arguments:
        key, equals, value = word.partition("=")
        if key not in options or not equals:
            raise ValueError(f"lrbench sync takes results_dir=DIRECTORY and tracking.uri=URI, got {word!r}")
        options[key] = value
    results_dir = Path(absolute_folder("results_dir", options["results_dir"]))
    report = sync(results_dir, tracking_uri=absolute_uri(options["tracking.uri"], Path.cwd()))
    print(f"sent\t{len(report.sent)}\nunsent\t{len(report.unsent)}\nrunning\t{len(report.running)}")
    report_unsent(report.unsent)
    return 3 if report.unsent else 0
