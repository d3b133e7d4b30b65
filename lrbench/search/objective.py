"""What a trial is judged by: values for Optuna from the curves of its runs, and the line below which runs are cut."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from lrbench.spec import direction_of

Objective = Literal["final", "anytime"]
_FEWEST_TO_PRUNE = 4  # complete trials before a line is drawn

ValueByStep = Mapping[int, float]


def objective_value(objective: Objective, curves: Sequence[ValueByStep], *, worst: float) -> float:
    """Judge a trial by the mean over its runs.

    Args:
        objective: `final` is the last value of the validation metric; `anytime` its mean over the training, by the
            trapezoid rule on steps, so that speed counts.
        curves: validation metric by step, one a tuning seed; NaN where the run had diverged.
        worst: stands for values that do not exist, so that a diverged trial is the worst one and not an error.

    Returns:
        A finite number.
    """
    return float(np.mean([_of_curve(objective, curve, worst) for curve in curves]))


def worst_value(metric: str, curves: Sequence[ValueByStep]) -> float:
    """The value of a run that diverged: no share, or no better than before the first step."""
    first = [curve[min(curve)] for curve in curves if curve and math.isfinite(curve[min(curve)])]
    if direction_of(metric) == "maximize":
        return min([0.0, *first])
    return max(first, default=1e6)


def mean_curve(curves: Sequence[ValueByStep], *, worst: float) -> dict[int, float]:
    """Mean over runs at the steps that all of them have been evaluated at; steps must be >= 0."""
    if not curves:
        return {}
    common = sorted(set.intersection(*(set(curve) for curve in curves)))
    return {step: float(np.mean([_finite(curve[step], worst) for curve in curves])) for step in common}


def prune_lines(
    trials: Sequence[FrozenTrial], *, share: float, from_fraction: float, total_steps: int, direction: str
) -> dict[int, float]:
    """Draw the line that a run must not miss, at equal fractions of one budget.

    Args:
        trials: finished ones that the new trial may know of.
        share: of complete trials that would be cut at each step, in (0, 1).
        from_fraction: of the budget, before which nobody is cut, in [0, 1).
        total_steps: the budget.
        direction: maximize or minimize.

    Returns:
        Value by step; empty while too few trials are complete.
    """
    curves = [trial.intermediate_values for trial in trials if trial.state is TrialState.COMPLETE]
    if len(curves) < _FEWEST_TO_PRUNE:
        return {}
    steps = set.intersection(*(set(curve) for curve in curves))
    quantile = share if direction == "maximize" else 1 - share
    return {
        step: float(np.quantile([curve[step] for curve in curves], quantile))
        for step in sorted(steps)
        if from_fraction * total_steps <= step < total_steps
    }


def _of_curve(objective: Objective, curve: ValueByStep, worst: float) -> float:
    steps = sorted(curve)
    values = [_finite(curve[step], worst) for step in steps]
    if objective == "final" or len(steps) < 2:
        return values[-1] if values else worst
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def _finite(value: float, worst: float) -> float:
    return value if math.isfinite(value) else worst
