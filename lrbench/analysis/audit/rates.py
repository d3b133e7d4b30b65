"""Audit of how the base learning rate of each schedule was searched, from one row per run of one workload."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from lrbench.analysis.audit.findings import Finding, concerned, counted, listed
from lrbench.analysis.statistics.terms import Direction, sign


def trials_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find unequal numbers of tuning runs."""
    tuning = runs[runs["role"] == "tuning"]
    counts = tuning.groupby("scheduler").size().reindex(sorted(set(runs["scheduler"])), fill_value=0)
    if len(tuning) and counts.nunique() > 1:
        sentence = f"{workload}: unequal tuning, {counted(counts)} tuning runs; more trials find better rates."
        yield Finding("trials", "serious", sentence, concerned(runs))


def untuned_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find schedules that saw one rate only, and runs whose rate is not recorded."""
    if runs["rate"].isna().any():
        sentence = f"{workload}: the base rate of {int(runs['rate'].isna().sum())} runs is not recorded."
        yield Finding("unknown rates", "warning", sentence, concerned(runs[runs["rate"].isna()]))
    untuned = untuned_rates(runs)
    if not untuned:
        return
    cells = tuple((workload, schedule) for schedule in sorted(untuned))
    shared = set(untuned.values())
    if len(untuned) == runs["scheduler"].nunique() and len(shared) == 1:
        sentence = (
            f"{workload}: every schedule ran at the one rate {shared.pop():g}; this compares how that rate "
            "suits them, and rankings reverse with the rate."
        )
    else:
        rates = listed([f"{schedule} ({rate:g})" for schedule, rate in sorted(untuned.items())])
        sentence = f"{workload}: run at one rate only, so not tuned: {rates}."
    yield Finding("untuned rates", "serious", sentence, cells)


def edges_findings(workload: str, runs: pd.DataFrame, direction: Direction) -> Iterator[Finding]:
    """Find searches whose best rate is the smallest or largest tried."""
    edges = edge_rates(runs, direction=direction)
    if edges:
        named = listed([f"{schedule} ({rate:g}, the {side})" for schedule, (rate, side) in sorted(edges.items())])
        sentence = f"{workload}: the best rate lies on the edge of the searched range: {named}; extend the range."
        yield Finding("optimum at edge", "serious", sentence, tuple((workload, s) for s in sorted(edges)))


def searched(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that searched the rate: the tuning runs of a schedule, all its runs where it has none.

    Args:
        runs: columns scheduler, role, rate; rows without a rate are left out.
    """
    known = runs[runs["rate"].notna()]
    tuned = set(known.loc[known["role"] == "tuning", "scheduler"])
    return known[(known["role"] == "tuning") | ~known["scheduler"].isin(tuned)]


def untuned_rates(runs: pd.DataFrame) -> dict[str, float]:
    """Return the schedules that saw one rate only, with that rate."""
    rates = searched(runs).groupby("scheduler")["rate"]
    return {str(schedule): float(group.iloc[0]) for schedule, group in rates if group.nunique() == 1}


def edge_rates(runs: pd.DataFrame, *, direction: Direction) -> dict[str, tuple[float, Literal["smallest", "largest"]]]:
    """Return the schedules whose best rate is the smallest or largest of several, with rate and side.

    The best rate has the best mean of `final` over its runs; a diverged run makes its rate the worst, since a
    rate that diverges on one seed is not one to choose. Runs whose value is unknown (NaN) are left out.

    Args:
        runs: columns scheduler, role, rate, final (diverged = `terms.worst`).
        direction: of `final`.
    """
    edges: dict[str, tuple[float, Literal["smallest", "largest"]]] = {}
    known = searched(runs)
    for schedule, group in known[known["final"].notna()].groupby("scheduler", sort=True):
        means = group.groupby("rate")["final"].mean()
        if len(means) < 2:
            continue
        rates = means.index.to_numpy(dtype=np.float64)
        best = float(rates[np.argmin(sign(direction) * means.to_numpy(dtype=np.float64))])
        if not np.isfinite(means.to_numpy(dtype=np.float64)).any():
            continue  # every rate diverged: there is no best one
        if best == rates.min():
            edges[str(schedule)] = (best, "smallest")
        elif best == rates.max():
            edges[str(schedule)] = (best, "largest")
    return edges
