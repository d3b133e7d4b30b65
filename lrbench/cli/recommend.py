"""`lrbench recommend [results=FILE | tracking.experiment=A,B] [dataset=NAME] [model=NAME] [budget.steps=N] [--json]`.

Which schedule to use, from the runs there are: the choice, what it gains and risks, and what `lrbench settle` would do
about the pairs that are undecided. `workload`, `dataset`, `model` and `optimizer` say which runs are evidence for
yours, and `budget.steps` takes those of the nearest budget; every other option is one of `lrbench report`.
`--json` prints the recommendations as one object.
"""

import math

import pandas as pd

from lrbench import api
from lrbench.analysis.declare import declare, mixture_of
from lrbench.analysis.model import to_plain
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.cli.outputs import print_json, split_json
from lrbench.cli.results_source import parse
from lrbench.reporting.report import Report

_FACTS = ("workload", "dataset", "model", "optimizer")


def main(arguments: list[str]) -> int:
    """Print one recommendation a workload; 4 when there is nothing to recommend."""
    as_json, rest = split_json(arguments)
    words = parse(rest, command="recommend", own=(*_FACTS, "budget.steps"))
    frame = api.read(words.source, **words.selection)
    mixture = mixture_of(frame, is_selected=words.is_selected)
    described = {name: words.options[name] for name in _FACTS if name in words.options}
    frame, notes = nearest_budget(like(frame, described), words.options.get("budget.steps"))
    report = Report.of(frame, declare(frame, **words.declared), mixture=mixture)
    findings, items = report.analysis.findings, report.recommendations
    if as_json:
        print_json({"findings": to_plain(findings), "notes": notes, "recommendations": to_plain(items)})
    else:
        print("\n".join([*(f.sentence for f in findings), *notes, *(item.sentence for item in items)]))
    return 4 if all(isinstance(item.scheduler, Unavailable) for item in items) else 0


def like(frame: pd.DataFrame, described: dict[str, str]) -> pd.DataFrame:
    """Keep the runs of workloads like the described one.

    Raises:
        ValueError: there is none; says which there are.
    """
    for name, value in described.items():
        known = sorted(set(frame[name].dropna())) if name in frame.columns else []
        if value not in known:
            have = f"; they have {', '.join(known)}" if known else f"; their {name} is not recorded"
            raise ValueError(f"{name}={value}: no runs of it{have}")
        frame = frame[frame[name] == value]
    return frame


def nearest_budget(frame: pd.DataFrame, budget: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Keep the runs whose budget is nearest in ratio, and say so where it is another one.

    Raises:
        ValueError: the budget is no positive number of steps.
    """
    if budget is None:
        return frame, []
    if not budget.isdecimal() or int(budget) == 0:
        raise ValueError(f"budget.steps must be a positive number, got {budget!r}")
    wanted = int(budget)
    known = sorted({int(steps) for steps in frame["budget"]})
    nearest = min(known, key=lambda steps: (abs(math.log(steps / wanted)), steps))
    kept = frame[frame["budget"] == nearest]
    if nearest == wanted:
        return kept, []
    return kept, [
        f"No run was planned for {wanted:,} steps; the evidence is from {nearest:,} steps, and the length is part of a "
        "schedule: take it as a guess."
    ]
