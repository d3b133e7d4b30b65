"""How much a schedule depends on its seed and on its rate (docs/metrics.md, rows 9, 10, 11 and 16)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.cells import percentile_intervals
from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    NUM_RESAMPLES,
    Direction,
    FloatArray,
    Interval,
    Unavailable,
    as_costs,
    sign,
    without_noise,
)


@dataclass(frozen=True)
class Spread:
    """Standard deviation (ddof 1) over the seeds that did not diverge; the worst seed, None if one diverged."""

    sd: float
    worst_seed: float | None
    num_ok: int
    num_seeds: int


@dataclass(frozen=True)
class SpreadTest:
    """Brown-Forsythe test of equal spread. Low power at a few seeds: a large p says nothing."""

    statistic: float
    p_value: float


@dataclass(frozen=True)
class Sensitivity:
    """Mean loss above the minimum over a grid of rates, with the grid, which is part of the number.

    Attributes:
        value: in the unit of the metric, >= 0, 0 = every rate is as good as the best.
        interval: over seeds, None where a rate has fewer than three.
        rates: (num_rates,) increasing.
        evenly_spaced: whether neighbours have equal ratios; if not, dense parts of the grid weigh more.
    """

    value: float
    interval: Interval | None
    rates: tuple[float, ...]
    evenly_spaced: bool


@dataclass(frozen=True)
class Basin:
    """The contiguous range of rates around the best one that loses little.

    Attributes:
        low: smallest rate of the basin.
        high: largest.
        width: log10(high / low), decades; a lower bound when a side is open.
        best_rate: the rate with the best value.
        open_low: the basin reaches the smallest rate tried: extend the grid down.
        open_high: it reaches the largest: extend the grid up.
        optimum_at_edge: the best rate itself is the smallest or largest tried.
    """

    low: float
    high: float
    width: float
    best_rate: float
    open_low: bool
    open_high: bool
    optimum_at_edge: bool


def seed_spread(values: npt.ArrayLike, *, direction: Direction) -> Spread | Unavailable:
    """Describe how much the seeds that did not diverge differ.

    Args:
        values: (num_seeds,) final values; diverged = `terms.worst`.
        direction: of the values.
    """
    costs = as_costs(values, direction=direction)
    ok = costs[np.isfinite(costs)]
    if ok.size < MIN_SEEDS:
        return Unavailable(f"a spread needs {MIN_SEEDS} seeds that did not diverge, got {ok.size}")
    worst_seed = float(sign(direction) * costs.max()) if ok.size == costs.size else None
    return Spread(float(ok.std(ddof=1)), worst_seed, ok.size, costs.size)


def spread_test(groups: Sequence[npt.ArrayLike]) -> SpreadTest | Unavailable:
    """Test whether schedules differ in spread over seeds (Brown and Forsythe 1974, scipy levene on medians).

    Args:
        groups: one array of shape (num_seeds,) a schedule, at least two; finite values only.

    Raises:
        ValueError: a value is not finite.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a test of spread takes the seeds that did not diverge; a value is not finite")
    if len(arrays) < 2 or min(array.size for array in arrays) < MIN_SEEDS:
        return Unavailable(f"a test of spread needs two schedules with {MIN_SEEDS} seeds each")
    distances = [abs(array - np.median(array)) for array in arrays]
    if all(np.ptp(without_noise(distance)) == 0 for distance in distances):
        return Unavailable("distances to the median do not vary within any schedule")
    result = stats.levene(*arrays, center="median")
    return SpreadTest(float(result.statistic), float(result.pvalue))


