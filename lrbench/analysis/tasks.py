"""Workloads: one name stands for one budget and one batch size, and a task is a workload apart from its budget."""

import re
from collections.abc import Mapping

import pandas as pd

from lrbench.analysis.audit.findings import Finding, concerned, listed, plural
from lrbench.analysis.prepare import RATE, is_missing
from lrbench.results.schema import as_floats

_TASK_COLUMNS = ("dataset", "model", "optimizer", "batch_size")
_PARTS = {"dataset": "{}", "model": "{}", "optimizer": "{}", "batch_size": "batch size {}", "budget": "{} steps"}
_TASK_PREFIXES = ("dataset.", "model.", "optimizer.", "training.")


def separate_workloads(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Make every workload name stand for one dataset, model, optimizer, batch size and budget, which a workload is.

    `name` with two budgets becomes `name (100 steps)`, ..., with two batch sizes `name (batch size 50)`, ...

    Returns:
        The frame, a new one if a name had to be split, and a serious finding for each such name.
    """
    findings: list[Finding] = []
    for column, words in _PARTS.items():
        if column not in frame:
            continue
        pairs = frame.loc[frame[column].notna(), ["workload", "scheduler", column]].drop_duplicates()
        for name, group in pairs.groupby("workload", sort=True):
            values = sorted(set(group[column]))
            if len(values) < 2:
                continue
            labels = {value: f"{name} ({words.format(value)})" for value in values}
            cells = sorted((labels[v], str(s)) for v, s in zip(group[column], group["scheduler"], strict=True))
            noun = column.replace("_", " ")
            sentence = (
                f"{name}: runs with a {noun} of {listed(values)} came under one name; it is part of the workload, so "
                "each is a workload of its own here. Name them apart in the source."
            )
            findings.append(Finding(f"mixed {noun}s", "serious", sentence, tuple(cells)))
            here = ((frame["workload"] == name) & frame[column].notna()).to_numpy(dtype=bool)
            renamed = frame["workload"].astype("string").mask(here, frame[column].map(labels).astype("string"))
            frame = frame.assign(workload=renamed)
    return frame, findings


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


def sources_of(frame: pd.DataFrame) -> dict[str, str]:
    """Name the data source of every workload: its dataset, or itself where that is not recorded."""
    heads = frame.drop_duplicates("workload")
    datasets = heads["dataset"] if "dataset" in heads else heads["workload"]
    return {
        str(workload): str(workload if is_missing(dataset) else dataset)
        for workload, dataset in zip(heads["workload"], datasets, strict=True)
    }


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
