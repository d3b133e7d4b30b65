"""What of a record MLflow has already: `mlflow.json`, written by the sender, read without mlflow."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from lrbench.tracking.facts import write_json
from lrbench.tracking.journal import complete_bytes


@dataclass
class SendState:
    """Progress of the copy.

    Attributes:
        experiment_id, run_id: MLflow's ids, "" before the run exists there.
        described: params, tags and dataset are there.
        sent_bytes: length of the journal's beginning whose metrics are there.
        status: the status last set there.
        ending: the last journal line if it was an end, as keywords of `journal.Ended`; else None.
        last_time: epoch milliseconds of the last line sent.
        finished_bytes: length of the journal for which the end (status and artifacts) is there too; -1 =
            none.
        artifacts: uploaded files, relative to `artifacts/`, with (size, modification time in ns).
        error: why the last attempt failed, "" after a success.
    """

    experiment_id: str = ""
    run_id: str = ""
    described: bool = False
    sent_bytes: int = 0
    status: str = ""
    ending: dict[str, object] | None = None
    last_time: int = 0
    finished_bytes: int = -1
    artifacts: dict[str, list[int]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Unsent:
    """A record of which MLflow lacks something, and why."""

    record: Path
    reason: str


def load_state(record: Path) -> SendState:
    """Read the progress of a record; a fresh one when nothing was sent or the file is damaged.

    Starting over is safe: the run is found by its tag and every point keeps its timestamp.
    """
    try:
        return SendState(**json.loads((record / "mlflow.json").read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return SendState()


def save_state(record: Path, state: SendState) -> None:
    """Replace the progress file in one step."""
    write_json(record / "mlflow.json", vars(state))


def has_lost_lines(record: Path) -> bool:
    """Whether MLflow has lines that the journal has not: a power cut takes the end of a file."""
    return load_state(record).sent_bytes > complete_bytes(record / "journal.jsonl")


def is_complete(record: Path) -> bool:
    """Whether MLflow has all of the record, its end included."""
    return load_state(record).finished_bytes == complete_bytes(record / "journal.jsonl")


def has_all_lines(record: Path) -> bool:
    """Whether MLflow has every line of the journal."""
    return load_state(record).sent_bytes == complete_bytes(record / "journal.jsonl")


def find_unsent(record: Path) -> Unsent | None:
    """Say what MLflow lacks of a record, or None when it has all."""
    if is_complete(record):
        return None
    state = load_state(record)
    if state.error:
        return Unsent(record, state.error)
    rest = complete_bytes(record / "journal.jsonl") - state.sent_bytes
    if not state.run_id:
        return Unsent(record, "nothing was sent yet")
    return Unsent(record, f"{rest} bytes of its journal were not sent" if rest else "its end was not sent")