def rate_sensitivity(
    rates: npt.ArrayLike,
    values: Sequence[npt.ArrayLike],
    *,
    initial: float,
    direction: Direction,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> Sensitivity | Unavailable:
    """Return the mean over rates of min(loss, initial loss) - min loss (Wortsman et al. 2023).

    Seeds are averaged at each rate after capping, a diverged one counts as the initial loss. Comparable
    between schedules only on a common grid (`common_rates`).

    Args:
        rates: (num_rates,) distinct, positive; the grid shared by the schedules.
        values: one array of shape (num_seeds,) a rate; diverged = `terms.worst`.
        initial: the value at step 0, finite.
        direction: of the values.
        rng: for the bootstrap over seeds, stratified by rate.
        num_resamples: of the bootstrap.
        level: of the interval.
    """
    grid, cells = _on_grid(rates, values, direction)
    if grid.size < 2:
        return Unavailable("a sensitivity needs at least two rates")
    ceiling = sign(direction) * _finite_initial(initial)
    capped = [np.minimum(cell, ceiling) for cell in cells]
    means = np.array([cell.mean() for cell in capped])
    interval = None
    if min(cell.size for cell in capped) >= MIN_SEEDS:
        resampled = np.stack(
            [cell[rng.integers(cell.size, size=(num_resamples, cell.size))].mean(axis=-1) for cell in capped],
            axis=-1,
        )
        above = resampled.mean(axis=-1) - resampled.min(axis=-1)
        interval = percentile_intervals(above[:, None], level=level)[0]
    ratios = np.diff(np.log(grid))
    even = bool(np.allclose(ratios, ratios[0], rtol=0.01))
    return Sensitivity(float(means.mean() - means.min()), interval, tuple(grid.tolist()), even)


def common_rates(rates_by_schedule: Sequence[npt.ArrayLike]) -> FloatArray:
    """Return the rates that every schedule was run at, increasing, equal up to float noise; may be empty."""
    grids = [np.unique(np.asarray(rates, dtype=np.float64)) for rates in rates_by_schedule]
    shared = [rate for rate in grids[0] if all(np.isclose(grid, rate, rtol=1e-9, atol=0).any() for grid in grids)]
    return np.array(shared, dtype=np.float64)


def basin_width(
    rates: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    initial: float,
    direction: Direction,
    tolerance: float = 0.1,
) -> Basin | Unavailable:
    """Return the rates around the optimum with loss <= best + tolerance * (initial - best).

    Args:
        rates: (num_rates,) distinct, positive, any order.
        values: (num_rates,) one value a rate (mean over seeds); diverged = `terms.worst`.
        initial: the value at step 0, finite.
        direction: of the values.
        tolerance: share of the improvement that may be lost, in (0, 1).
    """
    grid, cells = _on_grid(rates, [np.atleast_1d(v) for v in np.asarray(values, dtype=np.float64)], direction)
    costs = np.concatenate(cells)
    start = sign(direction) * _finite_initial(initial)
    best = int(np.argmin(costs))
    if not costs[best] < start:
        return Unavailable("no rate got better than the initial value")
    inside = costs <= costs[best] + tolerance * (start - costs[best])
    outside = np.flatnonzero(~inside)
    low = int(outside[outside < best].max(initial=-1)) + 1
    high = int(outside[outside > best].min(initial=grid.size)) - 1
    return Basin(
        low=float(grid[low]),
        high=float(grid[high]),
        width=math.log10(grid[high] / grid[low]),
        best_rate=float(grid[best]),
        open_low=low == 0,
        open_high=high == grid.size - 1,
        optimum_at_edge=best in (0, grid.size - 1),
    )


def _on_grid(
    rates: npt.ArrayLike, values: Sequence[npt.ArrayLike], direction: Direction
) -> tuple[FloatArray, list[FloatArray]]:
    grid = np.asarray(rates, dtype=np.float64)
    if grid.ndim != 1 or grid.size != len(values) or grid.size == 0:
        raise ValueError(f"one entry of values a rate is needed, got {len(values)} for {grid.size} rates")
    if not (np.isfinite(grid) & (grid > 0)).all() or np.unique(grid).size != grid.size:
        raise ValueError(f"rates must be positive, finite and distinct, got {grid.tolist()}")
    order = np.argsort(grid)
    cells = [as_costs(values[i], direction=direction) for i in order]
    if min(cell.size for cell in cells) == 0:
        raise ValueError("a rate has no value; leave it out of the grid of every schedule, and say so")
    return grid[order], cells


def _finite_initial(initial: float) -> float:
    if not math.isfinite(initial):
        raise ValueError(f"the value at step 0 must be finite, got {initial}")
    return initial
