"""The record of a study: MLflow's parent of its trials and finals, with what they say together."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from lrbench.config import Plan
from lrbench.runs.result import Result
from lrbench.search.space import Dimension
from lrbench.search.study import Search
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.facts import read_facts, write_json
from lrbench.tracking.find import RecordIndex, find_finished, find_unfinished
from lrbench.tracking.record import Record

_FEWEST_FOR_INTERVAL = 3


class StudyRecord:
    """A context manager over the record; `path` is what its trials name as their parent. Make one with `open`."""

    def __init__(self, path: Path, record: Record | None) -> None:
        self.path = path
        self._record = record  # None when there is nothing to write: it is whole, or another process writes it

    @classmethod
    def open(
        cls,
        root: Path,
        plan: Plan,
        *,
        study: str,
        space: Sequence[Dimension],
        search: Search,
        final_seeds: int | str,
        tracking_uri: str,
    ) -> Self:
        """Take up the record of a study, or begin it.

        Args:
            root: directory of the records.
            plan: of any of its trials.
            study: its name.
            space: what is searched.
            search: how.
            final_seeds: fresh seeds on which its best point is trained, or "settle".
            tracking_uri: where it is sent, "" for nowhere.
        """
        names = {
            group: plan.values[group]["name"] for group in ("scheduler", "warmup", "model", "dataset", "optimizer")
        }
        fingerprint = hashlib.sha256(f"study {study}".encode()).hexdigest()
        facts: dict[str, Any] = {
            "tags": {
                **names,
                "role": "study",
                "study": study,
                "workload": plan.workload,
                "budget": str(plan.budget.total_steps),
                "fingerprint": fingerprint,
            },
            "params": {
                "study.num_trials": search.num_trials,
                "study.sampler": search.sampler,
                "study.seed": search.seed,
                "study.num_dimensions": len(space),
                "study.final_seeds": final_seeds,
            },
            "note": f"Study of **{names['scheduler']}** on {plan.workload}: {search.num_trials} trials, of which the "
            f"best point is trained on {'planned looks at' if final_seeds == 'settle' else final_seeds} fresh seeds.",
        }
        index = RecordIndex(root)
        if (unfinished := find_unfinished(root, fingerprint, index=index)) is not None:
            if _says(unfinished, facts["params"]):
                return cls(unfinished, Record.open(unfinished))
            return cls(unfinished, Record.restart(unfinished, **facts))
        if (finished := find_finished(root, fingerprint, index=index)) is not None:
            if _says(finished, facts["params"]):
                return cls(finished, None)
            return cls(finished, Record.restart(finished, **facts))
        if others := index.paths(fingerprint):
            return cls(others[0], None)  # another process of a shared sweep has it
        record = Record.create(
            root,
            name=f"study-{names['scheduler']}",
            experiment=plan.values["tracking"]["experiment"] or plan.workload,
            tracking_uri=tracking_uri,
            fingerprint=fingerprint,
            **facts,
        )
        return cls(record.path, record)

    def finish(self, summary: Mapping[str, Any], finals: Sequence[Result], metric: str) -> None:
        """Write the sums, once.

        Args:
            summary: of the study that the point comes from, see TunedStudy.
            finals: runs of its point on fresh seeds.
            metric: headline validation metric.
        """
        if self._record is None:
            return
        document = {**summary, "finals": [result.record.name for result in finals if result.record is not None]}
        (self._record.artifacts / "study.json").write_text(json.dumps(document, indent=1) + "\n")
        best = summary["best"]
        if best is not None:
            self._record.describe(
                params={"best.trial": best["trial"], **{f"best.{k}": value for k, value in summary["chosen"].items()}}
            )
        for evaluation in _sums(summary, finals, metric):
            self._record.append(evaluation)
        self._record.end("FINISHED", RunState.OK)

    def attach(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a JSON file among its artifacts, unless the record is whole already."""
        if self._record is not None:
            write_json(self._record.artifacts / name, document)

    def __enter__(self) -> Self:
        if self._record is not None:
            self._record.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._record is not None:
            self._record.__exit__(kind, error, trace)


def _says(record: Path, params: Mapping[str, Any]) -> bool:
    """Whether a record was begun with these params, which MLflow would not let us change."""
    known = read_facts(record).params
    return all(known.get(name) == value for name, value in params.items())


def _sums(summary: Mapping[str, Any], finals: Sequence[Result], metric: str) -> list[Evaluation]:
    """Mean and interval of the finals at every step, and at the last one also what the study found."""
    curves = [result.curve for result in finals if result.curve and all(map(math.isfinite, result.curve.values()))]
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else [0]
    by_step = {
        step: summarized(f"finals/{metric.replace('/', '_')}", [curve[step] for curve in curves]) for step in steps
    }
    test = metric.replace("val/", "test/")
    values = [result.found[test] for result in finals if math.isfinite(result.found.get(test, math.nan))]
    last = by_step[steps[-1]]
    last |= summarized(f"finals/{test.replace('/', '_')}", values)
    if summary["best"] is not None:
        last[f"best/{metric}"] = summary["best"]["values"][0]
        last |= {
            f"best/{name}": float(value)
            for name, value in summary["chosen"].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    last |= {f"importance/{name}": value for name, value in summary["importance"].items()}
    return [Evaluation(step, 0.0, metrics) for step, metrics in by_step.items()]


def summarized(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean, number and, from three values on, Student's 95 % interval (docs/metrics.md, fact 4)."""
    if not values:
        return {}
    found = {f"{name}/mean": float(np.mean(values)), f"{name}/n": float(len(values))}
    if len(values) >= _FEWEST_FOR_INTERVAL:
        from scipy import stats  # takes a second, and a word that is wrong shall be answered before

        half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
        found |= {f"{name}/low": found[f"{name}/mean"] - half, f"{name}/high": found[f"{name}/mean"] + half}
    return found
