"""`lrbench ui [results_dir=results] [tracking.uri=URI] [port=5000]`: look at the runs in the browser.

Starts MLflow's server on the database, with one worker, no job runner, and reachable from this machine only; prints
one link for every experiment with runs, the newest first. The links lead to the learning curves and rate curves, which
MLflow's own start page does not. Ctrl-C stops the server.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

from lrbench.addresses import sqlite_uri
from lrbench.config.plan import absolute_folder
from lrbench.runs.compose import split_options
from lrbench.runs.errors import shown
from lrbench.runs.signals import StopRequest
from lrbench.tracking.database import absolute_uri, check_tracking, database_path, scheme_of
from lrbench.tracking.moved import follow_move
from lrbench.tracking.read_sql import recorded_experiments
from lrbench.tracking.server import HOST, check_port, serving
from lrbench.tracking.view import PORT, chart_link

_LOOK_EVERY_SECONDS = 0.3
_MOST_LINKS = 10


def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ValueError: there is no database or it cannot be used, the port is in use, or the server does not start.
    """
    options, rest = split_options(arguments, "results_dir", "tracking.uri", "port")
    if rest:
        raise ValueError(f"lrbench ui takes results_dir=DIRECTORY, tracking.uri=URI and port=NUMBER, got {rest[0]!r}")
    if not options.get("port", "1").isdecimal():
        raise ValueError(f"port must be a whole number, got {options['port']!r}")
    port = int(options.get("port", PORT))
    check_port(port)
    uri = _uri_of(options)
    with StopRequest() as stop:
        print("starting MLflow's server, which takes some seconds", flush=True)
        with serving(uri, port=port, stop_requested=stop) as process:
            if not stop():
                _print_links(uri, port)
            while not stop() and process.poll() is None:
                # Waits for the server; the signal is looked at now and then.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_EVERY_SECONDS)
    return 0


def _uri_of(options: dict[str, str]) -> str:
    """The database to show.

    Raises:
        ValueError: it is not there, cannot be used, or is a server already.
    """
    if "tracking.uri" in options and "results_dir" in options:
        raise ValueError("give either results_dir=DIRECTORY or tracking.uri=URI")
    results_dir = Path(absolute_folder("results_dir", options.get("results_dir", "results")))
    uri = absolute_uri(options.get("tracking.uri", sqlite_uri(results_dir / "mlflow.db")), Path.cwd())
    if scheme_of(uri) in ("http", "https"):
        raise ValueError(f"tracking.uri={uri} is a server already: open it in the browser")
    path = database_path(uri) if scheme_of(uri) == "sqlite" else None
    if path is not None and not path.exists():
        raise ValueError(
            f"there is no database {path}: train something first, `lrbench scheduler=cosine`, or name another "
            "place with results_dir=DIRECTORY or tracking.uri=sqlite:////path/to/mlflow.db"
        )
    check_tracking(uri)
    if path is not None:
        follow_move(path)
    return uri


def _print_links(uri: str, port: int) -> None:
    experiments = recorded_experiments(uri)
    for experiment_id, name in experiments[:_MOST_LINKS]:
        print(f"{shown(name)}\t{chart_link(uri, experiment_id, port=port)}")
    if len(experiments) > _MOST_LINKS:
        print(f"... and {len(experiments) - _MOST_LINKS} older experiments; the list is on the left of the page")
    if not experiments:
        print(f"no runs yet\thttp://{HOST}:{port}")
    print("Ctrl-C stops the server", flush=True)
