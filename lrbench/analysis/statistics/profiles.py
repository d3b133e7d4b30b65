"""Speed relative to the field: ratios and performance profiles (docs/metrics.md, rows 4 and 5).

Matrices have shape (..., num_workloads, num_schedules); leading axes are bootstrap resamples. Entries are
medians of time to target over seeds: inf = missed by half of the seeds or more, NaN = not run.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.terms import FloatArray

TAU_MAX = 4.0


@dataclass(frozen=True)
class SpeedUp:
    """Geometric mean over workloads of reference time / time (> 1 = faster), and the number of misses."""

    factor: float
    misses: int
    reference_misses: int
    num_workloads: int


def times_with_misses(times: npt.ArrayLike, observed: npt.ArrayLike, *, horizon: float) -> FloatArray:
    """Turn the seeds of a cell into times with inf for a miss, for medians and what is built on them.

    Args:
        times: (num_seeds,).
        observed: (num_seeds,) bool.
        horizon: the budget, in the unit of `times`.

    Raises:
        ValueError: a run was censored before the budget: whether it would have missed is unknown.
    """
    at, hit = np.asarray(times, dtype=np.float64), np.asarray(observed, dtype=bool)
    early = ~hit & (at < horizon)
    if early.any():
        raise ValueError(
            f"{int(early.sum())} runs were censored before the budget {horizon:g} (incomplete): not a miss "
            "and not a time; leave them out and say so"
        )
    return np.where(hit, at, np.inf)


def speed_ratios(times: npt.ArrayLike) -> FloatArray:
    """Divide by the fastest schedule of each workload: 1 = fastest, inf = missed, NaN = not run.

    Raises:
        ValueError: a time is not positive: a target reached at step 0 measures nothing.
    """
    array = np.asarray(times, dtype=np.float64)
    if (array <= 0).any():
        raise ValueError("times to target must be positive; a target that is reached at step 0 is too easy")
    fastest = np.where(np.isnan(array), np.inf, array).min(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf/inf, where nobody got there
        return np.where(np.isinf(array), np.inf, array / fastest)


def speed_up(times: npt.ArrayLike, reference: npt.ArrayLike, *, miss_times: npt.ArrayLike) -> SpeedUp:
    """Compare with a reference schedule, usually `constant`, as geometric mean over workloads (scipy gmean).

    Args:
        times: (num_workloads,) of the schedule, inf = missed.
        reference: (num_workloads,) of the reference.
        miss_times: (num_workloads,) what a miss counts: the budget plus one evaluation interval.

    Raises:
        ValueError: a time is NaN (not run) or not positive.
    """
    mine, other, miss = (np.asarray(a, dtype=np.float64) for a in (times, reference, miss_times))
    if mine.size == 0 or not ((mine > 0).all() and (other > 0).all()):
        raise ValueError("a speed-up needs positive times of both schedules on every workload; restrict to common ones")
    ratios = np.where(np.isinf(other), miss, other) / np.where(np.isinf(mine), miss, mine)
    return SpeedUp(float(stats.gmean(ratios)), int(np.isinf(mine).sum()), int(np.isinf(other).sum()), mine.size)


def performance_profile(ratios: npt.ArrayLike, taus: npt.ArrayLike) -> FloatArray:
    """Return rho(tau), the share of workloads with ratio <= tau (Dolan and More 2002).

    Args:
        ratios: (num_workloads, num_schedules).
        taus: (num_taus,) >= 1.

    Returns:
        (num_taus, num_schedules).
    """
    array = _complete(ratios)
    return np.asarray((array[None] <= np.asarray(taus, dtype=np.float64)[:, None, None]).mean(axis=-2))


def profile_score(ratios: npt.ArrayLike, *, tau_max: float = TAU_MAX) -> FloatArray:
    """Return the exact normalised area under the performance profile up to tau_max, 0 to 1, higher is better.

    The integral of a step function: the mean over workloads of max(0, (tau_max - r) / (tau_max - 1)).

    Args:
        ratios: (..., num_workloads, num_schedules).
        tau_max: > 1.

    Returns:
        (..., num_schedules).

    Raises:
        ValueError: a ratio is NaN (not run), which is not inf (missed), or tau_max <= 1.
    """
    array = _complete(ratios)
    if not tau_max > 1:
        raise ValueError(f"tau_max must be above 1, got {tau_max}")
    return np.asarray(np.maximum(0.0, (tau_max - array) / (tau_max - 1)).mean(axis=-2))


def algoperf_score(ratios: npt.ArrayLike, *, tau_max: float = TAU_MAX, num_points: int = 100) -> FloatArray:
    """Return the score as AlgoPerf computes it: the trapezoid rule on a grid of points (Dahl et al. 2023).

    Follows mlcommons/algorithmic-efficiency `scoring/performance_profile.py` with min_tau = 1 and a linear
    scale, normalised; differs from the exact score by up to half a grid interval per workload.

    Args:
        ratios: (num_workloads, num_schedules).
        tau_max: > 1.
        num_points: of the grid, both ends included.

    Returns:
        (num_schedules,).
    """
    taus = np.linspace(1.0, tau_max, num_points)
    return np.asarray(np.trapezoid(performance_profile(ratios, taus), taus, axis=0) / (tau_max - 1))


def _complete(ratios: npt.ArrayLike) -> FloatArray:
    array = np.asarray(ratios, dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError(
            f"{int(np.isnan(array).sum())} cells were not run; a score would compare different workloads: "
            "run them, or leave out these workloads, and say so"
        )
    if array.shape[-2] == 0:
        raise ValueError("a score needs at least one workload")
    return array
