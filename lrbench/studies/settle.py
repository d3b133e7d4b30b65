"""Fresh seeds at planned looks: what is fixed before the first one, what was seen, and what the next one costs.

A workload has one ledger, `results_dir/studies/WORKLOAD.settle.json`, and a copy of it in the record of each of its
studies. It holds the design, what every look that was taken said, and every attempt to change the design afterwards.
The seeds of the next look follow from it alone, so that a killed call is simply given again.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lrbench.analysis.audit.findings import Finding, listed
from lrbench.analysis.model import to_plain
from lrbench.analysis.statistics.rate_choice import choice_variance
from lrbench.analysis.statistics.settling import (
    Design,
    Settling,
    SettlingState,
    check_design,
    seeds_at_looks,
    settle,
)
from lrbench.runs.result import Result
from lrbench.search.choice import ladder_costs
from lrbench.spec import RunState
from lrbench.studies.contestants import Contestant, Settings
from lrbench.tracking.facts import write_json


@dataclass(frozen=True)
class WorkloadSettling:
    """One workload after a look.

    Attributes:
        workload: its name.
        design: alpha is the part of this workload.
        said: of the last look.
        num_runs: that the next look needs; 0 where none follows.
        seconds: that they take, one after the other, by the runs there are.
        ledger: file.
    """

    workload: str
    design: Design
    said: Settling
    num_runs: int
    seconds: float
    ledger: Path

    @property
    def document(self) -> dict[str, object]:
        """As JSON values."""
        plain = {"workload": self.workload, "ledger": str(self.ledger), "num_runs": self.num_runs}
        return {**plain, "seconds": self.seconds, "design": to_plain(self.design), **_plain(self.said)}


@dataclass(frozen=True)
class Settled:
    """All workloads of a sweep after a look."""

    workloads: tuple[WorkloadSettling, ...]

    @property
    def state(self) -> SettlingState:
        """`continue` while another look may decide something; `settled` where all are."""
        states = {item.said.state for item in self.workloads}
        return "continue" if "continue" in states else "exhausted" if "exhausted" in states else "settled"

    @property
    def document(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "state": self.state,
            "num_runs": sum(item.num_runs for item in self.workloads),
            "seconds": sum(item.seconds for item in self.workloads),
            "workloads": [item.document for item in self.workloads],
        }


class Ledger:
    """The design of one workload and its looks.

    Args:
        path: of the file.
        contestants: of the workload, tuned.
        settings: of the sweep.
        alpha: part of this workload.

    Raises:
        ValueError: the design cannot be carried out, or differs from the one that was fixed before the first look; the
            attempt is in the file.
    """

    def __init__(self, path: Path, contestants: Sequence[Contestant], settings: Settings, *, alpha: float) -> None:
        self.path = path
        self.contestants = {_schedule(contestant): contestant for contestant in contestants}
        self.design = Design(tuple(self.contestants), settings.looks, alpha, settings.margin, settings.reference)
        check_design(self.design)
        asked = _asked(self.design, self.contestants)
        known = json.loads(path.read_text()) if path.exists() else {}
        if not known.get("looks"):
            fixed = {"design": asked, "selection": _selection(contestants), "smallest_cost": None}
            self._document: dict[str, Any] = {**fixed, "looks": [], "refused": known.get("refused", [])}
            write_json(path, self._document)
        else:
            self._document = known
            self._refuse_changes(asked)

    @property
    def is_over(self) -> bool:
        """Whether no look follows."""
        return bool(self._document["looks"]) and self._document["looks"][-1]["state"] != "continue"

    @property
    def seeds(self) -> dict[str, int]:
        """By name of a contestant: fresh seeds of the next look, or of the last where none follows."""
        seeds = seeds_at_looks(self.design, [look["more_seeds"] for look in self._document["looks"]])
        return {contestant.name: seeds[name] for name, contestant in self.contestants.items()}

    def look(self) -> WorkloadSettling:
        """Take the next look at the contestants' finals, or repeat the last where none follows."""
        costs = {name: _costs(contestant) for name, contestant in self.contestants.items()}
        if self._document["smallest_cost"] is None:
            positive = [cost for values in costs.values() for cost in values if cost > 0]
            self._document["smallest_cost"] = min(positive, default=1.0)
        # No error at all in a small test split counts as half of the smallest error of the first look.
        least = self._document["smallest_cost"] / 2
        floored = {name: np.maximum(values, least) for name, values in costs.items()}
        number = len(self._document["looks"]) + (not self.is_over)
        said = settle(floored, self.design, num_looks=number, selection=self._document["selection"])
        if not self.is_over:
            self._document["looks"].append(_plain(said))
            write_json(self.path, self._document)
        for contestant in self.contestants.values():
            assert contestant.record is not None
            contestant.record.attach("settle.json", self._document)
        more = [(self.contestants[name], count) for name, count in said.more_seeds.items()]
        seconds = sum(count * _seconds(contestant) for contestant, count in more)
        workload = next(iter(self.contestants.values())).plan.workload
        return WorkloadSettling(workload, self.design, said, sum(n for _, n in more), seconds, self.path)

    def _refuse_changes(self, asked: Mapping[str, Any]) -> None:
        fixed = self._document["design"]
        changes = [f"{name} was {fixed[name]} and is {asked[name]}" for name in asked if asked[name] != fixed.get(name)]
        if changes:
            self._document["refused"].append({"at": datetime.now(UTC).isoformat(timespec="seconds"), "asked": asked})
            write_json(self.path, self._document)
            raise ValueError(
                f"what settle does is fixed before its first look, and {len(self._document['looks'])} were taken: "
                f"{'; '.join(changes)}. Give what was fixed, or begin anew in another results_dir; this attempt is "
                f"recorded in {self.path}"
            )


