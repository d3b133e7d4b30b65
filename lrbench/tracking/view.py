"""How to look at the records: the two things the terminal prints at the end. Imports no mlflow."""

import shlex

from lrbench.tracking.database import scheme_of
from lrbench.tracking.server import HOST

PORT = 5000


def server_command(uri: str, *, port: int = PORT) -> str | None:
    """Command that shows a database in the browser; None when the tracking URI is a server already."""
    if scheme_of(uri) in ("http", "https"):
        return None
    return shlex.join(["lrbench", "ui", f"tracking.uri={uri}", *([f"port={port}"] if port != PORT else [])])


def chart_link(uri: str, experiment_id: str, *, port: int = PORT) -> str:
    """Link to the charts of an experiment's runs; MLflow's own start page is about language models."""
    server = uri.rstrip("/") if scheme_of(uri) in ("http", "https") else f"http://{HOST}:{port}"
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
