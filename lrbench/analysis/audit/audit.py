"""What makes a comparison unfair or weak, looked for before anything is ranked.

Each finding is a sentence for the report; serious ones belong in the verdict line: they can reverse a
ranking.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from lrbench.analysis.audit.curves import curves_findings, steps_findings
from lrbench.analysis.audit.findings import Finding, Severity
from lrbench.analysis.audit.rates import edges_findings, offered_findings, trials_findings, untuned_findings
from lrbench.analysis.audit.runs import (
    baselines_findings,
    code_findings,
    hardware_findings,
    missing_findings,
    repeated_findings,
    seeds_findings,
    states_findings,
)
from lrbench.analysis.statistics.cells import worst_if_diverged
from lrbench.analysis.statistics.curves import Curve, curves_of, final_value
from lrbench.analysis.statistics.states import Planned, last_rows
from lrbench.analysis.statistics.terms import Direction
from lrbench.spec import RunState


def audit(
    frame: pd.DataFrame,
    *,
    metric: str,
    direction: Direction,
    rate: str = "optimizer.lr",
    planned: Planned | None = None,
    compares_seconds: bool = False,
) -> list[Finding]:
    """Run every check.

    Args:
        frame: the tidy frame.
        metric: validation metric on which rates were chosen and targets are set.
        direction: of the metric.
        rate: column of the base learning rate.
        planned: runs that should exist; None checks only for (workload, scheduler) cells without any run.
        compares_seconds: whether times in seconds are ranked, which needs one device.

    Returns:
        Findings, serious ones first, otherwise in the order of the checks; empty if there is nothing to say.

    Raises:
        ValueError: the frame has no run, or lacks the metric.
    """
    if frame.empty:
        raise ValueError("there are no runs to audit")
    curves = curves_of(frame, metric=metric)
    runs = last_rows(frame)
    optional = {"role", "study", "trial", "seed", "device", "commit", rate}
    for name in sorted(optional - set(runs.columns)):
        runs[name] = pd.NA
    runs = runs.assign(role=runs["role"].fillna("run"), rate=runs[rate].astype("Float64"))
    runs["final"] = _finals(runs, curves, direction)

    findings = [*missing_findings(runs, planned), *baselines_findings(runs), *code_findings(runs)]
    checks: tuple[Callable[[str, pd.DataFrame], Iterator[Finding]], ...] = (
        trials_findings, steps_findings, states_findings, seeds_findings, repeated_findings, untuned_findings,
    )  # fmt: skip
    for workload, group in runs.groupby("workload", sort=True):
        name = str(workload)
        for check in checks:
            findings += check(name, group)
        findings += offered_findings(name, group, direction)
        findings += edges_findings(name, group, direction)
        findings += hardware_findings(name, group, compares_seconds)
        findings += curves_findings(name, group, curves, metric, direction)
    order: tuple[Severity, ...] = ("serious", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _finals(runs: pd.DataFrame, curves: Mapping[str, Curve], direction: Direction) -> list[float]:
    finals = []
    for run_id, state in zip(runs["run_id"], runs["state"], strict=True):
        curve = curves[str(run_id)]
        value = final_value(curve.steps, curve.values) if len(curve.steps) else np.nan
        known = np.isfinite(value)
        diverged = state == RunState.DIVERGED
        finals.append(float(worst_if_diverged(value, diverged, direction=direction)) if known or diverged else np.nan)
    return finals
