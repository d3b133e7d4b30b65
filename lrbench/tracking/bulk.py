"""Sends many records into an MLflow database on this machine in one transaction.

MLflow's client takes a tenth of a second for a small run, most of it to look up, call by call, what is there. Here the
rows of many runs go into MLflow's own tables (its SQLAlchemy models) together, just as the client would have left
them; a test compares the two. Hence it works only with the schemas that it was tested with, and only for what needs no
comparison with what is there. The rest is left to the client.
"""

import math
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Connection, Engine, column, create_engine, select, table, tuple_, update
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DBAPIError, OperationalError

from lrbench.tracking.names import RECORD_TAG
from lrbench.tracking.outbox import save_state
from lrbench.tracking.parcel import DATASET_TAG, Parcel, dataset_row

SCHEMAS = ("dc11669786a5",)  # alembic revisions of MLflow 3.17.2
_LOCK_SECONDS = 20.0  # as MLflow itself waits for other writers
_CACHE_KIB = 65_536  # with SQLite's 2 MB, pages of a large batch would be written more than once
_NAME_TAG = "mlflow.runName"  # MLflow's: goes with the name of a run
_LARGEST = 1.7976931348623157e308  # what MLflow stores for infinity

_RUNS, _TAGS, _PARAMS = SqlRun.__table__, SqlTag.__table__, SqlParam.__table__
_METRICS, _LATEST = SqlMetric.__table__, SqlLatestMetric.__table__
_EXPERIMENTS, _DATASETS = SqlExperiment.__table__, SqlDataset.__table__
_INPUTS, _INPUT_TAGS = SqlInput.__table__, SqlInputTag.__table__

Row = dict[str, Any]


class Bulk:
    """A database that takes many runs at once; see `open`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            # Runs that the client made have ids of their own; they are known by the id of their record.
            query = select(_TAGS.c.value).where(_TAGS.c.key == RECORD_TAG)
            self._records = set(connection.execute(query).scalars())

    @classmethod
    def open(cls, database: Path) -> Self | None:
        """Open a database; None when its schema is not one that is known here.

        Raises:
            OperationalError: it is locked for long.
        """

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(database, timeout=_LOCK_SECONDS)
            connection.execute("pragma foreign_keys = on")
            connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
            return connection

        engine = create_engine("sqlite://", creator=connect)
        with engine.connect() as connection:
            revision = connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
        return cls(engine) if revision in SCHEMAS else None

    def deliver(self, parcels: Sequence[Parcel]) -> list[Path]:
        """Write what can be written without the client, all or nothing, and note it in the records.

        A new run gets the id of its record, so that one which was killed before it was noted is found again.

        Args:
            parcels: with the ids of their experiments.

        Returns:
            Records that the client must send.

        Raises:
            OperationalError: the database does not work, e.g. it is locked or its disk is full.
            OSError: an artifact cannot be copied.
        """
        uris = self._accept(parcels)
        accepted = [parcel for parcel in parcels if parcel.record in uris]
        try:
            for parcel in accepted:
                _copy_files(parcel, uris[parcel.record])
            with self._engine.begin() as connection:
                _write(connection, accepted, uris)
        except OperationalError:
            raise
        except (DBAPIError, OverflowError):
            # The client will find out which record is to blame.
            for parcel in accepted:
                if parcel.is_first:
                    shutil.rmtree(_local_path(uris[parcel.record]).parent, ignore_errors=True)
            return [parcel.record for parcel in parcels]
        for parcel in accepted:
            save_state(parcel.record, parcel.state)
        return [parcel.record for parcel in parcels if parcel.record not in uris]

    def _accept(self, parcels: Sequence[Parcel]) -> dict[Path, str]:
        """Choose the parcels that need no client and give new runs their ids; their artifact URIs by record."""
        ids = {parcel.state.run_id or parcel.facts.record_id for parcel in parcels}
        experiment_ids = {int(parcel.state.experiment_id) for parcel in parcels}
        with self._engine.connect() as connection:
            runs = {row.run_uuid: row for row in connection.execute(select(_RUNS).where(_RUNS.c.run_uuid.in_(ids)))}
            experiments = select(_EXPERIMENTS).where(
                _EXPERIMENTS.c.experiment_id.in_(experiment_ids), _EXPERIMENTS.c.lifecycle_stage == "active"
            )
            roots = {str(row.experiment_id): row.artifact_location for row in connection.execute(experiments)}
        uris = {}
        for parcel in parcels:
            state, record_id = parcel.state, parcel.facts.record_id
            if state.experiment_id not in roots or _NAME_TAG in parcel.tags:
                continue
            if not state.run_id:
                if record_id in runs or record_id in self._records:
                    continue
                uri = append_to_uri_path(roots[state.experiment_id], record_id, "artifacts")
            elif parcel.is_first or parcel.params or state.run_id not in runs:
                continue  # its params must be compared with those that are there
            elif runs[state.run_id].lifecycle_stage != "active":
                continue
            else:
                uri = runs[state.run_id].artifact_uri
            if urlsplit(uri).scheme in ("", "file"):
                state.run_id = state.run_id or record_id
                uris[parcel.record] = uri
        return uris


def _local_path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri)


def _copy_files(parcel: Parcel, uri: str) -> None:
    for file in parcel.files:
        target = _local_path(uri) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(parcel.record / "artifacts" / file, target)


def _write(connection: Connection, parcels: Sequence[Parcel], uris: Mapping[Path, str]) -> None:
    """Write all rows of some parcels; the first parcel of a record makes its run."""
    new = [parcel for parcel in parcels if parcel.is_first]
    _insert(connection, insert(_RUNS), [_run_row(parcel, uris[parcel.record]) for parcel in new])
    _insert(connection, insert(_PARAMS), [_pair(parcel, *item) for parcel in new for item in parcel.params.items()])
    tags = insert(_TAGS)
    tags = tags.on_conflict_do_update(index_elements=["key", "run_uuid"], set_={"value": tags.excluded.value})
    _insert(connection, tags, [_pair(parcel, *item) for parcel in parcels for item in parcel.tags.items()])
    _insert(connection, tags, [_pair(parcel, _NAME_TAG, parcel.facts.name) for parcel in new])
    points = [row for parcel in parcels for row in _point_rows(parcel)]
    # Points that are there already are those of a delivery that was killed before it was noted.
    _insert(connection, insert(_METRICS).on_conflict_do_nothing(), points)
    _insert(connection, _upsert_if_later(), _latest(points))
    for parcel in new:
        _write_dataset(connection, parcel)
    for parcel in parcels:
        if parcel.status and not parcel.is_first:
            values = {"status": parcel.status} | ({} if parcel.end_time is None else {"end_time": parcel.end_time})
            connection.execute(update(_RUNS).where(_RUNS.c.run_uuid == parcel.state.run_id).values(values))


def _insert(connection: Connection, statement: Insert, rows: list[Row]) -> None:
    if rows:
        connection.execute(statement, rows)


def _run_row(parcel: Parcel, artifact_uri: str) -> Row:
    """A run as MLflow's `create_run` makes it, with its end if it has one already."""
    return {
        "run_uuid": parcel.state.run_id,
        "name": parcel.facts.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": parcel.tags["mlflow.user"],
        "status": parcel.status or "RUNNING",
        "start_time": parcel.facts.created,
        "end_time": parcel.end_time,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": artifact_uri,
        "experiment_id": int(parcel.state.experiment_id),
    }


