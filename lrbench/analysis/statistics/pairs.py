"""Two schedules on one workload: is the difference real, how many seeds would tell (METRICS.md, row 15)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.terms import MIN_SEEDS, Direction, FloatArray, Interval, Unavailable, sign, stats_extra

MAX_SEEDS = 10_000  # where the search for a sample size ends: nobody trains more


@dataclass(frozen=True)
class Difference:
    """Welch's test of first - second.

    Attributes:
        value: difference of means in the unit of the metric.
        interval: of `value`.
        advantage_in_sd: the difference in pooled standard deviations, positive = first is better.
        p_value: two-sided, not corrected.
        num_first: seeds of the first.
        num_second: seeds of the second.
    """

    value: float
    interval: Interval
    advantage_in_sd: float
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

    Args:
        first: (num_seeds,) values of seeds that did not diverge.
        second: (num_seeds,), the number may differ.
        direction: of the values.
        level: of the interval.

    Raises:
        ValueError: a value is not finite.
    """
    a, b = _finite(first), _finite(second)
    refusal = _untestable(a, b)
    if refusal is not None:
        return refusal
    result = stats.ttest_ind(a, b, equal_var=False)
    bounds = result.confidence_interval(level)
    difference = float(a.mean() - b.mean())
    return Difference(
        value=difference,
        interval=Interval(float(bounds.low), float(bounds.high), level, "Welch t"),
        advantage_in_sd=-sign(direction) * difference / _pooled_sd(a, b),
        p_value=float(result.pvalue),
        num_first=a.size,
        num_second=b.size,
    )


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Adjust p values for testing all of them (Holm 1979, by statsmodels).

    Args:
        p_values: (num_tests,), of everything that is shown: all pairs times all workloads.

    Returns:
        (num_tests,) adjusted, at most 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError("p values must be within [0, 1]; leave out what could not be tested")
    if raw.size == 0:
        return raw
    return np.asarray(stats_extra("statsmodels.stats.multitest").multipletests(raw, method="holm")[1])


def welch_holm(
    cells: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], *, direction: Direction, level: float = 0.95
) -> list[tuple[Difference, float] | Unavailable]:
    """Test every pair given, with Holm over those that could be tested.

    Args:
        cells: (first, second) seeds of every pair on every workload that will be shown.
        direction: of the values.
        level: of the intervals, which are not adjusted.

    Returns:
        In the same order, (difference, adjusted p) or why it could not be tested.
    """
    results = [welch(first, second, direction=direction, level=level) for first, second in cells]
    adjusted = iter(holm([r.p_value for r in results if isinstance(r, Difference)]))
    return [(r, float(next(adjusted))) if isinstance(r, Difference) else r for r in results]


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
        first: (num_seeds,) values of seeds that did not diverge.
        second: (num_seeds,).
        alpha: level of the test.
        power: probability to find it, in (0, 1).
        difference: that matters, in the unit of the metric, not 0; None takes the observed one.
        num_comparisons: alpha is divided by it, which is Holm's first step.

    Raises:
        ValueError: a value is not finite.
    """
    a, b = _finite(first), _finite(second)
    refusal = _untestable(a, b)
    if refusal is not None:
        return refusal
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
        raise ValueError("a test of means takes the seeds that did not diverge; a value is not finite")
    return array


def _untestable(a: FloatArray, b: FloatArray) -> Unavailable | None:
    if min(a.size, b.size) < MIN_SEEDS:
        return Unavailable(f"a test needs {MIN_SEEDS} seeds each, got {a.size} and {b.size}")
    if _pooled_sd(a, b) <= 1e-12 * max(abs(a).max(), abs(b).max()):
        return Unavailable("neither schedule varies over seeds, so there is no scale for their difference")
    return None


def _pooled_sd(a: FloatArray, b: FloatArray) -> float:
    return math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
