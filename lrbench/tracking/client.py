"""Copies records into MLflow; with `bulk`, `bulk_rows` and `read_api` the only importer of mlflow.

Every step can be repeated: the run is found by the tag `lrbench.record_id` before it is made, and a point
sent twice has the same key, step, timestamp and value, which MLflow stores once.

MLflow holds no infinity: +-inf arrives as +-1.7976931348623157e308, which `lrbench.tracking.read` maps back.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from lrbench.addresses import quoted_uri
from lrbench.databases import create_database
from lrbench.tracking.bulk import Bulk
from lrbench.tracking.database import check_tracking, database_path
from lrbench.tracking.facts import DatasetFacts, Facts, read_facts
from lrbench.tracking.lock import try_lock
from lrbench.tracking.moved import artifact_root, follow_move
from lrbench.tracking.names import PARENT_TAG, RECORD_TAG
from lrbench.tracking.received import puts_inside
from lrbench.tracking.record import RecordBusyError
from lrbench.tracking.send_state import SendState, load_state, save_state
from lrbench.tracking.upload import DATASET_TAG, Upload, birth_tags, dataset_row, next_upload

# What can go wrong between us and the store. requests' errors are OSErrors; ValueError is our own refusal.
StoreError = (MlflowException, SQLAlchemyError, OSError)
_PARENT_SECONDS = 5.0  # to wait for another sender that is at the parent
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")


def is_refusal(error: BaseException) -> bool:
    """Whether the store is well and refuses this record, so that trying again is of no use."""
    return isinstance(error, MlflowException) and error.error_code in _REFUSALS


def is_gone(error: BaseException) -> bool:
    """Whether the store has lost the run or experiment that it had given an id for."""
    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


class Store:
    """An open tracking store.

    Args:
        uri: MLflow tracking URI. A sqlite database that does not exist yet is created.

    Raises:
        ValueError: the store cannot be used (see `check_tracking`).
    """

    def __init__(self, uri: str) -> None:
        check_tracking(uri)  # before MLflow, which would try for minutes
        self._database = database_path(uri)
        if self._database is not None:
            create_database(self._database, _build_database)
            follow_move(self._database)
        self._client = MlflowClient(uri if self._database is None else quoted_uri(self._database))
        self._bulk = None if self._database is None else Bulk.open(self._database)
        self._experiments: dict[str, str] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine."""
        return self._database is not None

    def send(self, record: Path, *, abandoned: bool) -> bool:
        """Send what MLflow lacks of a record, the ordinary way that works with every store.

        Args:
            record: its directory; the caller holds its `sender.lock`.
            abandoned: see `next_upload`.

        Returns:
            Whether anything was sent.

        Raises:
            StoreError: the store does not work, or refuses; see `is_refusal`, `is_gone`.
            RecordBusyError: its parent, which must be there first, is being sent by another process.
            ValueError: it is damaged.
        """
        is_sent = False
        while upload := next_upload(record, abandoned=abandoned):
            self._upload(upload)
            is_sent = True
        return is_sent

    def send_together(self, records: Mapping[Path, bool]) -> list[Path]:
        """Send what MLflow lacks of many records in one transaction, where the store allows it.

        Args:
            records: directories, none the parent of another, and whether they are abandoned; see `send`.

        Returns:
            Those that must be sent one by one, for whatever reason; of the others a part may be left.

        Raises:
            StoreError: the store does not work; nothing was sent.
        """
        if self._bulk is None:
            return list(records)
        rest, uploads = [], []
        for record, abandoned in records.items():
            try:
                upload = next_upload(record, abandoned=abandoned)
                if upload is None:
                    continue
                if _may_have_a_run(upload):
                    rest.append(record)
                else:
                    uploads.append(self._with_ids(upload))
            except (ValueError, OSError, RecordBusyError, MlflowException):
                rest.append(record)  # alone it meets the same error, which then harms no other
        return rest + self._bulk.write(uploads)

    def _upload(self, upload: Upload) -> None:
        state = upload.state
        if not state.run_id:
            state.experiment_id, state.run_id = self._begin(upload.record, upload.facts)
        self._client.log_batch(
            state.run_id,
            metrics=[Metric(key, value, time, step) for key, value, time, step in upload.points],
            params=[Param(key, text) for key, text in upload.params.items()],
            tags=[RunTag(key, text) for key, text in upload.tags.items()],
        )
        if upload.dataset is not None:
            self._client.log_inputs(state.run_id, datasets=[_dataset_input(upload.dataset)])
        if upload.files and self._database is not None:
            place = self._client.get_run(state.run_id).info.artifact_uri
            if not puts_inside(place, self._database, upload.record):
                raise ValueError(f"{self._database} has artifacts put into {place}, which is not in its folder")
        for file in upload.files:
            folder = None if file.parent == Path() else str(file.parent)
            self._client.log_artifact(state.run_id, str(upload.record / "artifacts" / file), folder)
        if upload.status == "RUNNING":
            self._client.update_run(state.run_id, status="RUNNING")
        elif upload.status:
            self._client.set_terminated(state.run_id, upload.status, end_time=upload.end_time)
        save_state(upload.record, state)

    def _with_ids(self, upload: Upload) -> Upload:
        """Name the experiment, and for a new run its parent, which are made when they are not there yet."""
        state = upload.state
        if state.run_id:
            return upload
        state.experiment_id = self._experiment(upload.facts.experiment)
        parent = self._parent(upload.record, upload.facts)
        return upload if parent is None else dataclasses.replace(upload, tags={**upload.tags, PARENT_TAG: parent})

    def _experiment(self, name: str) -> str:
        """Id of the experiment of this name, made when there is none."""
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                self._create_experiment(name)
                found = self._client.get_experiment_by_name(name)
            if found.lifecycle_stage != "active":
                raise MlflowException.invalid_parameter_value(
                    f"the experiment {name!r} was deleted in MLflow; take it back with "
                    f"`mlflow experiments restore -x {found.experiment_id}`, or choose another name"
                )
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _create_experiment(self, name: str) -> None:
        # Beside the database and absolute; MLflow's own default depends on the working directory.
        location = None if self._database is None else artifact_root(self._database)
        try:
            self._client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else was faster
                raise

    def _begin(self, record: Path, facts: Facts) -> tuple[str, str]:
        """Make MLflow's run of a record, inside that of its parent, or find it again.

        Returns:
            The ids of experiment and run.
        """
        parent = self._parent(record, facts)
        experiment_id = self._experiment(facts.experiment)
        save_state(record, SendState(experiment_id=experiment_id))  # from here on there may be a run
        run_id = self._run(facts, experiment_id, parent)
        for replaced in facts.replaces:
            self._replace(replaced, experiment_id, run_id)
        save_state(record, SendState(experiment_id=experiment_id, run_id=run_id, status="RUNNING"))
        return experiment_id, run_id

    def _parent(self, record: Path, facts: Facts) -> str | None:
        """Id of MLflow's run of the record's parent; None without one, or when that was deleted."""
        path = record.parent / facts.parent
        if not facts.parent or not path.exists():
            return None
        run_id = load_state(path).run_id
        if run_id:
            return run_id
        lock = try_lock(path / "sender.lock", patience=_PARENT_SECONDS)
        if lock is None:
            raise RecordBusyError(f"{path} is being sent by another process")
        with lock:
            return load_state(path).run_id or self._begin(path, read_facts(path))[1]

    def _run(self, facts: Facts, experiment_id: str, parent: str | None) -> str:
        """Id of MLflow's run of this record, made when there is none."""
        found = self._find(RECORD_TAG, facts.record_id, experiment_id)
        if found:
            return found[0]
        tags = birth_tags(facts) | ({} if parent is None else {PARENT_TAG: parent})
        run = self._client.create_run(experiment_id, start_time=facts.created, tags=tags, run_name=facts.name)
        return str(run.info.run_id)

    def _replace(self, record_id: str, experiment_id: str, run_id: str) -> None:
        """Let a new run take the place, and the children, of the run that its record had before a restart."""
        for old in self._find(RECORD_TAG, record_id, experiment_id):
            for child in self._find(PARENT_TAG, old, experiment_id):
                self._client.set_tag(child, PARENT_TAG, run_id)
            self._client.delete_run(old)

    def _find(self, tag: str, value: str, experiment_id: str) -> list[str]:
        """Ids of the runs with this tag."""
        ids, token = [], None
        while True:
            page = self._client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", page_token=token)
            ids += [str(run.info.run_id) for run in page]
            token = page.token
            if not token:
                return ids


def _may_have_a_run(upload: Upload) -> bool:
    """Whether the store must be asked for the run of this record, or of an earlier id of it."""
    is_new = not upload.state.run_id
    return is_new and bool(upload.facts.replaces or upload.state.experiment_id)


def _dataset_input(facts: DatasetFacts) -> DatasetInput:
    row = dataset_row(facts)
    dataset = Dataset(
        name=row["name"],
        digest=row["digest"],
        source_type=row["dataset_source_type"],
        source=row["dataset_source"],
        profile=row["dataset_profile"],
    )
    return DatasetInput(dataset, [InputTag(*DATASET_TAG)])


def _build_database(path: Path) -> None:
    store = SqlAlchemyStore(quoted_uri(path), artifact_root(path))
    store.engine.dispose()
