"""Probability of improvement of all pairs at once (METRICS.md, row 12).

`aggregates.probability_of_improvement` does one pair. For a whole field the seeds of every cell are resampled
once and shared by all pairs, which is the same bootstrap at a fraction of the time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.aggregates import Improvement
from lrbench.analysis.statistics.cells import Cells, percentile_intervals
from lrbench.analysis.statistics.terms import MIN_SEEDS, Direction, FloatArray, as_costs, without_noise

_Counts = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairImprovement:
    """First over second (column numbers): on each workload, and averaged over all of them."""

    first: int
    second: int
    by_workload: tuple[Improvement, ...]
    overall: Improvement


def improvements(
    cells: Cells, *, direction: Direction, rng: np.random.Generator, num_resamples: int, level: float
) -> Iterator[PairImprovement]:
    """Compare all pairs of schedules.

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
    counts = [[_counts(cell.size, rng, num_resamples) for cell in row] for row in costs]
    num_schedules = len(costs[0])
    for first in range(num_schedules):
        for second in range(first + 1, num_schedules):
            tables = [_wins(row[first], row[second]) for row in costs]
            samples = [
                _resampled(drawn[first], table, drawn[second]) for table, drawn in zip(tables, counts, strict=True)
            ]
            values = [float(table.mean()) for table in tables]
            known = [sample for sample in samples if sample is not None]
            overall = np.asarray(np.mean(known, axis=0)) if len(known) == len(tables) else None
            yield PairImprovement(
                first,
                second,
                tuple(_improvement(v, s, 1, level) for v, s in zip(values, samples, strict=True)),
                _improvement(float(np.mean(values)), overall, len(tables), level),
            )


def _counts(size: int, rng: np.random.Generator, num_resamples: int) -> _Counts | None:
    """How often each seed is drawn, (num_resamples, size): all that a resample of a mean needs."""
    if size < MIN_SEEDS:
        return None
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


def _resampled(first: _Counts | None, table: FloatArray, second: _Counts | None) -> FloatArray | None:
    """Share of pairs won in every resample, (num_resamples,); None below three seeds."""
    if first is None or second is None:
        return None
    won = np.einsum("bj,bj->b", first @ table.astype(np.float32), second)
    return np.asarray(won, dtype=np.float64) / table.size


def _improvement(value: float, samples: FloatArray | None, num_workloads: int, level: float) -> Improvement:
    if samples is None:
        return Improvement(value, None, num_workloads)
    return Improvement(value, percentile_intervals(samples[:, None], level=level)[0], num_workloads)
