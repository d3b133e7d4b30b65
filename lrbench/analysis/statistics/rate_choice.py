"""The base rate that tuning chooses, and what the choice adds to the schedule's uncertainty (docs/metrics.md).

What is compared is a schedule with its tuning. Fresh seeds at one chosen rate do not show that another tuning would
have chosen another rate, with another loss. The choice is the lowest point of a parabola through the rungs around the
best cell, not that cell; its variance is estimated by leaving out one tuning seed at a time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.terms import FloatArray

FEWEST_RUNGS = 3
FEWEST_TUNING_SEEDS = 3
_RUNG = np.log(10) / 2  # of the default ladder, in the logarithm of the rate


@dataclass(frozen=True)
class TunedRate:
    """The choice of one schedule on one workload.

    Attributes:
        rate: chosen base rate, within the ladder.
        variance: of the expected log cost at the chosen rate, over choices: slope squared times
            variance of the log rate.
        at_edge: the lowest point is an end of the ladder, so a better rate may lie beyond.
    """

    rate: float
    variance: float
    at_edge: bool


def choice_variance(rates: npt.ArrayLike, costs: FloatArray) -> float:
    """Variance that the choice of the rate adds to a mean log cost; 0 where the ladder is too small to tell.

    Args:
        rates: (num_rungs,) ascending, above 0.
        costs: (num_tuning_seeds, num_rungs); a negative one has no logarithm. No error at all on a small validation
            split counts as half of the smallest error, as when the rate was chosen.
    """
    if len(costs) < FEWEST_TUNING_SEEDS or costs.shape[1] < FEWEST_RUNGS:
        return 0.0
    if not (costs >= 0).all() or not (costs > 0).any():
        return 0.0
    return tuned_rate(rates, np.maximum(costs, costs[costs > 0].min() / 2)).variance


def tuned_rate(rates: npt.ArrayLike, costs: npt.ArrayLike) -> TunedRate:
    """Choose the rate by least squares of log cost on log rate and its square.

    Args:
        rates: (num_rungs,) ascending, above 0, at least three.
        costs: (num_tuning_seeds, num_rungs) above 0, lower is better, at least three seeds; a diverged run has the cost
            at step 0.

    Raises:
        ValueError: a number of the two is too small, or a value is not finite and above 0.
    """
    at, values = np.asarray(rates, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if values.ndim != 2 or at.shape != values.shape[1:] or at.size < FEWEST_RUNGS or len(values) < FEWEST_TUNING_SEEDS:
        raise ValueError(
            f"a rate is chosen from {FEWEST_TUNING_SEEDS} tuning seeds on {FEWEST_RUNGS} rungs or more, got costs of "
            f"shape {values.shape} for {at.size} rates"
        )
    if (
        not (np.isfinite(values) & (values > 0)).all()
        or not (np.isfinite(at) & (at > 0)).all()
        or (np.diff(at) <= 0).any()
    ):
        raise ValueError("rates must ascend and costs be finite, both above 0; a diverged run has the cost at step 0")
    x, y = np.log(at), np.log(values)
    lowest, slope = lowest_nearby(x, y.mean(axis=0))
    total, t = y.sum(axis=0), len(y)
    without = np.array([lowest_nearby(x, (total - row) / (t - 1))[0] for row in y])
    spread = (t - 1) / t * float(((without - without.mean()) ** 2).sum())
    at_edge = bool(lowest <= x[0] or lowest >= x[-1])
    return TunedRate(float(np.exp(lowest)), slope**2 * spread, at_edge)


def lowest_nearby(log_rates: npt.ArrayLike, log_costs: npt.ArrayLike) -> tuple[float, float]:
    """Lowest point of the parabola through what lies within two rungs of the best cell, at most half a rung from it.

    A rate at which training diverges bends a parabola through all rungs so far that its lowest point is a bad one.

    Args:
        log_rates: (num_rungs,) ascending, at least three.
        log_costs: (num_rungs,) mean over seeds.

    Returns:
        Log rate, and root mean square slope of the parabola. The best cell where fewer than three rungs are near.
    """
    x, y = np.asarray(log_rates, dtype=np.float64), np.asarray(log_costs, dtype=np.float64)
    best = x[y.argmin()]
    near = abs(x - best) <= 2.01 * _RUNG
    if near.sum() < FEWEST_RUNGS:
        return float(best), float(parabola(x, y)[1])
    vertex, slope = parabola(x[near], y[near])
    return float(np.clip(vertex, best - _RUNG / 2, best + _RUNG / 2)), float(slope)


def parabola(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest point within x of the least-squares parabola through (x, y), and its root mean square slope at x.

    Args:
        x: (num_rungs,).
        y: (..., num_rungs).

    Returns:
        (...) each. The lowest point is the best cell where the parabola opens downwards.
    """
    middle = x - x.mean()  # of a log rate, for the condition of the fit
    fit = y @ np.linalg.pinv(np.stack([np.ones_like(x), middle, middle**2], axis=1)).T
    linear, bend = fit[..., 1], fit[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(bend > 0, x.mean() - linear / (2 * bend), x[y.argmin(axis=-1)])
    slopes = linear[..., None] + 2 * bend[..., None] * middle
    return np.clip(vertex, x[0], x[-1]), np.sqrt((slopes**2).mean(axis=-1))
