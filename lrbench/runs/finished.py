"""Finished runs that are on the disk already, so that a sweep trains nothing twice."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lrbench.config import Plan
from lrbench.data import Dataset, ImageFolder
from lrbench.runs.code import code_digest
from lrbench.runs.result import Result
from lrbench.spec import RunState
from lrbench.tracking.facts import Facts, read_facts
from lrbench.tracking.find import RecordIndex, is_finished
from lrbench.tracking.journal import Ended, Evaluated, read_all


class Recorded:
    """The records there were when a sweep, or a part of it, began.

    Args:
        data_digest: of the data of a plan as they are now; "" where they cannot be read.
    """

    def __init__(self, data_digest: Callable[[Plan], str]) -> None:
        self._data_digest = data_digest
        self._indices: dict[Path, RecordIndex] = {}
        self._changed: Counter[str] = Counter()

    def find(self, plan: Plan) -> Result | None:
        """Return the result of a finished run of the same fingerprint, code and data, if there is one."""
        root = Path(plan.values["results_dir"]) / "runs"
        if root not in self._indices:
            self._indices[root] = RecordIndex(root)
        finished = [path for path in self._indices[root].paths(plan.fingerprint) if is_finished(path)]
        if not finished:
            return None
        code = code_digest(plan.values)
        facts_of = {path: read_facts(path) for path in finished}
        of_this_code = {path: facts for path, facts in facts_of.items() if facts.tags.get("code") == code}
        if of_this_code and _is_fixed(plan.dataset):
            return _result_of(*next(iter(of_this_code.items())), plan)
        # The data are read only where it depends on them.
        data = self._data_digest(plan) if of_this_code else ""
        for path, facts in of_this_code.items():
            if facts.dataset is not None and facts.dataset.digest == data:
                return _result_of(path, facts, plan)
        self._changed["data" if of_this_code else "code"] += 1
        return None

    def began_in(self, plan: Plan, stack: str) -> bool:
        """Whether a run of this fingerprint was begun in a stack, see `groups.stack_id`, and has not finished."""
        paths = self._indices[Path(plan.values["results_dir"]) / "runs"].paths(plan.fingerprint)
        return any(read_facts(path).tags.get("stack") == stack and not is_finished(path) for path in paths)

    def news(self) -> list[str]:
        """Sentences on finished runs that were found and not taken."""
        return [
            f"{number} finished {'run is' if number == 1 else 'runs are'} trained anew: their {what} changed since"
            for what, number in sorted(self._changed.items())
        ]


def _is_fixed(dataset: Dataset) -> bool:
    """Whether code and config decide what the data are: they are made by lrbench, or published and verified by it."""
    return type(dataset).__module__.startswith("lrbench.data.") and not isinstance(dataset, ImageFolder)


def _result_of(record: Path, facts: Facts, plan: Plan) -> Result:
    entries = read_all(record / "journal.jsonl")
    ended = entries[-1]
    assert isinstance(ended, Ended)
    found = json.loads((record / "artifacts" / "outcome.json").read_text())
    evaluations = [entry.evaluation for entry in entries if isinstance(entry, Evaluated)]
    objective = plan.endpoint
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
