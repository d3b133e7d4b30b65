"""Learning curves of the compared runs, and the rates that made them."""

import numpy as np

from lrbench.analysis.cells import median
from lrbench.analysis.field import Field
from lrbench.analysis.model import LearningCurve
from lrbench.analysis.terms import MIN_SEEDS, FloatArray, as_costs, sign, worst


def learning_curves_of(field: Field) -> list[LearningCurve]:
    """Reduce the runs of every schedule to a median and a range at each evaluation."""
    return [_curve(field, scheduler) for scheduler in field.compared]


def _curve(field: Field, scheduler: str) -> LearningCurve:
    runs = field.runs(scheduler)
    steps = np.unique(np.concatenate([run.curve.steps for run in runs]))
    values, lrs = (np.full((len(steps), len(runs)), np.nan) for _ in range(2))
    present = np.zeros((len(steps), len(runs)), dtype=bool)
    for column, run in enumerate(runs):
        rows = np.searchsorted(steps, run.curve.steps)
        measured = run.curve.values
        values[rows, column] = np.where(np.isfinite(measured), measured, worst(field.direction))
        present[rows, column] = True
        lrs[rows, column] = run.lrs
    middle, low, high, rates = [], [], [], []
    for row, there, lr in zip(values, present, lrs, strict=True):
        here = row[there]
        finite = here[np.isfinite(here)]
        middle.append(_or_none(sign(field.direction) * float(median(as_costs(here, direction=field.direction)))))
        banded = finite.size >= MIN_SEEDS
        low.append(float(finite.min()) if banded else None)
        high.append(float(finite.max()) if banded else None)
        rates.append(_median_or_none(lr))
    return LearningCurve(
        workload=field.facts.name,
        scheduler=scheduler,
        steps=tuple(float(step) for step in steps),
        middle=tuple(middle),
        low=tuple(low),
        high=tuple(high),
        rates=tuple(rates),
        num_runs=len(runs),
    )


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _median_or_none(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else None
