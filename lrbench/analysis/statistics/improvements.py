"""Probability of improvement (docs/metrics.md, row 12; Agarwal et al. 2021)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.cells import Cells, percentile_intervals
from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    Direction,
    FloatArray,
    Interval,
    as_costs,
    without_noise,
)

_Counts = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Improvement:
    """Probability that a run of the first schedule beats a run of the second.

    Attributes:
        value: 0 to 1; ties count half.
        interval: stratified bootstrap over workloads and seeds; None on one workload, where so few seeds give one far
            too narrow, and where a cell has fewer than three.
        num_workloads: averaged over; with one, valid for that workload only.
    """

    value: float
    interval: Interval | None
    num_workloads: int

    @property
    def meaningful(self) -> bool:
        """Whether the interval lies above one half and the estimate is at least three quarters."""
        return self.interval is not None and self.interval.low > 0.5 and self.value >= 0.75


@dataclass(frozen=True)
class PairImprovement:
    """First over second (column numbers)."""

    first: int
    second: int
    improvement: Improvement


def improvement(first: npt.ArrayLike, second: npt.ArrayLike, *, direction: Direction) -> Improvement:
    """Return Mann and Whitney's U / (n_A * n_B) on one workload: the share of pairs of runs won, ties half.

    Args:
        first: (num_seeds,), at least one; diverged = `terms.worst`.
        second: (num_seeds,), the number may differ.
        direction: of the values.
    """
    a, b = as_costs(first, direction=direction), as_costs(second, direction=direction)
    return Improvement(float(_wins(a, b).mean()), None, 1)


def improvements(
    cells: Cells, *, direction: Direction, rng: np.random.Generator, num_resamples: int, level: float
) -> Iterator[PairImprovement]:
    """Average over workloads, for all pairs of schedules at once.

    The seeds of every cell are resampled once and shared by all pairs, which is the same bootstrap at a fraction of the
    time.

    Args:
        cells: [workload][schedule], none empty; diverged = `terms.worst`.
        direction: of the values.
        rng: for the bootstrap, stratified by workload and schedule.
        num_resamples: of the bootstrap.
        level: of the intervals.

    Yields:
        (0, 1), (0, 2), ..., (1, 2), ...
    """
    costs = [[as_costs(cell, direction=direction) for cell in row] for row in cells]
    has_interval = len(costs) > 1 and min(cell.size for row in costs for cell in row) >= MIN_SEEDS
    counts = [[_counts(cell.size, rng, num_resamples) for cell in row] for row in costs] if has_interval else []
    for first in range(len(costs[0])):
        for second in range(first + 1, len(costs[0])):
            tables = [_wins(row[first], row[second]) for row in costs]
            value, interval = float(np.mean([table.mean() for table in tables])), None
            if has_interval:
                drawn = [_resampled(row[first], t, row[second]) for t, row in zip(tables, counts, strict=True)]
                interval = percentile_intervals(np.mean(drawn, axis=0)[:, None], level=level)[0]
            yield PairImprovement(first, second, Improvement(value, interval, len(tables)))


def _counts(size: int, rng: np.random.Generator, num_resamples: int) -> _Counts:
    """How often each seed is drawn, (num_resamples, size): all that a resample of a mean needs."""
    # Draws counted in one go: numpy's multinomial takes six times as long.
    draws = rng.integers(size, size=(num_resamples, size)) + size * np.arange(num_resamples)[:, None]
    counts = np.bincount(draws.ravel(), minlength=num_resamples * size).reshape(num_resamples, size)
    # Whole numbers far below 2**24, so that half the memory loses nothing.
    return counts.astype(np.float32)


def _wins(first: FloatArray, second: FloatArray) -> FloatArray:
    """Table (num_first, num_second): 1 where the first costs less, 1/2 where equal up to float noise."""
    both = without_noise(np.concatenate([first, second]))
    a, b = both[: first.size, None], both[None, first.size :]
    return np.asarray((a < b) + 0.5 * (a == b), dtype=np.float64)


def _resampled(first: _Counts, table: FloatArray, second: _Counts) -> FloatArray:
    """Share of pairs won in every resample, (num_resamples,)."""
    won = np.einsum("bj,bj->b", first @ table.astype(np.float32), second)
    return np.asarray(won, dtype=np.float64) / table.size
