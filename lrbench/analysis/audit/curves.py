"""Audit of how long runs were planned, when they were evaluated, whether they kept what they reached."""

from collections.abc import Iterator, Mapping

import pandas as pd

from lrbench.analysis.audit.findings import Finding, Severity, concerned, listed, plural
from lrbench.analysis.audit.rates import untuned_rates
from lrbench.analysis.statistics.curves import COLLAPSE, Curve, check_cadence, has_collapsed
from lrbench.analysis.statistics.terms import Direction
from lrbench.spec import RunState


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
    yield from _collapsed_findings(workload, runs, measured, direction)


def _collapsed_findings(
    workload: str, runs: pd.DataFrame, measured: Mapping[str, Curve], direction: Direction
) -> Iterator[Finding]:
    """Name them: serious where results are made of them, a warning where one rate of a search collapsed."""
    untuned = untuned_rates(runs)
    found: dict[Severity, list[object]] = {"serious": [], "warning": []}
    for row in runs[runs["state"] == RunState.OK].itertuples():
        curve = measured[str(row.run_id)]
        if len(curve.steps) and has_collapsed(curve.steps, curve.values, direction=direction):
            found["serious" if row.role == "final" or row.scheduler in untuned else "warning"].append(row.Index)
    for severity, index in found.items():
        if index:
            collapsed = runs.loc[index]
            schedulers = listed(sorted(set(collapsed["scheduler"])))
            sentence = (
                f"{workload}: {plural(len(index), 'run')} of {schedulers} collapsed or overfitted: over {COLLAPSE:.0%} "
                "of the improvement was lost again, with finite losses. By the rule that is no divergence; such a run "
                "counts with the value it ended at."
            )
            yield Finding("collapsed", severity, sentence, concerned(collapsed))