def looks_before(results_dir: Path, workloads: Iterable[str]) -> list[Finding]:
    """What a report on these workloads must say where seeds were added at looks: its own intervals know of one only."""
    looked = []
    for name in sorted(workloads):
        path = _ledger_path(results_dir, name)
        if path.exists() and json.loads(path.read_text())["looks"]:
            looked.append(name)
    if not looked:
        return []
    sentence = (
        f"Seeds of {listed(looked)} were added at planned looks: what is shown there is what `lrbench settle` says; "
        "the intervals here are for a number of seeds that was fixed beforehand."
    )
    return [Finding("planned looks", "warning", sentence, ())]


def ledgers_of(contestants: Sequence[Contestant], settings: Settings) -> list[Ledger]:
    """One for each workload; those that no trial of was completed have nothing to be compared.

    Raises:
        ValueError: see `Ledger`.
    """
    groups: dict[str, list[Contestant]] = {}
    for contestant in contestants:
        if contestant.source.choice is not None:
            groups.setdefault(contestant.plan.workload, []).append(contestant)
    results_dir = Path(contestants[0].values["results_dir"])
    # One alpha for all that one command claims.
    alpha = settings.alpha / max(1, len(groups))
    return [Ledger(_ledger_path(results_dir, name), group, settings, alpha=alpha) for name, group in groups.items()]


def _ledger_path(results_dir: Path, workload: str) -> Path:
    return results_dir / "studies" / f"{re.sub(r'[^A-Za-z0-9_.+-]', '_', workload)}.settle.json"


def _schedule(contestant: Contestant) -> str:
    return contestant.name.removeprefix(f"{contestant.plan.workload}/")


def _asked(design: Design, contestants: Mapping[str, Contestant]) -> dict[str, Any]:
    """The design as JSON gives it back, with the points that tuning chose."""
    points = {}
    for name, contestant in contestants.items():
        choice = contestant.source.choice
        assert choice is not None
        points[name] = choice.point
    plain = {
        "schedules": points, "endpoint": next(iter(contestants.values())).plan.endpoint, "looks": design.looks,
        "alpha": design.alpha, "margin": design.margin, "reference": design.reference,
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _plain(said: Settling) -> dict[str, Any]:
    found = to_plain(said)
    assert isinstance(found, dict)
    return found


def _costs(contestant: Contestant) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Error or loss of the test split by seed; a diverged run counts as it was at step 0, on validation.

    Raises:
        ValueError: a run failed, so that its seed has no pair.
    """
    metric = contestant.plan.endpoint.replace("val/", "test/")
    failed = [result for result in contestant.finals if result.state is None or result.error is not None]
    if failed:
        raise ValueError(
            f"{contestant.name}: {len(failed)} of {len(contestant.finals)} runs on fresh seeds failed, such as "
            f"{failed[0].name}: {failed[0].error}; a look needs all of them"
        )
    values = np.array([_final(result, metric) for result in contestant.finals], dtype=np.float64)
    return 1 - values if contestant.plan.direction == "maximize" else values


def _final(result: Result, metric: str) -> float:
    if result.state is RunState.DIVERGED:
        return result.curve[min(result.curve)]
    return result.found[metric]


def _selection(contestants: Sequence[Contestant]) -> float:
    """Variance that the choice of its rate adds to a schedule's mean log cost: one number for all, see `contenders`."""
    found = []
    for contestant in contestants:
        tuned = contestant.source
        minimize = contestant.plan.direction == "minimize"
        ladder = ladder_costs(tuned.space, tuned.trials, minimize=minimize)
        rates = sorted(ladder)
        num_seeds = {len(row) for row in ladder.values()}
        costs = np.array([ladder[rate] for rate in rates]).T if len(num_seeds) == 1 else np.empty((0, 0))
        found.append(choice_variance(rates, costs))
    return float(np.mean(found))


def _seconds(contestant: Contestant) -> float:
    """Mean of one run on a fresh seed; 0 where none says."""
    known = [result.found["time/seconds"] for result in contestant.finals if "time/seconds" in result.found]
    return math.fsum(known) / len(known) if known else 0.0
