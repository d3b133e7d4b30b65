"""Reads runs straight from MLflow's database, much faster than through its client. Imports no mlflow."""

import sqlite3
from collections.abc import Sequence

import pandas as pd
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    column,
    create_engine,
    func,
    select,
    table,
    tuple_,
)
from sqlalchemy.exc import OperationalError

from lrbench.tracking.database import database_path
from lrbench.tracking.names import RECORD_TAG
from lrbench.tracking.tables import Tables, choose_experiments

_LOCK_SECONDS = 30.0  # a writer's transaction is short, but disks can be slow

_EXPERIMENTS = table("experiments", *map(column, ("experiment_id", "name", "lifecycle_stage")))
_RUNS = table("runs", *map(column, ("run_uuid", "name", "experiment_id", "status", "lifecycle_stage", "start_time")))
_TAGS = table("tags", *map(column, ("run_uuid", "key", "value")))
_PARAMS = table("params", *map(column, ("run_uuid", "key", "value")))
_METRICS = table("metrics", *map(column, ("run_uuid", "key", "step", "timestamp", "value", "is_nan")))


def read_tables(uri: str, experiments: Sequence[str] | None, metrics: Sequence[str]) -> Tables:
    """Fetch the raw tables with SELECTs only; a sqlite file is opened read-only.

    Args:
        uri: tracking URI of a database.
        experiments: names, or None for all.
        metrics: keys of the points to fetch.

    Raises:
        ValueError: the database does not exist, or an experiment does not; names those that do.
    """
    path = database_path(uri)
    if path is None:
        return _read(create_engine(uri), uri, experiments, metrics)
    if not path.exists():
        raise ValueError(f"tracking.uri: there is no database {path}; no run was recorded there yet")
    try:
        return _read(_sqlite(f"{path.as_uri()}?mode=ro"), uri, experiments, metrics)
    except OperationalError as error:
        # A writer was killed inside a transaction. SQLite must undo it first, which read-only it may not.
        if "readonly" not in str(error):
            raise
        return _read(_sqlite(f"{path.as_uri()}?mode=rw"), uri, experiments, metrics)


def recorded_experiments(uri: str) -> list[tuple[str, str]]:
    """List (id, name) of the experiments that hold runs of lrbench, that of the newest run first.

    Args:
        uri: tracking URI of a database that exists.
    """
    newest = func.max(_RUNS.c.start_time)
    query = (
        select(_EXPERIMENTS.c.experiment_id, _EXPERIMENTS.c.name)
        .join(_RUNS, _RUNS.c.experiment_id == _EXPERIMENTS.c.experiment_id)
        .join(_TAGS, _TAGS.c.run_uuid == _RUNS.c.run_uuid)
        .where(
            _TAGS.c.key == RECORD_TAG,
            _RUNS.c.lifecycle_stage == "active",
            _EXPERIMENTS.c.lifecycle_stage == "active",
        )
        .group_by(_EXPERIMENTS.c.experiment_id, _EXPERIMENTS.c.name)
        .order_by(newest.desc())
    )
    path = database_path(uri)
    engine = create_engine(uri) if path is None else _sqlite(f"{path.as_uri()}?mode=rw")
    with engine.connect() as connection:
        found = [(str(number), str(name)) for number, name in connection.execute(query)]
    engine.dispose()
    return found


def _sqlite(address: str) -> Engine:
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS))


def _read(engine: Engine, uri: str, experiments: Sequence[str] | None, metrics: Sequence[str]) -> Tables:
    with engine.connect() as connection:
        active = select(_EXPERIMENTS.c.experiment_id, _EXPERIMENTS.c.name).where(
            _EXPERIMENTS.c.lifecycle_stage == "active"
        )
        ids = {name: number for number, name in connection.execute(active)}
        names = {ids[name]: name for name in choose_experiments(ids, experiments, uri)}
        ours = (
            select(_RUNS.c.run_uuid)
            .join(_TAGS, _TAGS.c.run_uuid == _RUNS.c.run_uuid)
            .where(
                _TAGS.c.key == RECORD_TAG,
                _RUNS.c.lifecycle_stage == "active",
                _RUNS.c.experiment_id.in_(list(names)),
            )
        )
        runs = _fetch(
            connection,
            select(_RUNS.c.run_uuid, _RUNS.c.name, _RUNS.c.experiment_id, _RUNS.c.status).where(
                _RUNS.c.run_uuid.in_(ours)
            ),
            ["run_id", "run_name", "experiment", "status"],
        )
        runs["experiment"] = runs["experiment"].map(names)
        points = _fetch(
            connection,
            select(*_METRICS.c).where(
                _METRICS.c.key.in_(list(metrics)),
                _METRICS.c.run_uuid.in_(ours),
                # `lr` has many points between two evaluations, none of which the frame shows.
                (_METRICS.c.key != "lr") | _at_an_evaluation(),
            ),
            ["run_id", "key", "step", "timestamp", "value", "is_nan"],
        )
        is_nan = points.pop("is_nan").to_numpy(dtype=bool)
        points["value"] = points["value"].to_numpy(dtype=float)
        points.loc[is_nan, "value"] = float("nan")
        pairs = ["run_id", "key", "value"]
        tags = _fetch(connection, select(*_TAGS.c).where(_TAGS.c.run_uuid.in_(ours)), pairs)
        params = _fetch(connection, select(*_PARAMS.c).where(_PARAMS.c.run_uuid.in_(ours)), pairs)
    engine.dispose()
    return Tables(runs=runs, tags=tags, params=params, points=points)


def _at_an_evaluation() -> ColumnElement[bool]:
    m = _METRICS.alias()
    # Not a correlated EXISTS: for that SQLite takes the wrong index and runs for minutes.
    evaluations = select(m.c.run_uuid, m.c.step).where(m.c.key == "time/seconds")
    return tuple_(_METRICS.c.run_uuid, _METRICS.c.step).in_(evaluations)


def _fetch(connection: Connection, query: Select[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    cursor = connection.execute(query).cursor
    assert cursor is not None
    # The driver's own tuples: SQLAlchemy's rows would double the time of half a million points.
    return pd.DataFrame([*cursor.fetchall()], columns=columns)
