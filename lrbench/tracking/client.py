"""Copies one record into MLflow; with `read_api` the only importer of mlflow.

Every step can be repeated: the run is found by the tag `lrbench.record_id` before it is made, and a point
sent twice has the same key, step, timestamp and value, which MLflow stores once.

MLflow holds no infinity: +-inf arrives as +-1.7976931348623157e308, which `lrbench.tracking.read` maps back.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from lrbench.databases import create_database
from lrbench.spec import RunState
from lrbench.tracking.database import check_tracking, database_path
from lrbench.tracking.facts import Facts, read_facts
from lrbench.tracking.journal import Described, Ended, EndStatus, Entry, Evaluated, complete_bytes, read_entries
from lrbench.tracking.lock import try_lock
from lrbench.tracking.names import MAX_TAG_LENGTH, NOTE_TAG, PARENT_TAG, RECORD_TAG, cut, escape_key, format_param
from lrbench.tracking.outbox import SendState, load_state, save_state
from lrbench.tracking.record import RecordBusyError

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
        self._client = MlflowClient(uri)
        self._experiments: dict[str, str] = {}
        self._parents: dict[str, str] = {}  # MLflow's run id by record id

    def send(self, record: Path, *, abandoned: bool) -> bool:
        """Send what MLflow lacks of a record.

        Args:
            record: its directory; the caller holds its `sender.lock`.
            abandoned: no process trains it any more; without an end in its journal it was killed. Must have
                been found out before this call, else a line could be written in between.

        Returns:
            Whether anything was sent.

        Raises:
            RecordBusyError: its parent, which must be there first, is being sent by another process.
        """
        facts, state = read_facts(record), load_state(record)
        before = dataclasses.replace(state)
        if not state.run_id:
            self._begin(record, facts, state)
        if not state.described:
            self._describe(record, facts, state)
            save_state(record, state)
        journal = record / "journal.jsonl"
        while state.sent_bytes < complete_bytes(journal):
            entries, end = read_entries(journal, state.sent_bytes)
            params, tags = _late_facts(entries)
            self._client.log_batch(state.run_id, metrics=_metrics(entries), params=params, tags=tags)
            last = entries[-1]
            state.sent_bytes, state.last_time = end, last.time
            state.ending = dataclasses.asdict(last) if isinstance(last, Ended) else None
            if state.ending is None and state.status != "RUNNING":
                self._client.update_run(state.run_id, status="RUNNING")
                state.status = "RUNNING"
            save_state(record, state)
        if (state.ending is not None or abandoned) and state.finished_bytes != state.sent_bytes:
            self._finish(record, facts, state)
        state.error = ""
        if state != before:
            save_state(record, state)
        return state != before

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
        location = None if self._database is None else _artifact_root(self._database)
        try:
            self._client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody else was faster
                raise

    def _begin(self, record: Path, facts: Facts, state: SendState) -> None:
        """Make MLflow's run of a record, inside that of its parent, or find it again."""
        parent = self._parent(record, facts)
        state.experiment_id = self._experiment(facts.experiment)
        state.run_id = self._run(facts, state.experiment_id, parent)
        for replaced in facts.replaces:
            self._replace(replaced, state)
        state.status = "RUNNING"
        save_state(record, state)

    def _parent(self, record: Path, facts: Facts) -> str | None:
        """Id of MLflow's run of the record's parent; None without one, or when that was deleted."""
        path = record.parent / facts.parent
        if not facts.parent or not path.exists():
            return None
        record_id = read_facts(path).record_id
        if record_id not in self._parents:
            lock = try_lock(path / "sender.lock", patience=_PARENT_SECONDS)
            if lock is None:
                raise RecordBusyError(f"{path} is being sent by another process")
            with lock:
                state = load_state(path)
                if not state.run_id:
                    self._begin(path, read_facts(path), state)
            self._parents[record_id] = state.run_id
        return self._parents[record_id]

    def _run(self, facts: Facts, experiment_id: str, parent: str | None) -> str:
        """Id of MLflow's run of this record, made when there is none."""
        found = self._find({RECORD_TAG: facts.record_id}, experiment_id)
        if found:
            return found[0]
        tags = {RECORD_TAG: facts.record_id, "mlflow.user": os.environ.get("USER", "")}
        if parent is not None:
            tags[PARENT_TAG] = parent
        run = self._client.create_run(experiment_id, start_time=facts.created, tags=tags, run_name=facts.name)
        return str(run.info.run_id)

    def _replace(self, record_id: str, state: SendState) -> None:
        """Let a new run take the place, and the children, of the run that its record had before a restart."""
        for old in self._find({RECORD_TAG: record_id}, state.experiment_id):
            for child in self._find({PARENT_TAG: old}, state.experiment_id):
                self._client.set_tag(child, PARENT_TAG, state.run_id)
            self._client.delete_run(old)

    def _find(self, tag: Mapping[str, str], experiment_id: str) -> list[str]:
        """Ids of the runs with a tag."""
        ((name, value),) = tag.items()
        ids, token = [], None
        while True:
            page = self._client.search_runs([experiment_id], f"tags.`{name}` = '{value}'", page_token=token)
            ids += [str(run.info.run_id) for run in page]
            token = page.token
            if not token:
                return ids

    def _describe(self, record: Path, facts: Facts, state: SendState) -> None:
        tags = {**facts.tags, "fingerprint": facts.fingerprint, "lrbench.record": str(record)}
        tags |= {"mlflow.source.name": "lrbench", "mlflow.source.type": "LOCAL"}
        if commit := tags.get("commit"):
            tags["mlflow.source.git.commit"] = commit
        if facts.note:
            tags[NOTE_TAG] = facts.note
        self._client.log_batch(
            state.run_id,
            params=[Param(escape_key(name), format_param(value)) for name, value in facts.params.items()],
            tags=_tags(tags),
        )
        if facts.dataset is not None:
            dataset = Dataset(
                name=facts.dataset.name,
                digest=facts.dataset.digest[:36],
                source_type="code",
                source=json.dumps({"tags": {"digest": facts.dataset.digest}}),
                profile=json.dumps(dict(facts.dataset.profile)),
            )
            context = InputTag("mlflow.data.context", "training")
            self._client.log_inputs(state.run_id, datasets=[DatasetInput(dataset, [context])])
        self._upload_artifacts(record, state)
        state.described = True

    def _finish(self, record: Path, facts: Facts, state: SendState) -> None:
        """Bring the end over: the last artifacts, the state, and last of all the status."""
        self._upload_artifacts(record, state)
        status: EndStatus
        if state.ending is None:
            status, result, message = "KILLED", RunState.INCOMPLETE, "its process died without a word"
        else:
            ending = Ended(**state.ending)  # type: ignore[arg-type]
            status, result, message = ending.status, ending.state, ending.message
        self._client.log_batch(state.run_id, tags=_tags({"state": str(result), "lrbench.message": message}))
        self._client.set_terminated(state.run_id, status, end_time=state.last_time or facts.created)
        state.status, state.finished_bytes = status, state.sent_bytes

    def _upload_artifacts(self, record: Path, state: SendState) -> None:
        root = record / "artifacts"
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            name = file.relative_to(root)
            version = [file.stat().st_size, file.stat().st_mtime_ns]
            if state.artifacts.get(str(name)) != version:
                folder = None if name.parent == Path() else str(name.parent)
                self._client.log_artifact(state.run_id, str(file), folder)
                state.artifacts[str(name)] = version


