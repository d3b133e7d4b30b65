"""How to look at the records: the two things the terminal prints at the end. Imports no mlflow."""

import shlex

from lrbench.tracking.database import scheme_of


def server_command(uri: str, *, port: int = 5000) -> str | None:
    """Command that shows a database in the browser; None when the tracking URI is a server already.

    One worker and no job runner: MLflow's defaults are 15 processes and 2 GB. Reachable from this machine
    only.
    """
    if scheme_of(uri) in ("http", "https"):
        return None
    return (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"mlflow server --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1 --port {port} --workers 1"
    )


def chart_link(uri: str, experiment_id: str, *, port: int = 5000) -> str:
    """Link to the charts of an experiment's runs; MLflow's own start page is about language models."""
    server = uri.rstrip("/") if scheme_of(uri) in ("http", "https") else f"http://127.0.0.1:{port}"
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
