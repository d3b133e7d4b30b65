"""Targets, frozen as numbers before anything is ranked (docs/metrics.md, row 3)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.terms import Direction, FloatArray, Unavailable, as_costs, sign

LADDER = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Target:
    """A value of the validation metric, where it came from, and the schedule it was made from, if any."""

    value: float
    source: str
    self_referential_for: str | None = None


def absolute_target(value: float) -> Target:
    """Take the target from the config.

    Raises:
        ValueError: it is not finite.
    """
    if not np.isfinite(value):
        raise ValueError(f"an absolute target must be finite, got {value}")
    return Target(value, "absolute, from the config")


def constant_target(final_values: npt.ArrayLike, *, direction: Direction) -> Target | Unavailable:
    """Take the median final validation value of the tuned `constant`, diverged runs counting as worst.

    Args:
        final_values: (num_seeds,); diverged = `terms.worst`.
        direction: of the metric.
    """
    costs = as_costs(final_values, direction=direction)
    if costs.size == 0:
        return Unavailable("the schedule 'constant' was not run")
    middle = float(np.median(costs))
    if not np.isfinite(middle):
        return Unavailable("half of the runs of 'constant' or more diverged")
    return Target(sign(direction) * middle, f"median final value of constant over {costs.size} seeds", "constant")


def ladder(*, initial: float, best: float, direction: Direction) -> FloatArray | Unavailable:
    """Return targets at .5 .75 .9 .95 .99 and 1 of the way from the initial to the best value seen.

    Returns:
        (6,) values of the metric, each harder than the one before.

    Raises:
        ValueError: a value is not finite.
    """
    if not (np.isfinite(initial) and np.isfinite(best)):
        raise ValueError(f"a ladder needs finite ends, got initial={initial}, best={best}")
    if not sign(direction) * best < sign(direction) * initial:
        return Unavailable(f"no run got better than the initial value {initial:g}")
    steps = initial + np.array(LADDER) * (best - initial)
    steps[-1] = best  # initial + (best - initial) may miss best by one rounding, and then nobody reaches it
    return steps
