"""The rows of uploads in MLflow's own tables, as its client would have left them; a test compares the two."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from sqlalchemy import Connection, select, tuple_, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from lrbench.tracking.upload import DATASET_TAG, Upload, dataset_row

NAME_TAG = "mlflow.runName"  # MLflow's: goes with the name of a run
_LARGEST = 1.7976931348623157e308  # what MLflow stores for infinity

_RUNS, _TAGS, _PARAMS = SqlRun.__table__, SqlTag.__table__, SqlParam.__table__
_METRICS, _LATEST = SqlMetric.__table__, SqlLatestMetric.__table__
_DATASETS, _INPUTS, _INPUT_TAGS = SqlDataset.__table__, SqlInput.__table__, SqlInputTag.__table__

# Rows go to the driver as tuples: SQLAlchemy would look at each of them for longer than SQLite takes to store it.
Row = tuple[Any, ...]
_DIALECT = sqlite.dialect(paramstyle="qmark")


def write_rows(connection: Connection, uploads: Sequence[Upload], uris: Mapping[Path, str]) -> None:
    """Write all rows of some uploads; the first one of a record makes its run.

    Args:
        connection: in a transaction.
        uploads: with all ids.
        uris: where the artifacts go, by record.
    """
    new = [upload for upload in uploads if upload.is_first]
    _execute(connection, _INSERT_RUN, [_run_row(upload, uris[upload.record]) for upload in new])
    _execute(connection, _INSERT_PARAM, [row for upload in new for row in _pair_rows(upload, upload.params)])
    _execute(connection, _UPSERT_TAG, [row for upload in uploads for row in _pair_rows(upload, upload.tags)])
    _execute(connection, _UPSERT_TAG, [(NAME_TAG, upload.facts.name, upload.state.run_id) for upload in new])
    points = [row for upload in uploads for row in _point_rows(upload)]
    _execute(connection, _INSERT_POINT, points)
    _execute(connection, _UPSERT_LATEST, _latest(points))
    _write_datasets(connection, new)
    for upload in uploads:
        if upload.status and not upload.is_first:
            values = {"status": upload.status} | ({} if upload.end_time is None else {"end_time": upload.end_time})
            connection.execute(update(_RUNS).where(_RUNS.c.run_uuid == upload.state.run_id).values(values))


def _execute(connection: Connection, statement: str, rows: list[Row]) -> None:
    if rows:
        connection.exec_driver_sql(statement, rows)


def _sql(statement: Insert, *columns: str) -> str:
    """Write a statement out for rows of these columns, which have the order of the table."""
    compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns))
    assert tuple(compiled.positiontup or ()) == columns
    return str(compiled)


def _upsert_tag() -> Insert:
    statement = insert(_TAGS)
    return statement.on_conflict_do_update(["key", "run_uuid"], set_={"value": statement.excluded.value})


def _upsert_latest() -> Insert:
    """Insert the latest points, or replace those that are there and earlier by the rule of `_latest`."""
    statement = insert(_LATEST)
    names = ("step", "timestamp", "value")
    new = tuple_(*(statement.excluded[name] for name in names))
    return statement.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: statement.excluded[name] for name in (*names, "is_nan")},
        where=new > tuple_(*(_LATEST.c[name] for name in names)),
    )


_RUN, _DATASET = tuple(_RUNS.columns.keys()), tuple(_DATASETS.columns.keys())
_PAIR = ("key", "value", "run_uuid")
_POINT = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
_INSERT_RUN = _sql(insert(_RUNS), *_RUN)
_INSERT_PARAM = _sql(insert(_PARAMS), *_PAIR)
_UPSERT_TAG = _sql(_upsert_tag(), *_PAIR)
# Points that are there already are those of a delivery that was killed before it was noted.
_INSERT_POINT = _sql(insert(_METRICS).on_conflict_do_nothing(), *_POINT)
_UPSERT_LATEST = _sql(_upsert_latest(), *_POINT)
_INSERT_DATASET = _sql(insert(_DATASETS).on_conflict_do_nothing(), *_DATASET)
_INSERT_INPUT = _sql(insert(_INPUTS), "input_uuid", "source_type", "source_id", "destination_type", "destination_id")
_INSERT_INPUT_TAG = _sql(insert(_INPUT_TAGS), "input_uuid", "name", "value")


def _run_row(upload: Upload, artifact_uri: str) -> Row:
    """A run as MLflow's `create_run` makes it, with its end if it has one already."""
    values = {
        "run_uuid": upload.state.run_id,
        "name": upload.facts.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": upload.tags["mlflow.user"],
        "status": upload.status or "RUNNING",
        "start_time": upload.facts.created,
        "end_time": upload.end_time,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": artifact_uri,
        "experiment_id": int(upload.state.experiment_id),
    }
    return tuple(values[column] for column in _RUN)


def _pair_rows(upload: Upload, pairs: Mapping[str, str]) -> list[Row]:
    run_id = upload.state.run_id
    return [(key, value, run_id) for key, value in pairs.items()]


def _point_rows(upload: Upload) -> list[Row]:
    """Points as MLflow stores them: NaN as a zero with a mark, infinity as the largest number."""
    run_id = upload.state.run_id
    rows: list[Row] = []
    for key, value, time, step in upload.points:
        is_nan = value != value
        if not math.isfinite(value):
            value = 0.0 if is_nan else math.copysign(_LARGEST, value)
        rows.append((key, value, time, step, is_nan, run_id))
    return rows


def _latest(points: Sequence[Row]) -> list[Row]:
    """The point of each metric that MLflow shows as its value: the last by step, time and value."""
    latest: dict[tuple[str, str], Row] = {}
    for point in points:
        key, value, time, step, _, run_id = point
        other = latest.get((run_id, key))
        if other is None or (step, time, value) > (other[3], other[2], other[1]):
            latest[run_id, key] = point
    return list(latest.values())


def _write_datasets(connection: Connection, new: Sequence[Upload]) -> None:
    """Connect new runs with their data, which the runs of an experiment share."""
    of_run: dict[str, Row] = {}  # run id -> experiment id, name and digest of its data
    datasets: dict[Row, Row] = {}
    for upload in new:
        if upload.dataset is not None:
            values: dict[str, Any] = {**dataset_row(upload.dataset), "experiment_id": int(upload.state.experiment_id)}
            values |= {"dataset_uuid": uuid4().hex, "dataset_schema": None}
            key = values["experiment_id"], values["name"], values["digest"]
            of_run[upload.state.run_id] = key
            datasets.setdefault(key, tuple(values[column] for column in _DATASET))
    if not datasets:
        return
    _execute(connection, _INSERT_DATASET, list(datasets.values()))
    # Not those above: another run may have brought the same data before.
    names = tuple_(_DATASETS.c.experiment_id, _DATASETS.c.name, _DATASETS.c.digest)
    query = select(_DATASETS).where(names.in_(datasets))
    ids = {(row.experiment_id, row.name, row.digest): row.dataset_uuid for row in connection.execute(query)}
    inputs = [(uuid4().hex, "DATASET", ids[key], "RUN", run_id) for run_id, key in of_run.items()]
    _execute(connection, _INSERT_INPUT, inputs)
    _execute(connection, _INSERT_INPUT_TAG, [(input_id, *DATASET_TAG) for input_id, *_ in inputs])
