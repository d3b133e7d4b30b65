"""Runs of a tidy frame as records of our own, so that MLflow shows them beside those that lrbench trained."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd

from lrbench.results.schema import BY_NAME, COLUMNS, as_floats
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.database import absolute_uri, check_tracking
from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Ended, EndStatus, Evaluated, read_all
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import Unsent, is_complete
from lrbench.tracking.sender import Sender

# What a record keeps in a place of its own.
_NOT_TAGS = ("run_id", "run_name", "experiment", "status", "state", "fingerprint")
_END_STATUSES = get_args(EndStatus)
_METRICS = [c.name for c in COLUMNS if c.level == "evaluation" and c.dtype == "Float64" and c.name != "lr"]


@dataclass(frozen=True)
class RecordedResults:
    """Where imported runs are: how many were there before, the records' folder, MLflow's address, what it lacks."""

    num_known: int
    folder: Path
    tracking_uri: str
    unsent: list[Unsent]


def record_runs(
    frame: pd.DataFrame, *, results_dir: Path, tracking_uri: str, experiment: str | None
) -> RecordedResults:
    """Write one record a run and send them; runs whose record is there already are not written again.

    Evaluations without `time/seconds` get NaN seconds, since a record must say something.

    Args:
        frame: the tidy frame, complete and ordered.
        results_dir: gets `runs/` and the sender's log.
        tracking_uri: of MLflow.
        experiment: its name, None for each run's own or its workload.

    Raises:
        ValueError: the tracking store cannot be used.
    """
    uri = absolute_uri(tracking_uri, Path.cwd())
    check_tracking(uri)
    root = results_dir / "runs"
    root.mkdir(parents=True, exist_ok=True)
    extra = [name for name in frame.columns if name not in BY_NAME]
    # A column that stays the same within every run is a parameter, any other number a metric.
    varies = (frame.groupby("run_id")[extra].nunique(dropna=False) > 1).any()
    params = [name for name in extra if not varies[name]]
    metrics = _METRICS + [name for name in extra if varies[name] and pd.api.types.is_numeric_dtype(frame[name])]
    records = {read_facts(path.parent).fingerprint: path.parent for path in root.glob("*/run.json")}
    num_known = 0
    with Sender(results_dir / "sender.log") as sender:
        sender.allow(uri)
        for run_id, rows in frame.groupby("run_id", sort=False):
            first = rows.iloc[0]
            digest = hashlib.sha256(f"{uri}\n{run_id}\n{rows.to_csv(na_rep='<NA>')}".encode()).hexdigest()
            known = records.get(digest)
            if known is not None and _is_whole(known, len(rows)):
                num_known += 1
                if not is_complete(known):
                    sender.follow(known)
                continue
            # An import that was interrupted left a part; it goes on from there.
            with Record.open(known) if known else _new_record(root, first, digest, uri, experiment, params) as record:
                sender.follow(record.path)
                for evaluation in _evaluations(rows, metrics):
                    record.append(evaluation)
                state = RunState(first["state"])
                record.end(_end_status(first["status"], state), state)
        unsent = sender.close(patience=None)
    return RecordedResults(num_known, root, tracking_uri, unsent)


def _evaluations(rows: pd.DataFrame, metrics: list[str]) -> Iterator[Evaluation]:
    # By column: a row of a frame would no longer tell NaN and missing apart.
    columns = {name: as_floats(rows[name]) for name in [*metrics, "lr"]}
    for i, step in enumerate(rows["step"]):
        measured = {name: float(values[i]) for name, (values, missing) in columns.items() if not missing[i]}
        lr, seconds = measured.pop("lr", None), measured.pop("time/seconds", math.nan)
        yield Evaluation(int(step), seconds, measured, [] if lr is None else [(int(step), lr, None)])


def _new_record(
    root: Path, first: pd.Series, fingerprint: str, uri: str, experiment: str | None, params: Sequence[str]
) -> Record:
    """Make the record of a run from any of its rows."""
    tags = {c.name: str(first[c.name]) for c in COLUMNS if c.level == "run" and pd.notna(first[c.name])}
    return Record.create(
        root,
        name=tags.get("run_name", f"{first['scheduler']}-s{first['seed']}"),
        experiment=experiment or tags.get("experiment", tags["workload"]),
        tracking_uri=uri,
        fingerprint=fingerprint,
        tags={"role": "run"} | {name: text for name, text in tags.items() if name not in _NOT_TAGS},
        params={name: _plain(first[name]) for name in params} | {"imported.run_id": tags["run_id"]},
        note=f"Imported; run `{tags['run_id']}` of its source.",
    )


def _end_status(status: object, state: RunState) -> EndStatus:
    """The source's own status, where it is an end."""
    if status is not pd.NA and status in _END_STATUSES:
        return cast("EndStatus", status)
    return "KILLED" if state is RunState.INCOMPLETE else "FINISHED"


def _is_whole(record: Path, num_evaluations: int) -> bool:
    entries = read_all(record / "journal.jsonl")
    num_written = sum(isinstance(entry, Evaluated) for entry in entries)
    return num_written == num_evaluations and isinstance(entries[-1], Ended)


def _plain(value: Any) -> object:
    """A cell as a plain value: missing is None, whole numbers are int."""
    return None if value is pd.NA else value.item() if hasattr(value, "item") else value
