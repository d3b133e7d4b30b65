"""Ranks of schedules, and how far they can be trusted (docs/metrics.md, rows 5 and 14, fact 5).

A score matrix has shape (..., num_workloads, num_schedules): seed means or medians, diverged = `terms.worst`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.cells import Cells, Statistic, bootstrap, matrix, percentile_intervals
from lrbench.analysis.statistics.terms import NUM_RESAMPLES, Direction, FloatArray, Interval, as_costs, without_noise

Overall = Callable[[FloatArray], FloatArray]  # (..., num_workloads, num_schedules) -> (..., num_schedules)


@dataclass(frozen=True)
class Flip:
    """Two schedules (column numbers) whose order reverses when a third one leaves the field."""

    left_out: int
    ahead: int  # in the whole field
    behind: int


@dataclass(frozen=True)
class RankInterval:
    """Rank of a schedule in the field, its bootstrap interval, and how often it is first (ties share)."""

    rank: float
    interval: Interval
    share_first: float


def ranks(scores: npt.ArrayLike, *, direction: Direction) -> FloatArray:
    """Rank along the last axis, 1 = best, ties averaged; values within 1e-9 relative are ties.

    Args:
        scores: (..., num_schedules).
        direction: of the scores.

    Returns:
        (..., num_schedules).
    """
    costs = without_noise(as_costs(scores, direction=direction))
    return np.asarray(stats.rankdata(costs, method="average", axis=-1), dtype=np.float64)


def mean_ranks(scores: npt.ArrayLike, *, direction: Direction) -> FloatArray:
    """Average over workloads the ranks within each, complete blocks only.

    Args:
        scores: (..., num_workloads, num_schedules).
        direction: of the scores.

    Returns:
        (..., num_schedules).

    Raises:
        ValueError: a cell was not run.
    """
    return np.asarray(ranks(scores, direction=direction).mean(axis=-2))


def leave_one_out_flips(scores: npt.ArrayLike, *, overall: Overall, direction: Direction) -> list[Flip]:
    """List the pairs that swap places when one other schedule leaves the field; a tie is no swap.

    A score relative to the field depends on who else takes part: dropping AlgoPerf v0.5's 8th place swaps its
    first two.

    Args:
        scores: (num_workloads, num_schedules).
        overall: reduces a matrix to one number a schedule, from scratch for every field.
        direction: of the result of `overall`.
    """
    array = np.asarray(scores, dtype=np.float64)
    everyone = range(array.shape[-1])
    whole = ranks(overall(array), direction=direction)
    flips = []
    for left_out in everyone:
        rest = [s for s in everyone if s != left_out]
        reduced = dict(zip(rest, ranks(overall(array[..., rest]), direction=direction) if rest else (), strict=True))
        flips += [
            Flip(left_out, ahead, behind)
            for ahead in rest
            for behind in rest
            if whole[ahead] < whole[behind] and reduced[ahead] > reduced[behind]
        ]
    return flips


def rank_intervals(
    cells: Cells,
    *,
    statistic: Statistic,
    direction: Direction,
    overall: Overall,
    overall_direction: Direction,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> list[RankInterval] | None:
    """Bootstrap the seeds of every cell and rank the schedules in every resample.

    Args:
        cells: [workload][schedule], none empty.
        statistic: reduces the seeds of a cell, `cells.ok_mean` or `cells.median`.
        direction: of the values in the cells.
        overall: (..., num_workloads, num_schedules) -> (..., num_schedules).
        overall_direction: of the result of `overall`.
        rng: explicit, its seed belongs in the report.
        num_resamples: of the bootstrap.
        level: of the intervals.

    Returns:
        One entry a schedule, or None when a cell has fewer than three seeds, or with one workload, where a bootstrap of
        so few values is far too narrow.
    """
    if len(cells) < 2:
        return None
    resampled = bootstrap(cells, statistic=statistic, direction=direction, rng=rng, num_resamples=num_resamples)
    if resampled is None:
        return None
    point = ranks(overall(matrix(cells, statistic=statistic, direction=direction)), direction=overall_direction)
    places = ranks(overall(resampled), direction=overall_direction)
    first = places == places.min(axis=-1, keepdims=True)
    shares = (first / first.sum(axis=-1, keepdims=True)).mean(axis=0)
    intervals = percentile_intervals(places, level=level)
    return [RankInterval(float(p), i, float(s)) for p, i, s in zip(point, intervals, shares, strict=True)]
