"""Reads runs through MLflow's client, for servers; see the package."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from lrbench.tracking.names import RECORD_TAG
from lrbench.tracking.tables import Points, Tables, choose_experiments, is_read, last_points

_PAGE = 1000


def read_tables(uri: str, experiments: Sequence[str] | None) -> Tables:
    """Fetch the raw tables; the same as `read_sql.read_tables`, one request per run and metric.

    Raises:
        ValueError: an experiment does not exist; names those that do.
    """
    client = MlflowClient(uri)
    ids = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    names = {ids[name]: name for name in choose_experiments(ids, experiments, uri)}
    runs = _search(client, list(names)) if names else []
    keys = sorted({key for run in runs for key in run.data.metrics if is_read(key)})
    return Tables(
        runs=pd.DataFrame(
            [
                (r.info.run_id, r.info.run_name, names[r.info.experiment_id], r.info.status, r.info.start_time)
                for r in runs
            ],
            columns=["run_id", "run_name", "experiment", "status", "start_time"],
        ),
        tags=_pairs([(run.info.run_id, run.data.tags) for run in runs]),
        params=_pairs([(run.info.run_id, run.data.params) for run in runs]),
        points={key: _points(client, runs, key) for key in keys},
    )


def _points(client: MlflowClient, runs: Sequence[Run], key: str) -> Points:
    found = [
        (position, point.step, point.timestamp, point.value)
        for position, run in enumerate(runs)
        if key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    run, step, timestamp, value = zip(*found, strict=True)
    return last_points(
        np.array(run, np.int32), np.array(step, np.int64), np.array(timestamp, np.int64), np.array(value, np.float64)
    )


def _search(client: MlflowClient, ids: list[str]) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        query = f"tags.`{RECORD_TAG}` LIKE '%'"
        page = client.search_runs(ids, query, max_results=_PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _pairs(items: list[tuple[str, dict[str, str]]]) -> pd.DataFrame:
    rows = [(run_id, key, value) for run_id, pairs in items for key, value in pairs.items()]
    return pd.DataFrame(rows, columns=["run_id", "key", "value"])
