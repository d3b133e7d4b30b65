"""What MLflow lacks of a record, in MLflow's words, whichever way it goes there. Imports no mlflow."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrbench.spec import RunState
from lrbench.tracking.facts import DatasetFacts, Facts, read_facts
from lrbench.tracking.journal import Described, Ended, Entry, Evaluated, complete_bytes, read_entries
from lrbench.tracking.names import MAX_TAG_LENGTH, NOTE_TAG, RECORD_TAG, cut, escape_key, format_param
from lrbench.tracking.received import refuse_links
from lrbench.tracking.send_state import SendState, load_state

DATASET_TAG = ("mlflow.data.context", "training")
Point = tuple[str, float, int, int]  # key, value, epoch milliseconds, step


@dataclass(frozen=True)
class Upload:
    """One piece of a record on its way.

    Attributes:
        record: its directory.
        facts: its `run.json`.
        is_first: nothing of it was sent before.
        params, tags: by names that MLflow accepts.
        points: of metrics.
        dataset: the data, in the first upload only.
        files: artifacts, relative to `artifacts/`.
        status: to be set last of all; "" leaves it as it is.
        end_time: epoch milliseconds, with the status of an end.
        state: what `mlflow.json` shall say once all of this has arrived; the ids may still be missing.
    """

    record: Path
    facts: Facts
    is_first: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]
    dataset: DatasetFacts | None
    files: Sequence[Path]
    status: str
    end_time: int | None
    state: SendState


def next_upload(record: Path, *, abandoned: bool) -> Upload | None:
    """Collect what MLflow lacks of a record: about a megabyte of its journal at most.

    Args:
        record: its directory; the caller holds its `sender.lock`.
        abandoned: no process trains it any more; without an end in its journal it was killed. Must have been found
            out before this call, else a line could be written in between.

    Returns:
        None when nothing is missing.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    facts, before = read_facts(record), load_state(record)
    state = dataclasses.replace(before, artifacts=dict(before.artifacts), error="")
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    status, end_time = "", None
    journal = record / "journal.jsonl"
    size = complete_bytes(journal)
    entries: list[Entry] = []
    if not state.described:
        params = {name: format_param(value) for name, value in facts.params.items()}
        tags = _first_tags(record, facts)
        state.described = True
    if state.sent_bytes < size:
        entries, state.sent_bytes = read_entries(journal, state.sent_bytes)
        last = entries[-1]
        state.last_time = last.time
        state.ending = dataclasses.asdict(last) if isinstance(last, Ended) else None
        if state.ending is None and state.status not in ("", "RUNNING"):
            status = "RUNNING"
        for entry in entries:
            if isinstance(entry, Described):
                params |= entry.params
                tags |= entry.tags if entry.note is None else {**entry.tags, NOTE_TAG: entry.note}
    is_end = state.sent_bytes == size and (state.ending is not None or abandoned) and state.finished_bytes != size
    if is_end:
        ended = _ending(state)
        tags |= {"state": str(ended.state), "lrbench.message": ended.message}
        status, end_time = ended.status, state.last_time or facts.created
        state.finished_bytes = size
    state.status = status or state.status or "RUNNING"
    files = _take_files(record / "artifacts", state) if is_end or not before.described else []
    if state == before:
        return None
    return Upload(
        record=record,
        facts=facts,
        is_first=not before.described,
        params={escape_key(name): text for name, text in params.items()},
        tags={escape_key(name): cut(text, MAX_TAG_LENGTH) for name, text in tags.items()},
        points=_points(entries),
        dataset=None if before.described else facts.dataset,
        files=files,
        status=status,
        end_time=end_time,
        state=state,
    )


def birth_tags(facts: Facts) -> dict[str, str]:
    """Tags that a run has from the moment it is made."""
    return {RECORD_TAG: facts.record_id, "mlflow.user": os.environ.get("USER", "")}


def dataset_row(facts: DatasetFacts) -> dict[str, str]:
    """The data of a run under the names of MLflow's columns."""
    return {
        "name": facts.name,
        "digest": facts.digest[:36],
        "dataset_source_type": "code",
        "dataset_source": json.dumps({"tags": {"digest": facts.digest}}),
        "dataset_profile": json.dumps(dict(facts.profile)),
    }


def _first_tags(record: Path, facts: Facts) -> dict[str, str]:
    tags = {**facts.tags, "fingerprint": facts.fingerprint, "lrbench.record": str(record), **birth_tags(facts)}
    tags |= {"mlflow.source.name": "lrbench", "mlflow.source.type": "LOCAL"}
    if commit := tags.get("commit"):
        tags["mlflow.source.git.commit"] = commit
    if facts.note:
        tags[NOTE_TAG] = facts.note
    return tags


def _ending(state: SendState) -> Ended:
    if state.ending is not None:
        return Ended(**state.ending)  # type: ignore[arg-type]
    return Ended(state.last_time, "KILLED", RunState.INCOMPLETE, "its process died without a word")


def _take_files(root: Path, state: SendState) -> list[Path]:
    """Files that are new or have changed, which the state then takes for sent."""
    files = []
    refuse_links(root)  # some may have come since the record was looked at
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name, facts = file.relative_to(root), file.stat()
        version = [facts.st_size, facts.st_mtime_ns]
        if state.artifacts.get(str(name)) != version:
            state.artifacts[str(name)] = version
            files.append(name)
    return files


def _points(entries: Iterable[Entry]) -> list[Point]:
    """All points of some journal lines; those of one line share its time."""
    keys: dict[str, str] = {}
    points: list[Point] = []
    for entry in entries:
        if not isinstance(entry, Evaluated):
            continue
        evaluation, time = entry.evaluation, entry.time
        for name, value in {**evaluation.metrics, "time/seconds": evaluation.seconds}.items():
            key = keys.get(name) or keys.setdefault(name, escape_key(name))
            points.append((key, value, time, evaluation.step))
        for step, lr, momentum in evaluation.rates:
            points.append(("lr", lr, time, step))
            if momentum is not None:
                points.append(("momentum", momentum, time, step))
    return points
