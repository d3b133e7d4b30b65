"""Aggregates over workloads and seeds (docs/metrics.md, row 13; Agarwal et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.cells import Cells, matrix, mean, percentile_intervals
from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    NUM_RESAMPLES,
    TIE_TOLERANCE,
    BoolArray,
    Direction,
    FloatArray,
    Interval,
    as_costs,
)


@dataclass(frozen=True)
class Estimate:
    """A number with its stratified bootstrap interval; None where a stratum has fewer than three seeds."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class NormalisedFinals:
    """Final values on the scale 0 = `constant`, 1 = best schedule of the workload.

    Attributes:
        cells: [workload with headroom][schedule], each (num_seeds,); -inf = diverged.
        headroom: (num_workloads,) False where `constant` is (as good as) the best, so that the scale does not
            exist; list these workloads, they are left out.
    """

    cells: list[list[FloatArray]]
    headroom: BoolArray


def normalised_finals(cells: Cells, *, constant: int, direction: Direction) -> NormalisedFinals:
    """Put final values on the scale (y - y_constant) / (y_best - y_constant) of each workload.

    y_constant and y_best are means over seeds, of `constant` and of the best schedule; they are held fixed in the
    bootstrap that follows.

    Args:
        cells: [workload][schedule], none empty; diverged = `terms.worst`.
        constant: column number of the schedule `constant`.
        direction: of the values.

    Raises:
        ValueError: a cell is empty (not run).
    """
    means = as_costs(matrix(cells, statistic=mean, direction=direction), direction=direction)
    reference, best = means[:, constant], means.min(axis=-1)
    with np.errstate(invalid="ignore"):
        # An infinite reference (a seed of constant diverged) has no scale either.
        headroom = np.isfinite(reference) & (reference - best > TIE_TOLERANCE * abs(reference))
    scaled = []
    for row, zero, one, kept in zip(cells, reference, best, headroom, strict=True):
        if kept:
            scaled.append([(as_costs(cell, direction=direction) - zero) / (one - zero) for cell in row])
    return NormalisedFinals(scaled, np.asarray(headroom, dtype=bool))


def interquartile_mean(
    strata: Sequence[npt.ArrayLike],
    *,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> Estimate:
    """Return the 25 % trimmed mean (scipy trim_mean) of one schedule's normalised finals, workloads pooled.

    Args:
        strata: one array of shape (num_seeds,) a workload, higher is better; -inf = diverged, and the result
            is -inf when more than the lower quarter diverged.
        rng: for the bootstrap, stratified by workload.
        num_resamples: of the bootstrap.
        level: of the interval.

    Raises:
        ValueError: no workload, an empty one, or NaN.
    """
    arrays = [-as_costs(values, direction="maximize") for values in strata]
    if not arrays or min(array.size for array in arrays) == 0:
        raise ValueError("an interquartile mean needs at least one workload, and a seed on each")
    value = float(stats.trim_mean(np.concatenate(arrays), 0.25))
    if min(array.size for array in arrays) < MIN_SEEDS:
        return Estimate(value, None)
    pooled = np.concatenate(
        [array[rng.integers(array.size, size=(num_resamples, array.size))] for array in arrays], axis=-1
    )
    means = np.asarray(stats.trim_mean(pooled, 0.25, axis=-1), dtype=np.float64)
    return Estimate(value, percentile_intervals(means[:, None], level=level)[0])
