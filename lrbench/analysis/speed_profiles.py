"""Speed over workloads: target ECDFs and performance profiles (docs/metrics.md, rows 5 and 6)."""

from collections.abc import Sequence

import numpy as np

from lrbench.analysis.field import Field, steps_to
from lrbench.analysis.model import Profile, ProfileScore, TargetEcdf
from lrbench.analysis.statistics.cells import median
from lrbench.analysis.statistics.profiles import algoperf_score, performance_profile, profile_score, speed_ratios
from lrbench.analysis.statistics.survival import target_ecdf
from lrbench.analysis.statistics.terms import FloatArray, Unavailable

TAU_MAXIMA = (2.0, 4.0, 8.0)
_TAUS = np.linspace(1.0, max(TAU_MAXIMA), 141)


def ecdfs_of(
    fields: Sequence[Field], *, schedulers: Sequence[str], level: float
) -> tuple[TargetEcdf, ...] | Unavailable:
    """Pool (workload, seed, rung of the ladder) for every schedule, over workloads that all schedules ran.

    Args:
        fields: the workloads.
        schedulers: who is compared.
        level: of the band.
    """
    common = [field for field in fields if set(schedulers) <= set(field.compared)]
    usable = [field for field in common if not isinstance(field.facts.ladder, Unavailable)]
    if not usable:
        refusals = [field.facts.ladder.reason for field in common if isinstance(field.facts.ladder, Unavailable)]
        return Unavailable(refusals[0] if refusals else "no workload was run with every schedule")
    found = []
    for scheduler in schedulers:
        hits = [
            (hit.value / field.facts.total_steps, hit.observed)
            for field in usable
            for run in field.runs(scheduler)
            for rung in (field.facts.ladder if isinstance(field.facts.ladder, tuple) else ())
            for hit in [steps_to(run, rung, field.direction)]
        ]
        curve = target_ecdf([at for at, _ in hits], [observed for _, observed in hits], level=level)
        at = _stretched(curve.times)
        low = None if curve.high is None else _stretched(1 - curve.high, at_ends=True)
        high = None if curve.low is None else _stretched(1 - curve.low, at_ends=True)
        found.append(
            TargetEcdf(
                scheduler=scheduler,
                fractions=at,
                share=_stretched(1 - curve.survival, at_ends=True),
                low=low,
                high=high,
                num_targets=len(hits),
            )
        )
    return tuple(found)


def time_matrix(fields: Sequence[Field], schedulers: Sequence[str]) -> tuple[list[Field], FloatArray]:
    """Median times to target on the workloads where all schedules have one to compare; inf = missed.

    Returns:
        The workloads, and an array (num_workloads, num_schedules).
    """
    usable = [field for field in fields if has_times(field, schedulers)]
    rows = [[float(median(field.times(s))) for s in schedulers] for field in usable]
    return usable, np.array(rows, dtype=np.float64).reshape(len(usable), len(schedulers))


def has_times(field: Field, schedulers: Sequence[str]) -> bool:
    """Whether speed can be compared on this workload between all of these schedules."""
    if field.no_speed is not None or not set(schedulers) <= set(field.compared):
        return False
    return all(field.times(s).size for s in schedulers)


def profiles_of(fields: Sequence[Field], *, schedulers: Sequence[str]) -> tuple[Profile, ...] | Unavailable:
    """Draw performance profiles over the workloads on which speed can be compared between all schedules."""
    usable, times = time_matrix(fields, schedulers)
    if not usable:
        refusals = [field.no_speed.reason for field in fields if field.no_speed is not None]
        return Unavailable(refusals[0] if refusals else "no workload has a time of every schedule")
    ratios = speed_ratios(times)
    shares = performance_profile(ratios, _TAUS)
    exact = {tau: profile_score(ratios, tau_max=tau) for tau in TAU_MAXIMA}
    algoperf = {tau: algoperf_score(ratios, tau_max=tau) for tau in TAU_MAXIMA}
    return tuple(
        Profile(
            scheduler=scheduler,
            taus=tuple(float(tau) for tau in _TAUS),
            share=tuple(float(share) for share in shares[:, column]),
            scores=tuple(ProfileScore(t, float(exact[t][column]), float(algoperf[t][column])) for t in TAU_MAXIMA),
            num_workloads=len(usable),
        )
        for column, scheduler in enumerate(schedulers)
    )


def _stretched(values: FloatArray, *, at_ends: bool = False) -> tuple[float, ...]:
    """Add the ends of a step function over [0, 1]: times get 0 and 1, shares get 0 and their last value."""
    inner = [float(v) for v in values]
    return (0.0, *inner, inner[-1]) if at_ends else (0.0, *inner, 1.0)
