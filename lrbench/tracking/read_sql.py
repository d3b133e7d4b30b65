"""Reads runs straight from MLflow's database, much faster than through its client. Imports no mlflow."""

import gc
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    Select,
    case,
    column,
    create_engine,
    func,
    null,
    select,
    table,
)
from sqlalchemy.exc import OperationalError

from lrbench.tracking.database import database_path
from lrbench.tracking.names import RECORD_TAG
from lrbench.tracking.tables import Points, Tables, choose_experiments, is_read, last_points

_LOCK_SECONDS = 30.0  # a writer's transaction is short, but disks can be slow
_PORTION = 2_000  # points fetched at a time; their tuples stay in the cache of the processor

_EXPERIMENTS = table("experiments", *map(column, ("experiment_id", "name", "lifecycle_stage")))
_RUNS = table("runs", *map(column, ("run_uuid", "name", "experiment_id", "status", "lifecycle_stage", "start_time")))
_TAGS = table("tags", *map(column, ("run_uuid", "key", "value")))
_PARAMS = table("params", *map(column, ("run_uuid", "key", "value")))
_METRICS = table("metrics", *map(column, ("run_uuid", "key", "step", "timestamp", "value")), column("is_nan", Boolean))
_LATEST = table("latest_metrics", *map(column, ("run_uuid", "key")))


def read_tables(uri: str, experiments: Sequence[str] | None) -> Tables:
    """Fetch the raw tables with SELECTs only; a sqlite file is opened read-only.

    Args:
        uri: tracking URI of a database.
        experiments: names, or None for all.

    Raises:
        ValueError: the database does not exist, or an experiment does not; names those that do.
    """
    path = database_path(uri)
    if path is None:
        return _read(create_engine(uri), uri, experiments)
    if not path.exists():
        raise ValueError(f"tracking.uri: there is no database {path}; no run was recorded there yet")
    try:
        return _read(_sqlite(f"{path.as_uri()}?mode=ro"), uri, experiments)
    except OperationalError as error:
        # A writer was killed inside a transaction. SQLite must undo it first, which read-only it may not.
        if "readonly" not in str(error):
            raise
        return _read(_sqlite(f"{path.as_uri()}?mode=rw"), uri, experiments)


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


def _read(engine: Engine, uri: str, experiments: Sequence[str] | None) -> Tables:
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
            select(_RUNS.c.run_uuid, _RUNS.c.name, _RUNS.c.experiment_id, _RUNS.c.status, _RUNS.c.start_time).where(
                _RUNS.c.run_uuid.in_(ours)
            ),
            ["run_id", "run_name", "experiment", "status", "start_time"],
        )
        runs["experiment"] = runs["experiment"].map(names)
        keys = connection.execute(select(_LATEST.c.key).where(_LATEST.c.run_uuid.in_(ours)).distinct())
        # A run that began after the runs were fetched is not among them.
        positions = defaultdict(lambda: -1, {run_id: position for position, run_id in enumerate(runs["run_id"])})
        # Where most runs are wanted, to ask for each point whether its run is takes longer than to drop the others.
        total = connection.execute(select(func.count()).select_from(_RUNS)).scalar_one()
        wanted = None if 2 * len(runs) > total else ours
        with _without_collector():
            points = {
                key: _points(connection, _points_query(key, wanted), positions)
                for key in keys.scalars()
                if is_read(key)
            }
        pairs = ["run_id", "key", "value"]
        tags = _fetch(connection, select(*_TAGS.c).where(_TAGS.c.run_uuid.in_(ours)), pairs)
        params = _fetch(connection, select(*_PARAMS.c).where(_PARAMS.c.run_uuid.in_(ours)), pairs)
    engine.dispose()
    return Tables(runs=runs, tags=tags, params=params, points=points)


def _points_query(metric: str, wanted: Select[tuple[str]] | None) -> Select[tuple[Any, ...]]:
    """The points of one metric, whose key, first in MLflow's primary key, leads straight to them.

    Args:
        metric: its key.
        wanted: runs; None for all.
    """
    m = _METRICS.c
    value = case((m.is_nan, null()), else_=m.value)
    query = select(m.run_uuid, m.step, m.timestamp, value).where(m.key == metric)
    if wanted is not None:
        query = query.where(m.run_uuid.in_(wanted))
    if metric == "lr":
        # It has many points between two evaluations, which the frame does not show. Those at a step where some other
        # run was evaluated come along: pairs of run and step would make a large table first.
        other = _METRICS.alias()
        query = query.where(m.step.in_(select(other.c.step).where(other.c.key == "time/seconds").distinct()))
    return query


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles among the tuples of a database, which takes longer than to fetch them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _points(connection: Connection, query: Select[tuple[Any, ...]], positions: Mapping[str, int]) -> Points:
    """Fetch points in portions: a tuple a point would take ten times the memory of its numbers.

    Args:
        connection: open.
        query: from `_points_query`.
        positions: of the runs by id, -1 for any other.
    """
    cursor = connection.execute(query).cursor
    assert cursor is not None
    portions: list[list[npt.NDArray[Any]]] = [
        [np.empty(0, kind) for kind in (np.int32, np.int64, np.int64, np.float64)]
    ]
    # The driver's own tuples: SQLAlchemy's rows would double the time of a million points.
    while rows := cursor.fetchmany(_PORTION):
        run_ids, steps, timestamps, values = zip(*rows, strict=True)
        run = np.fromiter(map(positions.__getitem__, run_ids), np.int32, len(rows))
        # No value (NULL) becomes NaN.
        portions.append([run, np.array(steps, np.int64), np.array(timestamps, np.int64), np.array(values, np.float64)])
    columns = [np.concatenate(parts) for parts in zip(*portions, strict=True)]
    return last_points(*(column[columns[0] >= 0] for column in columns))


def _fetch(connection: Connection, query: Select[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    cursor = connection.execute(query).cursor
    assert cursor is not None
    return pd.DataFrame([*cursor.fetchall()], columns=columns)
