"""Audit of which runs exist, how they ended, on which seeds, with which code and hardware."""

from collections.abc import Iterator, Sequence

import pandas as pd

from lrbench.analysis.audit.findings import Finding, concerned, counted, listed, plural
from lrbench.analysis.statistics.states import Planned, missing_runs
from lrbench.analysis.statistics.terms import MIN_SEEDS
from lrbench.spec import RunState

_MOST_NAMES = 5  # the table of states has them all
BASELINES = ("constant", "linear", "cosine")


def missing_findings(runs: pd.DataFrame, planned: Planned | None) -> Iterator[Finding]:
    """Find cells that were never run, and planned runs that are absent."""
    present = set(zip(runs["workload"], runs["scheduler"], strict=True))
    grid = [(str(w), str(s)) for w in sorted(set(runs["workload"])) for s in sorted(set(runs["scheduler"]))]
    absent = tuple(cell for cell in grid if cell not in present)
    if absent:
        by_workload: dict[str, list[str]] = {}
        for workload, schedule in absent:
            by_workload.setdefault(workload, []).append(schedule)
        named = "; ".join(f"{_some(schedules)} on {workload}" for workload, schedules in by_workload.items())
        sentence = f"Never run: {named}; there is no ranking over all {len(grid)} cells."
        yield Finding("missing cells", "serious", sentence, absent)
    gaps = missing_runs(runs, planned=planned or ())
    if gaps:
        named = _some([f"{schedule} on {workload} seed {seed}" for workload, schedule, seed in gaps])
        cells = tuple(sorted({(workload, schedule) for workload, schedule, _ in gaps}))
        are = "is" if len(gaps) == 1 else "are"
        yield Finding("missing runs", "serious", f"{plural(len(gaps), 'planned run')} {are} missing: {named}.", cells)


def baselines_findings(runs: pd.DataFrame) -> Iterator[Finding]:
    """Find which of the schedules that belong in every field are not in it."""
    absent = [name for name in BASELINES if name not in set(runs["scheduler"])]
    if absent:
        yield Finding("baselines", "note", f"Not in the field, though they always should be: {listed(absent)}.", ())


def code_findings(runs: pd.DataFrame) -> Iterator[Finding]:
    """Find runs of different versions of the code."""
    commits = sorted(set(runs["commit"].dropna()))
    if len(commits) > 1:
        short = listed([str(commit)[:8] for commit in commits])
        yield Finding(
            "code versions",
            "warning",
            f"Runs come from {len(commits)} versions of the code: {short}.",
            concerned(runs),
        )


def hardware_findings(workload: str, runs: pd.DataFrame, compares_seconds: bool) -> Iterator[Finding]:
    """Find runs on different devices, or on unknown ones where seconds are compared."""
    devices = sorted({str(device) for device in runs["device"].dropna()})
    if len(devices) > 1:
        sentence = f"{workload}: runs used different devices, {listed(devices)}; their seconds cannot be compared."
        yield Finding("hardware", "serious" if compares_seconds else "note", sentence, concerned(runs))
    elif compares_seconds and runs["device"].isna().any():
        sentence = f"{workload}: the device of some runs is not recorded, so their seconds may not be comparable."
        yield Finding("hardware", "warning", sentence, concerned(runs[runs["device"].isna()]))


def states_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find schedules whose means are over some of their runs only."""
    compared = _compared(runs)
    for schedule, group in compared.groupby("scheduler", sort=True):
        cell = ((workload, str(schedule)),)
        diverged = int((group["state"] == RunState.DIVERGED).sum())
        incomplete = int((group["state"] == RunState.INCOMPLETE).sum())
        if diverged:
            sentence = (
                f"{workload}: {diverged} of {len(group)} runs of {schedule} diverged; it ranks last, and its mean is "
                "that of the others."
            )
            yield Finding("diverged", "serious", sentence, cell)
        if incomplete:
            sentence = (
                f"{workload}: {incomplete} of {len(group)} runs of {schedule} did not finish and have no final value; "
                "finish them, since the others may not stand for them."
            )
            yield Finding("incomplete", "serious", sentence, cell)


def seeds_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find unequal, few, or reused seeds."""
    compared = _compared(runs)
    # A schedule that was tuned but never re-run has 0 seeds here, where the others have final runs.
    everyone = sorted(set(runs["scheduler"]))
    counts = compared.groupby("scheduler")["seed"].nunique().reindex(everyone, fill_value=0)
    if counts.nunique() > 1:
        sentence = f"{workload}: unequal seeds, {counted(counts)}."
        yield Finding("seeds", "warning", sentence, concerned(compared))
    elif len({listed(sorted(set(g.dropna())) or ["none"]) for _, g in compared.groupby("scheduler")["seed"]}) > 1:
        sentence = f"{workload}: schedules were run on different seeds."
        yield Finding("seeds", "note", sentence, concerned(compared))
    few = counts[counts < MIN_SEEDS]
    if len(few):
        sentence = f"{workload}: few seeds, {counted(few)}; below {MIN_SEEDS} there are no intervals and no tests."
        yield Finding("few seeds", "warning", sentence, tuple((workload, str(schedule)) for schedule in few.index))
    reused = set(runs.loc[runs["role"] == "tuning", "seed"].dropna()) & set(
        runs.loc[runs["role"] == "final", "seed"].dropna()
    )
    if reused:
        sentence = f"{workload}: final runs reuse tuning seeds {listed(sorted(reused))}; that is optimistic."
        yield Finding("reused seeds", "warning", sentence, concerned(runs))


def repeated_findings(workload: str, runs: pd.DataFrame) -> Iterator[Finding]:
    """Find runs that would count one replicate twice."""
    # A sampler may ask the same point twice; those are two trials, not one run recorded twice.
    keys = ["scheduler", "role", "study", "trial", "seed", "rate"]
    repeated = runs[runs.duplicated(keys, keep=False) & runs[["seed", "rate"]].notna().all(axis=1)]
    if len(repeated):
        sentence = f"{workload}: {len(repeated)} runs share schedule, rate and seed with another."
        yield Finding("repeated runs", "warning", sentence, concerned(repeated))


def _some(names: Sequence[str]) -> str:
    """List names, the first few of many."""
    more = len(names) - _MOST_NAMES
    return listed(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"


def _compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that results are made of: the final ones where there are any, else all."""
    final = runs[runs["role"] == "final"]
    return final if len(final) else runs