def _build_database(path: Path) -> None:
    store = SqlAlchemyStore(f"sqlite:///{path}", _artifact_root(path))
    store.engine.dispose()


def _artifact_root(database: Path) -> str:
    return (database.parent / "mlartifacts").as_uri()


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(escape_key(name), cut(value, MAX_TAG_LENGTH)) for name, value in tags.items()]


def _late_facts(entries: Iterable[Entry]) -> tuple[list[Param], list[RunTag]]:
    """What some journal lines say of the run; of two that say it differently the later counts."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Described):
            params |= entry.params
            tags |= entry.tags
            if entry.note is not None:
                tags[NOTE_TAG] = entry.note
    return [Param(escape_key(name), text) for name, text in params.items()], _tags(tags)


def _metrics(entries: Iterable[Entry]) -> list[Metric]:
    """All points of some journal lines; those of one line share its time."""
    points = []
    for entry in entries:
        if not isinstance(entry, Evaluated):
            continue
        evaluation, time = entry.evaluation, entry.time
        values = {**evaluation.metrics, "time/seconds": evaluation.seconds}
        points += [Metric(escape_key(name), value, time, evaluation.step) for name, value in values.items()]
        for step, lr, momentum in evaluation.rates:
            points.append(Metric("lr", lr, time, step))
            if momentum is not None:
                points.append(Metric("momentum", momentum, time, step))
    return points
