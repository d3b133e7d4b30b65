"""Workloads and their budgets: one name stands for one budget, and a task is a workload apart from its budget."""

import re
from collections.abc import Mapping

import pandas as pd

from lrbench.analysis.audit.findings import Cell, Finding, concerned, listed, plural
from lrbench.analysis.prepare import RATE, is_missing
from lrbench.results.schema import as_floats

_TASK_COLUMNS = ("dataset", "model", "optimizer", "batch_size")
_TASK_PREFIXES = ("dataset.", "model.", "optimizer.", "training.")


def separate_budgets(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Make every workload name stand for one budget: `name` with two of them becomes `name (100 steps)`, ...

    Returns:
        The frame, a new one if a name had to be split, and a serious finding for each such name.
    """
    pairs = frame[["workload", "budget"]].drop_duplicates()
    mixed = sorted({str(name) for name in pairs.loc[pairs.duplicated("workload"), "workload"]})
    if not mixed:
        return frame, []
    findings = []
    for name in mixed:
        budgets = sorted(int(b) for b in pairs.loc[pairs["workload"] == name, "budget"])
        schedulers = sorted(set(frame.loc[frame["workload"] == name, "scheduler"].astype(str)))
        cells: tuple[Cell, ...] = tuple((f"{name} ({b} steps)", s) for b in budgets for s in schedulers)
        sentence = (
            f"{name}: runs of {listed(budgets)} planned steps came under one name; the length is part of a "
            "schedule, so each length is a workload of its own here."
        )
        findings.append(Finding("mixed budgets", "serious", sentence, cells))
    split = frame["workload"].astype("string") + " (" + frame["budget"].astype("string") + " steps)"
    return frame.assign(
        workload=frame["workload"].astype("string").where(~frame["workload"].isin(mixed), split)
    ), findings


def leave_out_unmeasured(frame: pd.DataFrame, *, metric: str) -> tuple[pd.DataFrame, list[Finding]]:
    """Leave out the workloads of which no run measured the metric.

    Returns:
        The frame, a new one if there are such workloads, and a warning that names them.
    """
    measured = set(frame.loc[~as_floats(frame[metric])[1], "workload"])
    absent = ~frame["workload"].isin(measured)
    if not absent.any():
        return frame, []
    left_out = frame[absent]
    names = sorted(set(left_out["workload"].astype(str)))
    sentence = f"{metric} was not measured on {listed(names)}; {plural(left_out['run_id'].nunique(), 'run')} left out."
    return frame[~absent], [Finding("unmeasured workloads", "warning", sentence, concerned(left_out))]


def tasks_of(frame: pd.DataFrame) -> dict[str, str]:
    """Name the task of every workload: what it is apart from its budget.

    Two workloads are one task when all that is recorded of dataset, model, optimizer and training agrees, the
    base rate aside; where nothing is recorded, when their names agree without the budget in them. What differs between
    the runs of one workload, such as whether a run read the test split, does not tell tasks apart.
    """
    named = [
        name
        for name in map(str, frame.columns)
        if name in _TASK_COLUMNS or (name.startswith(_TASK_PREFIXES) and name != RATE)
    ]
    runs = frame.loc[~frame["run_id"].duplicated(), ["workload", "budget", *named]]
    varies = (runs.groupby("workload")[named].nunique(dropna=False) > 1).any()
    names = [name for name in named if not varies[name]]
    heads = runs.loc[~runs["workload"].duplicated(), ["workload", "budget", *names]]
    keys: dict[str, tuple[str, ...]] = {}
    for workload, budget, *facts in heads.astype(object).itertuples(index=False):
        bare = re.sub(rf"[ _-]*\(?{int(budget)} ?(steps)?\)?(-[0-9a-f]{{4}}$)?", "", str(workload)) or str(workload)
        known = tuple(f"{n}={v}" for n, v in zip(names, facts, strict=True) if not is_missing(v))
        keys[str(workload)] = (bare, *known)
    return _labels(keys)


def _labels(keys: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The bare names, with a number behind them where different tasks share one."""
    labels: dict[tuple[str, ...], str] = {}
    for key in sorted(set(keys.values())):
        taken = sum(other[0] == key[0] for other in labels)
        labels[key] = key[0] if not taken else f"{key[0]} #{taken + 1}"
    return {workload: labels[key] for workload, key in keys.items()}
