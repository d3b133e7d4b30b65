"""Audit of how the base learning rate of each schedule was searched, from one row per run of one workload."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from lrbench.analysis.audit.findings import Finding, concerned, counted, listed, plural
from lrbench.analysis.statistics.terms import Direction, sign

_FEWEST_COMMON = 3


def trials_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find unequal numbers of tuning runs."""
    tuning = runs[runs["role"] == "tuning"]
    counts = tuning.groupby("scheduler").size().reindex(sorted(set(runs["scheduler"])), fill_value=0)
    if len(tuning) and counts.nunique() > 1:
        sentence = f"{workload}: unequal tuning, {counted(counts)} tuning runs; more trials find better rates."
        yield Finding("trials", "serious", sentence, concerned(runs))


def offered_findings(workload: str, runs: pd.DataFrame, direction: Direction) -> Iterator[Finding]:
    """Find schedules whose searches were offered other base rates than the rest."""
    common, unexplained = offered_rates(runs, direction=direction)
    if not unexplained:
        return
    shared = (
        f"only {plural(len(common), 'rate')} offered to all"
        if len(common) < _FEWEST_COMMON
        else "beyond the common ladder"
    )
    named = listed(
        [f"{schedule} ({min(rates):g} to {max(rates):g})" for schedule, rates in sorted(unexplained.items())]
    )
    sentence = (
        f"{workload}: the schedules were offered different base rates, {shared}: {named}; such a difference may be one "
        "of chances. Search a common ladder (hydra.sweeper.sampler=ladder)."
    )
    yield Finding("offered rates", "serious", sentence, tuple((workload, s) for s in sorted(unexplained)))


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


def offered_rates(runs: pd.DataFrame, *, direction: Direction) -> tuple[list[float], dict[str, list[float]]]:
    """Compare the rates that the searches of the schedules tried.

    Rates between those that all tried are a schedule's own refinement. Rates beyond them are, too, where its best
    common rate is that end of the ladder. With fewer than three common rates there is no ladder.

    Args:
        runs: see `edge_rates`.
        direction: of `final`.

    Returns:
        The common rates, ascending, and by schedule the rates that nothing explains; empty where the chances were
        equal, or where some schedule was not tuned at all, which is another finding.
    """
    known = searched(runs)
    known = known[known["final"].notna()].assign(
        rate=known["rate"].astype("float64").map(lambda rate: float(f"{rate:.9g}"))
    )
    tried = {str(name): set(group) for name, group in known.groupby("scheduler")["rate"]}
    if len(tried) < 2 or min(map(len, tried.values())) < 2:
        return [], {}
    common = sorted(set.intersection(*tried.values()))
    if len(common) < _FEWEST_COMMON:
        differ = len({frozenset(rates) for rates in tried.values()}) > 1
        return common, {name: sorted(rates) for name, rates in tried.items()} if differ else {}
    signed = known.assign(cost=sign(direction) * known["final"].astype("float64"), trial=known["trial"].fillna(-1))
    # The best trial at each rate, the mean over its seeds; at a rate that all tried.
    cells = signed.groupby(["scheduler", "rate", "trial"])["cost"].mean().groupby(["scheduler", "rate"]).min()
    unexplained = {}
    for name, rates in tried.items():
        best = cells[name].loc[common].idxmin()
        own = [r for r in rates if (r < common[0] and best != common[0]) or (r > common[-1] and best != common[-1])]
        if own:
            unexplained[name] = sorted(own)
    return common, unexplained


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
