"""Cells: the seeds of one schedule on one workload, their summary, and their bootstrap.

`Cells` is `cells[workload][schedule]`, each an array of shape (num_seeds,), one value a seed, of any length.
A diverged seed, or one that missed its target, is the worst value (`terms.worst`); a cell that was not run is
empty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    NUM_RESAMPLES,
    TIE_TOLERANCE,
    Direction,
    FloatArray,
    Interval,
    Unavailable,
    as_costs,
    sign,
    worst,
)

Cells = Sequence[Sequence[FloatArray]]
Statistic = Callable[[FloatArray], FloatArray]  # costs (..., num_seeds) -> (...)


@dataclass(frozen=True)
class MeanOfSeeds:
    """One cell: the mean over seeds that did not diverge, "over num_ok of num_seeds".

    Attributes:
        mean: Unavailable when there is no seed, or all diverged.
        sd: standard deviation (ddof 1) over those seeds; None below three.
        interval: Student t of the mean, within the domain of the metric; None below three, and where the seeds do not
            vary, which is no certainty.
        num_ok: seeds in the mean.
        num_seeds: all seeds.
    """

    mean: float | Unavailable
    sd: float | None
    interval: Interval | None
    num_ok: int
    num_seeds: int


def worst_if_diverged(values: npt.ArrayLike, diverged: npt.ArrayLike, *, direction: Direction) -> FloatArray:
    """Replace the final values of diverged runs, whatever they printed, by the worst value.

    Args:
        values: (num_seeds,).
        diverged: (num_seeds,) bool.
        direction: of the values.

    Raises:
        ValueError: a run that did not diverge has a non-finite value.
    """
    array, mask = np.asarray(values, dtype=np.float64), np.asarray(diverged, dtype=bool)
    if not np.isfinite(array[~mask]).all():
        raise ValueError("a run that is not marked diverged has a non-finite value")
    return np.where(mask, worst(direction), array)


def summarise(
    values: npt.ArrayLike,
    *,
    direction: Direction,
    domain: tuple[float, float] = (-np.inf, np.inf),
    level: float = 0.95,
    nothing: str = "no run finished",
) -> MeanOfSeeds:
    """Summarise the seeds of one cell with Student's t (scipy), which keeps its level from three seeds on.

    The percentile bootstrap covers 77 % instead of 95 % at three seeds (docs/metrics.md, fact 4).

    Args:
        values: (num_seeds,); diverged = worst.
        direction: of the values.
        domain: of the values; a bound beyond it would only say what cannot be.
        level: of the interval, in (0, 1).
        nothing: why there is no mean where there is no seed.
    """
    costs = as_costs(values, direction=direction)
    ok = sign(direction) * costs[np.isfinite(costs)]
    if ok.size == 0:
        reason = f"all {costs.size} runs diverged" if costs.size else nothing
        return MeanOfSeeds(Unavailable(reason), None, None, 0, costs.size)
    centre = float(ok.mean())
    if ok.size < MIN_SEEDS:
        return MeanOfSeeds(centre, None, None, ok.size, costs.size)
    sd = float(ok.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, ok.size - 1)) * sd / np.sqrt(ok.size)
    interval = None
    if half > TIE_TOLERANCE * abs(centre):
        interval = Interval(max(domain[0], centre - half), min(domain[1], centre + half), level, "Student t")
    return MeanOfSeeds(centre, sd, interval, ok.size, costs.size)


def mean(costs: FloatArray) -> FloatArray:
    """Mean along the last axis: inf with one diverged seed, so that divergence ranks last and is not just left out."""
    return np.asarray(costs.mean(axis=-1), dtype=np.float64)


def median(costs: FloatArray) -> FloatArray:
    """Smallest cost that half of the seeds do not exceed, along the last axis; inf (a miss) counts.

    For times it is the first evaluation by which half of the runs had reached the target: Kaplan and Meier's median
    where every run finished. Never a time between two evaluations, at which nothing was measured.
    """
    middle = (costs.shape[-1] - 1) // 2
    return np.asarray(np.partition(costs, middle, axis=-1)[..., middle], dtype=np.float64)


def matrix(cells: Cells, *, statistic: Statistic, direction: Direction) -> FloatArray:
    """Reduce every cell over its seeds.

    Returns:
        (num_workloads, num_schedules) in the unit and direction of the values; NaN where a cell was not run.
    """
    rows = [[statistic(as_costs(cell, direction=direction)) if len(cell) else np.nan for cell in row] for row in cells]
    return sign(direction) * np.array(rows, dtype=np.float64)


def bootstrap(
    cells: Cells,
    *,
    statistic: Statistic,
    direction: Direction,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> FloatArray | None:
    """Resample the seeds of every cell with replacement (stratified by cell) and reduce each resample.

    Cells are resampled independently, schedules too: conclusions must not lean on the pairing of seeds.

    Returns:
        (num_resamples, num_workloads, num_schedules), or None when any cell has fewer than three seeds.
    """
    if any(len(cell) < MIN_SEEDS for row in cells for cell in row):
        return None
    resampled = np.empty((num_resamples, len(cells), len(cells[0])))
    for w, row in enumerate(cells):
        for s, cell in enumerate(row):
            costs = as_costs(cell, direction=direction)
            resampled[:, w, s] = statistic(costs[rng.integers(len(costs), size=(num_resamples, len(costs)))])
    return sign(direction) * resampled


def percentile_intervals(samples: FloatArray, *, level: float = 0.95) -> list[Interval]:
    """Read percentile intervals off bootstrap samples of shape (num_resamples, n), one interval per column.

    Percentiles are samples themselves, never interpolated: half-way to an infinity is no number.
    """
    if np.isnan(samples).any():
        raise ValueError("bootstrap samples must not be NaN")
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return [
        Interval(float(a), float(b), level, "stratified percentile bootstrap") for a, b in zip(low, high, strict=True)
    ]
