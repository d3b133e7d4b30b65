"""What all statistics share: direction, interval, ties, and a result that says why there is no result.

Conventions of the whole package. NaN in an input means "not run" and is refused or named. A run that diverged
is the worst possible value (`worst`), which ranks last and stays out of means. A target that was not reached
is a pair (time, observed=False); it becomes inf only in medians of times and in what is built on them.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Direction = Literal["minimize", "maximize"]

MIN_SEEDS = 3  # below it there are no intervals and no tests, only values
NUM_RESAMPLES = 10_000
TIE_TOLERANCE = 1e-9  # relative; float noise of sums and means is far below, real differences far above


@dataclass(frozen=True)
class Interval:
    """A confidence interval, its nominal level in (0, 1), and the method that made it."""

    low: float
    high: float
    level: float
    method: str

    def scaled(self, factor: float) -> "Interval":
        """The interval of `factor` times the quantity."""
        low, high = sorted((factor * self.low, factor * self.high))
        return Interval(low, high, self.level, self.method)


@dataclass(frozen=True)
class Unavailable:
    """A statistic that cannot be computed or a test that cannot be made; reads "not available: <reason>"."""

    reason: str


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with a Wilson interval; None below three."""

    count: int
    total: int
    interval: Interval | None

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.total


def wilson_share(count: int, total: int, *, level: float = 0.95) -> Share | Unavailable:
    """Estimate a share from counts (Wilson 1927, by scipy), honest also at 0 of n and n of n.

    Raises:
        ValueError: count is not within 0..total.
    """
    if not 0 <= count <= total:
        raise ValueError(f"a share needs 0 <= count <= total, got {count} of {total}")
    if total == 0:
        return Unavailable("there are no runs to count")
    if total < MIN_SEEDS:
        return Share(count, total, None)
    bounds = stats.binomtest(count, total).proportion_ci(confidence_level=level, method="wilson")
    return Share(count, total, Interval(float(bounds.low), float(bounds.high), level, "Wilson"))


def worst(direction: Direction) -> float:
    """Return the value that stands for a diverged run: inf where lower is better, -inf where higher is."""
    return np.inf if sign(direction) > 0 else -np.inf


def sign(direction: Direction) -> int:
    """Return the factor that turns a metric into a cost (lower is better): 1 to minimize, -1 to maximize.

    Raises:
        ValueError: the direction is any other word.
    """
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    return 1 if direction == "minimize" else -1


def as_costs(values: npt.ArrayLike, *, direction: Direction) -> FloatArray:
    """Turn values of any shape into costs, lower is better, so that the rest has one direction.

    Raises:
        ValueError: a value is NaN (not run), or infinite in the good direction, which no run can be.
    """
    costs = sign(direction) * np.asarray(values, dtype=np.float64)
    if np.isnan(costs).any():
        raise ValueError(
            f"{int(np.isnan(costs).sum())} of {costs.size} values are NaN (not run); keep complete cells "
            "only, and mark diverged runs as worst(direction)"
        )
    if np.isneginf(costs).any():
        raise ValueError(f"a value is infinitely good ({-worst(direction)} with direction={direction})")
    return costs


def without_noise(values: npt.ArrayLike, *, tolerance: float = TIE_TOLERANCE) -> FloatArray:
    """Make values that differ by float noise exactly equal, along the last axis.

    Neighbours in sorted order that are within `tolerance`, relative to the larger magnitude of the two,
    become the smaller one. Rounding to digits would not do: 1 - 1e-17 and 1 + 1e-17 may round apart.

    Args:
        values: (..., n), no NaN; infinities equal themselves only.
        tolerance: relative.

    Returns:
        (..., n), float64.
    """
    array = np.asarray(values, dtype=np.float64)
    order = np.argsort(array, axis=-1, kind="stable")
    ascending = np.take_along_axis(array, order, axis=-1)
    left, right = ascending[..., :-1], ascending[..., 1:]
    finite = np.isfinite(left) & np.isfinite(right)
    with np.errstate(invalid="ignore"):
        apart = np.where(finite, right - left > tolerance * np.maximum(abs(left), abs(right)), left != right)
    starts = np.concatenate([np.ones((*array.shape[:-1], min(1, array.shape[-1])), bool), apart], axis=-1)
    first_of_group = np.maximum.accumulate(np.where(starts, np.arange(array.shape[-1]), 0), axis=-1)
    merged = np.empty_like(array)
    np.put_along_axis(merged, order, np.take_along_axis(ascending, first_of_group, axis=-1), axis=-1)
    return merged


def stats_extra(module: str) -> ModuleType:
    """Import a module of the optional extra `stats`.

    Raises:
        ValueError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this test needs {module.partition('.')[0]}, of the extra `stats`: pip install 'lr-schedule-bench[stats]'"
        ) from error
