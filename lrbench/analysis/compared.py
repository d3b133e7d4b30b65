"""Which runs are compared: fresh seeds where there are any, else the best point of the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrbench.analysis.audit.findings import Finding, listed
from lrbench.analysis.model import Origin
from lrbench.analysis.prepare import Run
from lrbench.analysis.statistics.terms import Direction, sign
from lrbench.spec import RunState

_PREFERENCE = (RunState.OK, RunState.DIVERGED, RunState.INCOMPLETE)


@dataclass(frozen=True)
class Compared:
    """The runs of one (workload, scheduler) that results are made of, by seed.

    Attributes:
        runs: one a seed; several where seeds are not recorded.
        others: tuning runs, runs at other rates, and repeats.
        origin: where they come from.
        repeats: (kept, left out) for each run left out because another has the same point and seed.
    """

    runs: tuple[Run, ...]
    others: tuple[Run, ...]
    origin: Origin
    repeats: tuple[tuple[Run, Run], ...]


def choose_compared(runs: Sequence[Run], *, direction: Direction) -> Compared:
    """Choose the runs of one (workload, scheduler) to compare.

    Final runs if there are any; else runs on their own; else tuning runs. Where these stand at several points
    (rates, and whatever else was searched), those of the best point: the best mean final validation value, a
    diverged seed making its point the worst.

    Args:
        runs: measured runs of the cell, at least one.
        direction: of the validation metric.
    """
    role = next(role for role in ("final", "run", "tuning") if any(r.role == role for r in runs))
    pool = [r for r in runs if r.role == role]
    points = sorted({r.point for r in pool})
    best = min(points, key=lambda point: _merit([r for r in pool if r.point == point], direction))
    at_best = [r for r in pool if r.point == best]
    kept = _one_a_seed(at_best)
    chosen = {r.run_id for r in kept}
    origin: Origin = "search" if role == "tuning" or len(points) > 1 else "final" if role == "final" else "run"
    return Compared(
        runs=tuple(kept),
        others=tuple(r for r in runs if r.run_id not in chosen),
        origin=origin,
        repeats=tuple((k, run) for run in at_best for k in kept if k is not run and k.seed == run.seed is not None),
    )


def origin_findings(workload: str, compared: Mapping[str, Compared], configs: pd.DataFrame) -> list[Finding]:
    """Find schedules whose results come from a search where others have fresh seeds, and repeats left out.

    Args:
        workload: of the findings.
        compared: by schedule.
        configs: what is recorded of the configuration, one row a run; "repeats" that differ in it are none.
    """
    findings = []
    origins = {scheduler: c.origin for scheduler, c in compared.items()}
    searched = sorted(s for s, origin in origins.items() if origin == "search")
    if searched and len(searched) < len(origins):
        sentence = (
            f"{workload}: {', '.join(searched)} {'is' if len(searched) == 1 else 'are'} judged by the best of "
            "several runs, the others by runs chosen beforehand; that flatters the former."
        )
        findings.append(Finding("origins", "serious", sentence, tuple((workload, s) for s in searched)))
    repeated = sorted(s for s, c in compared.items() if c.repeats)
    if repeated:
        number = sum(len(c.repeats) for c in compared.values())
        sentence = (
            f"{workload}: {number} repeated runs (same schedule, rate and seed as another) are left out of the "
            f"results of {', '.join(repeated)}; a replicate counts once."
        )
        findings.append(Finding("repeats left out", "warning", sentence, tuple((workload, s) for s in repeated)))
    for scheduler in repeated:
        for kept, left_out in compared[scheduler].repeats:
            differing = _differing(configs, kept, left_out)
            if differing:
                sentence = (
                    f"{workload}: {kept.run_id} and {left_out.run_id} have the schedule, rate and seed in common and "
                    f"differ in {listed(differing)}; the second is left out. Give what differs a workload name of its "
                    "own, or leave one of them out."
                )
                findings.append(Finding("mixed settings", "serious", sentence, ((workload, scheduler),)))
                break  # one example a schedule
    return findings


def _differing(configs: pd.DataFrame, kept: Run, left_out: Run) -> list[str]:
    """Columns in which both are recorded with different values."""
    pair = configs.loc[[kept.run_id, left_out.run_id]]
    return [str(name) for name in pair.columns if pair[name].notna().all() and pair[name].nunique() > 1]


def _merit(runs: Sequence[Run], direction: Direction) -> tuple[float, int, float, float, str]:
    """Sort key of a point, smaller = better."""
    finals = np.array([sign(direction) * r.final(direction) for r in runs if r.is_finished])
    ok = finals[np.isfinite(finals)]
    mean = float(finals.mean()) if finals.size else np.inf
    # Where every point has a diverged seed, fewer of them count, then the value of the others.
    return mean, -ok.size, float(ok.mean()) if ok.size else np.inf, runs[0].rate or np.inf, runs[0].point


def _one_a_seed(runs: Sequence[Run]) -> list[Run]:
    """Keep one run a known seed: a finished one if there is any, else the first by run_id."""
    ordered = sorted(runs, key=lambda r: (_PREFERENCE.index(r.state), r.run_id))
    kept: dict[object, Run] = {}
    for run in ordered:
        kept.setdefault(run.run_id if run.seed is None else run.seed, run)
    return sorted(kept.values(), key=lambda r: (r.seed is None, r.seed or 0, r.run_id))
