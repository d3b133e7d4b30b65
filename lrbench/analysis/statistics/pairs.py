"""Two schedules on one workload: is the difference real, how many seeds would tell (docs/metrics.md, row 15)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    TIE_TOLERANCE,
    Direction,
    FloatArray,
    Interval,
    Unavailable,
    sign,
)

MAX_SEEDS = 10_000  # where the search for a sample size ends: nobody trains more


@dataclass(frozen=True)
class Difference:
    """A test of first - second.

    Attributes:
        value: difference of means in the unit of the metric.
        interval: of `value`, Welch's; None where neither side varies, or times are censored.
        advantage_in_sd: the difference in pooled standard deviations, positive = first is better; None likewise.
        p_value: two-sided, not corrected; Welch's, or exact where there is no interval.
        num_first: seeds of the first.
        num_second: seeds of the second.
    """

    value: float
    interval: Interval | None
    advantage_in_sd: float | None
    p_value: float
    num_first: int
    num_second: int


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds each of two schedules needs in all, and how many more that is than the smaller has now."""

    total: int
    additional: int
    difference: float
    sd: float


def welch(
    first: npt.ArrayLike, second: npt.ArrayLike, *, direction: Direction, level: float = 0.95
) -> Difference | Unavailable:
    """Compare the means of two schedules on one workload (Welch 1947, by scipy), unpaired.

    Where neither varies over seeds, all of one against all of the other is the most extreme of all assignments of the
    runs to the two, each equally likely if they do not differ, and p is the share of assignments as extreme.

    Args:
        first: (num_seeds,) finite values.
        second: (num_seeds,), the number may differ.
        direction: of the values.
        level: of the interval.

    Raises:
        ValueError: a value is not finite.
    """
    a, b = _finite(first), _finite(second)
    if min(a.size, b.size) < MIN_SEEDS:
        return Unavailable(f"a test needs {MIN_SEEDS} seeds each, got {a.size} and {b.size}")
    difference = float(a.mean() - b.mean())
    if not _varies(a, b):
        if abs(difference) <= TIE_TOLERANCE * abs(a).max():
            return Unavailable("all runs of both end at the same value")
        p = 2 / math.comb(a.size + b.size, a.size)
        return Difference(difference, None, None, p, a.size, b.size)
    with warnings.catch_warnings():
        # Runs of one schedule often hit at the same evaluation; scipy warns of a variance that is truly zero.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ttest_ind(a, b, equal_var=False)
        bounds = result.confidence_interval(level)
    return Difference(
        value=difference,
        interval=Interval(float(bounds.low), float(bounds.high), level, "Welch t"),
        advantage_in_sd=-sign(direction) * difference / _pooled_sd(a, b),
        p_value=float(result.pvalue),
        num_first=a.size,
        num_second=b.size,
    )


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Adjust p values for testing all of them (Holm 1979).

    Args:
        p_values: (num_tests,), of everything that is shown: all pairs times all workloads.

    Returns:
        (num_tests,) adjusted, at most 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError("p values must be within [0, 1]; leave out what could not be tested")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1)))
    return adjusted


def holm_of(results: Sequence[Difference | Unavailable]) -> list[float | Unavailable]:
    """Adjust over the tests that could be made; in the same order, the others keep their reason."""
    adjusted = iter(holm([r.p_value for r in results if isinstance(r, Difference)]))
    return [float(next(adjusted)) if isinstance(r, Difference) else r for r in results]


def seeds_to_settle(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    difference: float | None = None,
    num_comparisons: int = 1,
) -> SeedsNeeded | Unavailable:
    """Return how many seeds each schedule needs for a two-sided t test to find the difference.

    The observed difference and variance are estimates themselves: a guide for planning, not a promise.

    Args:
        first: (num_seeds,) finite values.
        second: (num_seeds,).
        alpha: level of the test.
        power: probability to find it, in (0, 1).
        difference: that matters, in the unit of the metric, not 0; None takes the observed one.
        num_comparisons: alpha is divided by it, which is Holm's first step.

    Raises:
        ValueError: a value is not finite.
    """
    a, b = _finite(first), _finite(second)
    if min(a.size, b.size) < MIN_SEEDS:
        return Unavailable(f"a test needs {MIN_SEEDS} seeds each, got {a.size} and {b.size}")
    if not _varies(a, b):
        return Unavailable("neither schedule varies over seeds, so there is no scale for their difference")
    sought = float(abs(a.mean() - b.mean())) if difference is None else abs(difference)
    sd = _pooled_sd(a, b)
    if sought <= 1e-9 * sd:
        return Unavailable("the means are equal; no number of seeds tells them apart")

    def enough(num_seeds: int) -> bool:
        df = 2 * num_seeds - 2
        critical = float(stats.t.isf(alpha / num_comparisons / 2, df))
        # The square of a noncentral t is a noncentral F, which scipy computes also where its t is NaN.
        return bool(stats.ncf.sf(critical**2, 1, df, (sought / sd) ** 2 * num_seeds / 2) >= power)

    if not enough(MAX_SEEDS):
        return Unavailable(f"even {MAX_SEEDS} seeds each would probably not tell them apart")
    low, high = MIN_SEEDS - 1, MAX_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return SeedsNeeded(high, max(0, high - min(a.size, b.size)), sought, sd)


def _finite(values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a test of means takes finite values; a diverged run has that of step 0")
    return array


def _varies(a: FloatArray, b: FloatArray) -> bool:
    return _pooled_sd(a, b) > 1e-12 * float(max(abs(a).max(), abs(b).max()))


def _pooled_sd(a: FloatArray, b: FloatArray) -> float:
    return math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
