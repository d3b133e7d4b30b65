"""Sends many records into an MLflow database on this machine in one transaction.

MLflow's client takes a tenth of a second for a small run, most of it to look up, call by call, what is there. Here the
rows of many runs go into MLflow's tables together (`bulk_rows`). Hence it works only with the schemas that it was
tested with, and only for what needs no comparison with what is there. The rest is left to the client.
"""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun, SqlTag
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy import Engine, column, create_engine, select, table
from sqlalchemy.exc import DBAPIError, OperationalError

from lrbench.tracking.bulk_rows import NAME_TAG, write_rows
from lrbench.tracking.names import RECORD_TAG
from lrbench.tracking.received import local_path, puts_inside
from lrbench.tracking.send_state import save_state
from lrbench.tracking.upload import Upload

SCHEMAS = ("dc11669786a5",)  # alembic revisions of MLflow 3.17.2
_LOCK_SECONDS = 20.0  # as MLflow itself waits for other writers
_CACHE_KIB = 65_536  # with SQLite's 2 MB, pages of a large batch would be written more than once

_RUNS, _TAGS, _EXPERIMENTS = SqlRun.__table__, SqlTag.__table__, SqlExperiment.__table__


class Bulk:
    """A database that takes many runs at once; see `open`."""

    def __init__(self, engine: Engine, database: Path) -> None:
        self._engine = engine
        self._database = database
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
        return cls(engine, database) if revision in SCHEMAS else None

    def write(self, uploads: Sequence[Upload]) -> list[Path]:
        """Write what can be written without the client, all or nothing, and note it in the records.

        A new run gets the id of its record, so that one which was killed before it was noted is found again.

        Args:
            uploads: with the ids of their experiments.

        Returns:
            Records that the client must send.

        Raises:
            OperationalError: the database does not work, e.g. it is locked or its disk is full.
            OSError: an artifact cannot be copied.
        """
        uris = self._accept(uploads)
        accepted = [upload for upload in uploads if upload.record in uris]
        try:
            for upload in accepted:
                _copy_files(upload, uris[upload.record])
            with self._engine.begin() as connection:
                write_rows(connection, accepted, uris)
        except OperationalError:
            raise
        except (DBAPIError, OverflowError):
            # The client will find out which record is to blame.
            for upload in accepted:
                if upload.is_first:
                    shutil.rmtree(_folder(uris[upload.record]).parent, ignore_errors=True)
            return [upload.record for upload in uploads]
        for upload in accepted:
            save_state(upload.record, upload.state)
        return [upload.record for upload in uploads if upload.record not in uris]

    def _accept(self, uploads: Sequence[Upload]) -> dict[Path, str]:
        """Choose the uploads that need no client and give new runs their ids; their artifact URIs by record."""
        ids = {upload.state.run_id or upload.facts.record_id for upload in uploads}
        experiment_ids = {int(upload.state.experiment_id) for upload in uploads}
        with self._engine.connect() as connection:
            runs = {row.run_uuid: row for row in connection.execute(select(_RUNS).where(_RUNS.c.run_uuid.in_(ids)))}
            experiments = select(_EXPERIMENTS).where(
                _EXPERIMENTS.c.experiment_id.in_(experiment_ids), _EXPERIMENTS.c.lifecycle_stage == "active"
            )
            roots = {str(row.experiment_id): row.artifact_location for row in connection.execute(experiments)}
        uris = {}
        for upload in uploads:
            state, record_id = upload.state, upload.facts.record_id
            if state.experiment_id not in roots or NAME_TAG in upload.tags:
                continue
            if not state.run_id:
                if record_id in runs or record_id in self._records:
                    continue
                uri = append_to_uri_path(roots[state.experiment_id], record_id, "artifacts")
            elif upload.is_first or upload.params or state.run_id not in runs:
                continue  # its params must be compared with those that are there
            elif runs[state.run_id].lifecycle_stage != "active":
                continue
            else:
                uri = runs[state.run_id].artifact_uri
            if local_path(uri) is not None and puts_inside(uri, self._database, upload.record):
                state.run_id = state.run_id or record_id
                uris[upload.record] = uri
        return uris


def _folder(uri: str) -> Path:
    folder = local_path(uri)
    assert folder is not None
    return folder


def _copy_files(upload: Upload, uri: str) -> None:
    folder = _folder(uri)
    for subfolder in {file.parent for file in upload.files}:
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
    for file in upload.files:
        _place(upload.record / "artifacts" / file, folder / file)


def _place(source: Path, target: Path) -> None:
    """Give a file a second name, which costs a third of a copy and no space; copy it where that cannot be."""
    try:
        os.link(source, target)
    except FileExistsError:
        if not os.path.samefile(source, target):
            shutil.copyfile(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
