"""Finished runs that are on the disk already, so that a sweep trains nothing twice."""

import json
from pathlib import Path

from lrbench.config import Plan
from lrbench.runs.code import code_digest
from lrbench.runs.result import Result
from lrbench.spec import RunState
from lrbench.tracking.facts import read_facts
from lrbench.tracking.find import RecordIndex, find_finished
from lrbench.tracking.journal import Ended, Evaluated, read_all


class Recorded:
    """The records there were when a sweep, or a part of it, began."""

    def __init__(self) -> None:
        self._indices: dict[Path, RecordIndex] = {}

    def find(self, plan: Plan) -> Result | None:
        """Return the result of a finished run of the same fingerprint and code, if there is one."""
        root = Path(plan.values["results_dir"]) / "runs"
        if root not in self._indices:
            self._indices[root] = RecordIndex(root)
        record = find_finished(root, plan.fingerprint, index=self._indices[root])
        return None if record is None else _result_of(record, plan)


def _result_of(record: Path, plan: Plan) -> Result | None:
    facts = read_facts(record)
    if facts.tags.get("code") != code_digest():
        return None
    entries = read_all(record / "journal.jsonl")
    ended = entries[-1]
    assert isinstance(ended, Ended)
    found = json.loads((record / "artifacts" / "outcome.json").read_text())
    evaluations = [entry.evaluation for entry in entries if isinstance(entry, Evaluated)]
    objective = plan.dataset.task.objective
    return Result(
        name=facts.name,
        tracking_uri=facts.tracking_uri,
        record=record,
        state=RunState(ended.state),
        found={
            name: float(value) if isinstance(value, str) else value  # NaN is a string in JSON
            for name, value in found.items()
            if name not in ("state", "weights_sha256")
        },
        curve={e.step: e.metrics[objective] for e in evaluations},
        pruned=evaluations[-1].step if ended.message.startswith("pruned") else None,
    )
