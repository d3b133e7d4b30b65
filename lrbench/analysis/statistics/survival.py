"""Times to a target over seeds, with censoring (docs/metrics.md, rows 2 and 6).

Every function takes `times` of shape (num_runs,), finite, in one unit, and `observed`, bool of the same
shape: False means censored, the target was not reached up to that time. inf never stands for censoring here.
"""

import math
import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    BoolArray,
    FloatArray,
    Interval,
    Share,
    Unavailable,
    wilson_share,
    without_noise,
)

MAX_ASSIGNMENTS = 5_000  # 7 runs against 7


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate of the share of runs that have not reached the target yet.

    Attributes:
        times: (num_times,) increasing, distinct times of hits and of censoring.
        survival: (num_times,) share after each of them.
        low: (num_times,) lower pointwise band (log-log), or None below three runs.
        high: (num_times,) upper band, or None.
    """

    times: FloatArray
    survival: FloatArray
    low: FloatArray | None
    high: FloatArray | None


@dataclass(frozen=True)
class RestrictedMean:
    """Mean time to target within a horizon, its Greenwood standard error, and an interval or None."""

    value: float
    standard_error: float
    interval: Interval | None
    num_runs: int


@dataclass(frozen=True)
class LogRank:
    """Two-sided logrank test: hits of the first sample beyond those expected, positive = it takes less time."""

    excess_hits: float
    p_value: float


def share_reached(observed: npt.ArrayLike, *, level: float = 0.95) -> Share | Unavailable:
    """Return the share of all runs that are known to have reached the target, with Wilson's interval.

    A run that did not finish counts in the denominator: left out, it would raise the share by being killed.
    """
    hit = np.asarray(observed, dtype=bool)
    return wilson_share(int(hit.sum()), hit.size, level=level)


def kaplan_meier(times: npt.ArrayLike, observed: npt.ArrayLike, *, level: float = 0.95) -> Survival:
    """Estimate the survival curve (Kaplan and Meier 1958, by scipy.stats.ecdf on CensoredData)."""
    at, hit = _checked(times, observed)
    curve = stats.ecdf(_censored(at, hit)).sf
    share = np.asarray(curve.probabilities, dtype=np.float64)
    low, high = _band(curve, level) if at.size >= MIN_SEEDS else (None, None)
    return Survival(
        times=np.asarray(curve.quantiles, dtype=np.float64),
        survival=share,
        low=low,
        high=high,
    )


def restricted_mean(
    times: npt.ArrayLike, observed: npt.ArrayLike, *, horizon: float, level: float = 0.95
) -> RestrictedMean | Unavailable:
    """Return the mean of min(time, horizon), the area under the Kaplan-Meier curve up to the horizon.

    The variance is Greenwood's: sum over hits t_i of (area from t_i to the horizon)^2 * d_i / (n_i * (n_i -
    d_i)). The interval takes Student's t with num_runs - 1 degrees of freedom, since the normal one is too
    narrow at a few seeds; it is None below three runs, and where the standard error is 0, which is no
    certainty but no information.

    Args:
        times: (num_runs,).
        observed: (num_runs,).
        horizon: the budget T, in the unit of `times`, positive.
        level: of the interval.
    """
    at, hit = _checked(times, observed)
    if not horizon > 0:
        raise ValueError(f"the horizon of a restricted mean must be positive, got {horizon}")
    inside = hit & (at <= horizon)
    moments = np.unique(at[inside])
    at_risk = (at[None, :] >= moments[:, None]).sum(axis=1)
    hits = (at[inside][None, :] == moments[:, None]).sum(axis=1)
    share = np.cumprod(1 - hits / at_risk)
    if (share[-1] if share.size else 1.0) > 0 and at.max() < horizon:
        return Unavailable(f"nothing is known after {at.max():g}, before the horizon {horizon:g}")
    edges = np.concatenate([[0.0], moments, [horizon]])
    areas = np.concatenate([[1.0], share]) * np.diff(edges)
    area_after = areas[::-1].cumsum()[::-1][1:]
    alive = at_risk > hits  # where the last run hits, no area is left and the term is 0 * inf
    terms = area_after[alive] ** 2 * hits[alive] / (at_risk[alive] * (at_risk[alive] - hits[alive]))
    value, error = float(areas.sum()), float(np.sqrt(terms.sum()))
    interval = None
    if at.size >= MIN_SEEDS and error > 0:
        half = float(stats.t.ppf((1 + level) / 2, at.size - 1)) * error
        bounds = np.clip([value - half, value + half], 0, horizon)
        interval = Interval(float(bounds[0]), float(bounds[1]), level, "Greenwood with Student t")
    return RestrictedMean(value, error, interval, at.size)


def logrank(
    first_times: npt.ArrayLike,
    first_observed: npt.ArrayLike,
    second_times: npt.ArrayLike,
    second_observed: npt.ArrayLike,
) -> LogRank | Unavailable:
    """Test whether two schedules take equally long (logrank), exactly where runs are few.

    A run scores 1 if it hit, minus the cumulative hazard up to its time; the scores of one sample sum up to its hits
    beyond those expected. Every assignment of the runs to the samples is equally likely if these do not differ. All of
    them are counted up to `MAX_ASSIGNMENTS`; beyond, the normal distribution is close (scipy).
    """
    first, second = _checked(first_times, first_observed), _checked(second_times, second_observed)
    if min(first[0].size, second[0].size) < MIN_SEEDS:
        return Unavailable(f"a logrank test needs {MIN_SEEDS} runs each, got {first[0].size} and {second[0].size}")
    if not (first[1].any() or second[1].any()):
        return Unavailable("no run of either schedule reached the target")
    at, hit = np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    at_risk = (at[None, :] >= at[:, None]).sum(axis=1)
    hazard = ((at[None, :] <= at[:, None]) * (hit / at_risk)[None, :]).sum(axis=1)
    scores = hit - hazard
    if np.ptp(without_noise(scores)) == 0:
        return Unavailable("all runs reached the target at the same time")
    size, total = first[0].size, at.size
    excess = float(scores[:size].sum())
    if math.comb(total, size) <= MAX_ASSIGNMENTS:
        sums = scores[np.array(list(combinations(range(total), size)))].sum(axis=1)
        return LogRank(excess, float((abs(sums) >= abs(excess) - 1e-9).mean()))
    return LogRank(excess, float(stats.logrank(_censored(*first), _censored(*second)).pvalue))


def target_ecdf(fractions: npt.ArrayLike, observed: npt.ArrayLike, *, level: float = 0.95) -> Survival:
    """Return the Kaplan-Meier curve over all (workload, seed, target) of time as a fraction of the budget.

    Its complement is the share of targets reached by each fraction. Misses need no imputation. The band
    treats the targets of one run as independent, which they are not: it is a lower limit of the uncertainty.

    Args:
        fractions: (num_targets,) time / budget in [0, 1].
        observed: (num_targets,).
        level: of the band.

    Raises:
        ValueError: a fraction is outside [0, 1].
    """
    at, hit = _checked(fractions, observed)
    if at.max() > 1:
        raise ValueError(f"times must be fractions of the budget in [0, 1], got {at.max():g}")
    return kaplan_meier(at, hit, level=level)


def _checked(times: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[FloatArray, BoolArray]:
    at, hit = np.asarray(times, dtype=np.float64), np.asarray(observed, dtype=bool)
    if at.ndim != 1 or at.shape != hit.shape or at.size == 0:
        raise ValueError(f"times and observed must be (num_runs,), at least one; got {at.shape} and {hit.shape}")
    if not (np.isfinite(at) & (at >= 0)).all():
        raise ValueError("times must be finite and >= 0; a run that missed has its last time and observed=False")
    return at, hit


def _censored(at: FloatArray, hit: BoolArray) -> stats.CensoredData:
    return stats.CensoredData(uncensored=at[hit], right=at[~hit])


def _band(curve: stats._survival.EmpiricalDistributionFunction, level: float) -> tuple[FloatArray, FloatArray]:
    # log-log bounds stay within [0, 1]; at survival 1 and 0 they are 0/0, where scipy warns and answers NaN.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(confidence_level=level, method="log-log")
    share = np.asarray(curve.probabilities, dtype=np.float64)
    low, high = (np.asarray(side.probabilities, dtype=np.float64) for side in (band.low, band.high))
    return np.where(np.isnan(low), share, low), np.where(np.isnan(high), share, high)
