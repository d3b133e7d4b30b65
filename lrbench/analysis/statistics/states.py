"""How runs ended, always tabulated before anything else is said (METRICS.md, run states and row 8)."""

from collections.abc import Iterable, Sequence

import pandas as pd

from lrbench.analysis.statistics.terms import Share, Unavailable, wilson_share
from lrbench.spec import RunState

Planned = Iterable[tuple[str, str, int]]  # (workload, scheduler, seed)


def last_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run: the one of its largest step, as it is.

    Not `groupby().last()`, which takes the last value that is not NaN and so hides that a run diverged.
    """
    ordered = frame.sort_values(["run_id", "step"], kind="stable")
    return ordered.drop_duplicates("run_id", keep="last").reset_index(drop=True)


def full_grid(runs: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Return the plan of a complete comparison: every schedule with every seed of its workload.

    Args:
        runs: one row per run with workload, scheduler, seed; runs without a seed add no seed to the plan.
    """
    schedules = sorted(set(runs["scheduler"].dropna()))
    seeds = runs.dropna(subset=["seed"]).groupby("workload")["seed"].unique()
    return [(str(w), str(s), int(seed)) for w in sorted(seeds.index) for s in schedules for seed in sorted(seeds[w])]


def missing_runs(runs: pd.DataFrame, *, planned: Planned) -> list[tuple[str, str, int]]:
    """Return what was planned but is absent, in the order of the plan."""
    known = runs.dropna(subset=["seed"])
    present = {
        (str(w), str(s), int(seed))
        for w, s, seed in zip(known["workload"], known["scheduler"], known["seed"], strict=True)
    }
    return [cell for cell in dict.fromkeys(planned) if cell not in present]


def states_table(frame: pd.DataFrame, *, planned: Planned | None = None) -> pd.DataFrame:
    """Count runs by state in every (workload, scheduler).

    Args:
        frame: the tidy frame, or one row per run.
        planned: the runs that should exist; None counts no run as missing.

    Returns:
        index (workload, scheduler), integer columns ok, diverged, incomplete, missing, planned, where planned
        is their sum.

    Raises:
        ValueError: a state is not one of ok, diverged, incomplete.
    """
    runs = last_rows(frame)
    known = [RunState.OK, RunState.DIVERGED, RunState.INCOMPLETE]
    unknown = sorted(set(runs["state"].astype(object)) - set(known), key=str)
    if unknown:
        raise ValueError(f"state must be one of {[str(s) for s in known]}, got {unknown}")
    absent = pd.DataFrame(missing_runs(runs, planned=planned or ()), columns=["workload", "scheduler", "seed"])
    everything = pd.concat(
        [runs[["workload", "scheduler", "state"]], absent.assign(state=RunState.MISSING)], ignore_index=True
    ).astype(object)
    cells = pd.MultiIndex.from_frame(everything[["workload", "scheduler"]])
    table = pd.DataFrame({str(state): (everything["state"] == state).to_numpy() for state in RunState}, index=cells)
    counts = table.groupby(level=["workload", "scheduler"], sort=True).sum()
    return counts.assign(planned=counts.sum(axis=1))


def divergence_rates(
    frame: pd.DataFrame, *, by: Sequence[str] = ("workload", "scheduler"), level: float = 0.95
) -> dict[tuple[object, ...], Share | Unavailable]:
    """Return the share of diverged among finished runs (ok or diverged) of every group (Wilson).

    An incomplete run might still have diverged, so it counts on neither side.

    Args:
        frame: the tidy frame, or one row per run.
        by: columns to group by; add `optimizer.lr` for the rate at each learning rate.
        level: of the interval.

    Raises:
        ValueError: a column of `by` is absent.
    """
    absent = [name for name in by if name not in frame.columns]
    if absent:
        raise ValueError(f"the frame has no columns {absent} to group by; it has {sorted(map(str, frame.columns))}")
    runs = last_rows(frame)
    rates: dict[tuple[object, ...], Share | Unavailable] = {}
    for key, states in runs.groupby(list(by), dropna=False)["state"]:
        finished = states.isin([RunState.OK, RunState.DIVERGED])
        diverged = states == RunState.DIVERGED
        rates[key if isinstance(key, tuple) else (key,)] = wilson_share(
            int(diverged.sum()), int(finished.sum()), level=level
        )
    return rates
