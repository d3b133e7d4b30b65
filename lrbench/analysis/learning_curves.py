"""Learning curves of the compared runs, and the rates that made them."""

import math

import numpy as np

from lrbench.analysis.field import Field
from lrbench.analysis.model import LearningCurve
from lrbench.analysis.statistics.terms import MIN_SEEDS, FloatArray, worst
from lrbench.spec import RunState


def learning_curves_of(field: Field) -> list[LearningCurve]:
    """Reduce the runs of every schedule to a median and a range at each evaluation."""
    return [_curve(field, scheduler) for scheduler in field.compared]


def _curve(field: Field, scheduler: str) -> LearningCurve:
    runs = field.runs(scheduler)
    steps = np.unique(np.concatenate([run.curve.steps for run in runs]))
    values, lrs = (np.full((len(steps), len(runs)), np.nan) for _ in range(2))
    for column, run in enumerate(runs):
        rows = np.searchsorted(steps, run.curve.steps)
        measured = run.curve.values
        values[rows, column] = np.where(np.isfinite(measured), measured, worst(field.direction))
        lrs[rows, column] = run.lrs
        if run.state is RunState.DIVERGED:  # else the median would be that of the survivors
            values[rows[-1] + 1 :, column] = worst(field.direction)
    finite = np.isfinite(values)
    banded = finite.sum(axis=1) >= MIN_SEEDS
    low = np.where(banded, np.where(finite, values, np.inf).min(axis=1), np.nan)
    high = np.where(banded, np.where(finite, values, -np.inf).max(axis=1), np.nan)
    return LearningCurve(
        workload=field.facts.name,
        scheduler=scheduler,
        steps=tuple(float(step) for step in steps),
        middle=_or_none(_medians(values)),
        low=_or_none(low),
        high=_or_none(high),
        rates=_or_none(_medians(lrs)),
        num_runs=len(runs),
    )


def _medians(values: FloatArray) -> FloatArray:
    """Median of each row, NaN left out: (num_rows, num_runs) to (num_rows,), NaN where a row has nothing else.

    numpy's nanmedian goes row by row in Python, which for many evaluations takes longer than all other statistics.
    """
    ascending = np.sort(values, axis=1)  # NaN last
    counts = (~np.isnan(values)).sum(axis=1)
    rows = np.arange(len(values))
    # Of a row without any number both places hold NaN.
    return np.asarray((ascending[rows, (counts - 1) // 2] + ascending[rows, counts // 2]) / 2)


def _or_none(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())
