"""Audit of how long runs were planned, when they were evaluated, whether they kept what they reached."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from lrbench.analysis.curves import Curve, best_value, check_cadence
from lrbench.analysis.findings import Finding, concerned, listed
from lrbench.analysis.terms import Direction
from lrbench.spec import RunState

COLLAPSE = 0.25  # share of its own improvement that a run may lose again before it is named


def steps_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find runs of different planned lengths in one workload."""
    budgets = sorted({int(budget) for budget in runs["budget"]})
    if len(budgets) > 1:
        sentence = f"{workload}: budgets of {listed(budgets)} steps are mixed; the length is part of a schedule."
        yield Finding("steps", "serious", sentence, concerned(runs))


def curves_findings(
    workload: str, runs: pd.DataFrame, curves: Mapping[str, Curve], metric: str, direction: Direction
) -> Iterator[Finding]:
    """Find runs without the metric, unequal evaluation steps, and runs that collapsed without diverging."""
    measured = {str(run_id): curves[str(run_id)] for run_id in runs["run_id"]}
    without = runs[[not len(measured[str(run_id)].steps) for run_id in runs["run_id"]]]
    if len(without):
        sentence = f"{workload}: {metric} was never measured in {len(without)} of {len(runs)} runs."
        yield Finding("unmeasured", "serious", sentence, concerned(without))
    try:
        check_cadence(measured)
    except ValueError as error:
        yield Finding("cadence", "serious", f"{workload}: {error}.", concerned(runs))
    collapsed = runs[
        [
            state == RunState.OK and _collapsed(measured[str(run_id)], direction)
            for run_id, state in zip(runs["run_id"], runs["state"], strict=True)
        ]
    ]
    if len(collapsed):
        sentence = (
            f"{workload}: {len(collapsed)} runs lost over {COLLAPSE:.0%} of their improvement again; they "
            "count as finished, look at their curves."
        )
        yield Finding("collapsed", "warning", sentence, concerned(collapsed))


def _collapsed(curve: Curve, direction: Direction) -> bool:
    if len(curve.steps) < 2 or not np.isfinite(curve.values[[0, -1]]).all():
        return False
    first, last = curve.values[0], curve.values[-1]
    best = best_value(curve.steps, curve.values, direction=direction)
    return bool(abs(last - best) > COLLAPSE * abs(first - best) > 0)
