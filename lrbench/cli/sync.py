"""`lrbench sync [results_dir=results] [tracking.uri=URI]`: send records that have not reached MLflow yet.

They go to the database in the folder. A record that names any other address is sent there only if that is the
`tracking.uri` given here, or MLFLOW_TRACKING_URI: the folder may be somebody else's.
"""

from lrbench import api


def main(arguments: list[str]) -> int:
    """Complete MLflow's copy of every record; 3 when something could not be sent."""
    options = {"results_dir": "results", "tracking.uri": ""}
    for word in arguments:
        key, equals, value = word.partition("=")
        if key not in options or not equals:
            raise ValueError(f"lrbench sync takes results_dir=DIRECTORY and tracking.uri=URI, got {word!r}")
        options[key] = value
    report = api.sync(options["results_dir"], tracking_uri=options["tracking.uri"] or None)
    print(f"sent\t{len(report.sent)}\nunsent\t{len(report.unsent)}\nrunning\t{len(report.running)}")
    return 3 if report.unsent else 0