def _pair(parcel: Parcel, key: str, value: str) -> Row:
    return {"key": key, "value": value, "run_uuid": parcel.state.run_id}


def _point_rows(parcel: Parcel) -> list[Row]:
    """Points as MLflow stores them: it has no NaN and no infinity."""
    run_id = parcel.state.run_id
    return [
        {
            "key": key,
            "value": 0.0 if math.isnan(value) else max(-_LARGEST, min(_LARGEST, value)),
            "timestamp": time,
            "step": step,
            "is_nan": math.isnan(value),
            "run_uuid": run_id,
        }
        for key, value, time, step in parcel.points
    ]


def _latest(points: Sequence[Row]) -> list[Row]:
    """The point of each metric that MLflow shows as its value."""
    latest: dict[tuple[str, str], Row] = {}
    for point in points:
        name = (point["run_uuid"], point["key"])
        if name not in latest or _age(point) > _age(latest[name]):
            latest[name] = point
    return list(latest.values())


def _age(point: Row) -> tuple[int, int, float]:
    return point["step"], point["timestamp"], point["value"]


def _upsert_if_later() -> Insert:
    """Insert the latest points, or replace those that are there and earlier by the rule of `_latest`."""
    statement = insert(_LATEST)
    names = ("step", "timestamp", "value")
    new = tuple_(*(statement.excluded[name] for name in names))
    return statement.on_conflict_do_update(
        index_elements=["key", "run_uuid"],
        set_={name: statement.excluded[name] for name in (*names, "is_nan")},
        where=new > tuple_(*(_LATEST.c[name] for name in names)),
    )


def _write_dataset(connection: Connection, parcel: Parcel) -> None:
    """Connect a new run with its data, which the runs of an experiment share."""
    if parcel.dataset is None:
        return
    row = {**dataset_row(parcel.dataset), "experiment_id": int(parcel.state.experiment_id)}
    connection.execute(insert(_DATASETS).values(dataset_uuid=uuid4().hex, **row).on_conflict_do_nothing())
    is_same = [_DATASETS.c[name] == row[name] for name in ("experiment_id", "name", "digest")]
    dataset_id = connection.execute(select(_DATASETS.c.dataset_uuid).where(*is_same)).scalar_one()
    input_id = uuid4().hex
    edge = {"source_type": "DATASET", "source_id": dataset_id}
    edge |= {"destination_type": "RUN", "destination_id": parcel.state.run_id}
    connection.execute(insert(_INPUTS).values(input_uuid=input_id, **edge))
    name, value = DATASET_TAG
    connection.execute(insert(_INPUT_TAGS).values(input_uuid=input_id, name=name, value=value))
