"""Quantities of one run, read off its curve of evaluations (docs/metrics.md, rows 1, 2 and 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrbench.analysis.statistics.terms import BoolArray, Direction, FloatArray, Unavailable, sign
from lrbench.results.schema import as_floats
from lrbench.spec import RunState

COLLAPSE = 0.25  # share of its own improvement


@dataclass(frozen=True)
class Curve:
    """The evaluations of one run at which a metric was measured, by increasing step.

    Attributes:
        steps: (num_evaluations,) updates completed, strictly increasing; empty if the metric was never
            measured.
        values: (num_evaluations,) of the metric; NaN or infinite where the run had diverged.
        seconds: (num_evaluations,) of training up to there, or None if any is missing.
        total_steps: the budget.
        state: how the run ended.
        batch_size: examples a step, or None if unknown.
    """

    steps: FloatArray
    values: FloatArray
    seconds: FloatArray | None
    total_steps: int
    state: RunState
    batch_size: int | None


@dataclass(frozen=True)
class TimeToTarget:
    """When a run reached a target (`observed`), or up to when it is known not to have."""

    value: float
    observed: bool


def curves_of(frame: pd.DataFrame, *, metric: str) -> dict[str, Curve]:
    """Split the tidy frame into one curve of a metric per run, keyed by run_id.

    Rows where the metric is missing are no evaluations of it; a run without any has an empty curve, so that
    no run disappears. NaN stays.

    Raises:
        ValueError: the frame has no such column, or a run has two rows of one step.
    """
    if metric not in frame.columns:
        raise ValueError(f"no metric {metric!r} in the frame; it has {sorted(map(str, frame.columns))}")
    rows = frame.sort_values(["run_id", "step"], kind="stable", ignore_index=True)
    if rows.duplicated(["run_id", "step"]).any():
        repeated = rows.loc[rows.duplicated(["run_id", "step"]), "run_id"].iloc[0]
        raise ValueError(f"run {repeated!r} has two rows of one step; keep the last written of them")
    if rows.empty:
        return {}
    values, missing = as_floats(rows[metric])
    steps = rows["step"].to_numpy(dtype=np.float64)
    seconds, no_seconds = _seconds(rows)
    firsts = np.flatnonzero(~rows["run_id"].duplicated().to_numpy(dtype=bool))
    runs = rows.iloc[firsts]
    sizes = runs["batch_size"] if "batch_size" in runs.columns else pd.Series(pd.NA, index=runs.index)
    curves = {}
    bounds = zip(firsts, [*firsts[1:], len(rows)], strict=True)
    facts = zip(runs["run_id"], runs["budget"], runs["state"], sizes, strict=True)
    for (start, stop), (run_id, budget, state, size) in zip(bounds, facts, strict=True):
        here = np.flatnonzero(~missing[start:stop]) + start
        curves[str(run_id)] = Curve(
            steps=steps[here],
            values=values[here],
            seconds=None if no_seconds[here].any() else seconds[here],
            total_steps=int(budget),
            state=RunState(state),
            batch_size=None if pd.isna(size) else int(size),
        )
    return curves


def check_cadence(curves: Mapping[str, Curve]) -> FloatArray:
    """Return the evaluation steps that all runs share, or refuse: times are only as fine as the grid.

    A run that stopped early must agree up to its last evaluation. A NaN at its end is where it diverged, which may be
    between two evaluations, and is none.

    Raises:
        ValueError: two runs were evaluated at different steps; names both and the first difference.
    """
    if not curves:
        raise ValueError("there are no curves to compare")
    evaluated = {
        run_id: curve.steps[:-1] if len(curve.steps) and np.isnan(curve.values[-1]) else curve.steps
        for run_id, curve in curves.items()
    }
    longest = max(evaluated, key=lambda run_id: len(evaluated[run_id]))
    reference = evaluated[longest]
    for run_id, steps in evaluated.items():
        differs = np.flatnonzero(steps != reference[: len(steps)])
        if differs.size:
            at = differs[0]
            raise ValueError(
                f"unequal evaluation cadence: evaluation {at} is at step {steps[at]:g} in {run_id!r} "
                f"and at step {reference[at]:g} in {longest!r}; evaluate all runs at the same steps"
            )
    return reference


def final_value(steps: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Return the value at the largest step, also when it is NaN: a run that ends in NaN ended in NaN.

    Args:
        steps: (num_evaluations,) distinct, any order.
        values: (num_evaluations,).
    """
    return float(_by_step(steps, values)[1][-1])


def final_mean(steps: npt.ArrayLike, values: npt.ArrayLike, *, num_evaluations: int = 3) -> float | None:
    """Return the mean of the last evaluations; None when there are fewer, NaN if one is NaN."""
    last = _by_step(steps, values)[1][-num_evaluations:]
    if len(last) < num_evaluations:
        return None
    with np.errstate(invalid="ignore"):
        return float(last.mean())


def best_value(steps: npt.ArrayLike, values: npt.ArrayLike, *, direction: Direction) -> float:
    """Return the best finite value of the run, NaN if none is. Optimistic: it picks a maximum of noise."""
    _, ordered = _by_step(steps, values)
    finite = ordered[np.isfinite(ordered)]
    return sign(direction) * float(np.min(sign(direction) * finite)) if finite.size else float("nan")


def has_collapsed(steps: npt.ArrayLike, values: npt.ArrayLike, *, direction: Direction) -> bool:
    """Whether a run lost over a quarter (`COLLAPSE`) of its own improvement again, without any value being infinite.

    Such a run has not diverged as docs/metrics.md defines it: its last loss is finite and below the first. Its final
    value counts, as bad as it is. Overfitting looks the same.
    """
    _, ordered = _by_step(steps, values)
    first, last = ordered[0], ordered[-1]
    if not (np.isfinite(first) and np.isfinite(last)):
        return False
    best = best_value(steps, values, direction=direction)
    return bool(abs(last - best) > COLLAPSE * abs(first - best) > 0)


def time_to_target(
    times: npt.ArrayLike, values: npt.ArrayLike, *, target: float, direction: Direction, end: float
) -> TimeToTarget:
    """Return the time of the first evaluation at which the target is reached, inclusive, not interpolated.

    Non-finite evaluations are skipped.

    Args:
        times: (num_evaluations,) steps, samples or seconds.
        values: (num_evaluations,) of the target's metric.
        target: finite.
        direction: of the metric.
        end: where a run that never reached it is censored, in the unit of `times`; see `censoring_step`.
    """
    ordered, reached = _reached(times, values, target, direction)
    return TimeToTarget(float(ordered[np.argmax(reached)]), True) if reached.any() else TimeToTarget(end, False)


def sustained_time_to_target(
    times: npt.ArrayLike, values: npt.ArrayLike, *, target: float, direction: Direction, end: float
) -> TimeToTarget:
    """Return the time of the first evaluation from which on the target stays reached to the last one.

    A NaN after the hit ends it: a run that diverged did not stay. Arguments as in `time_to_target`.
    """
    ordered, reached = _reached(times, values, target, direction)
    if not reached[-1]:
        return TimeToTarget(end, False)
    return TimeToTarget(float(ordered[np.flatnonzero(~reached)[-1] + 1 if not reached.all() else 0]), True)


def censoring_step(steps: npt.ArrayLike, *, total_steps: int, state: RunState) -> float:
    """Return up to which step a run that never reached a target is known not to have.

    `incomplete`: its last evaluation. `ok` and `diverged`: the whole budget, since a diverged run would not
    have reached it either, and censoring it early would count as "might still have".
    """
    return float(np.max(np.asarray(steps))) if state is RunState.INCOMPLETE else float(total_steps)


def censoring_seconds(
    seconds: npt.ArrayLike, steps: npt.ArrayLike, *, total_steps: int, state: RunState
) -> float | Unavailable:
    """Return `censoring_step` in seconds; past the end of a diverged run, extrapolated from its own pace."""
    last_step, last_second = float(np.max(np.asarray(steps))), float(np.max(np.asarray(seconds)))
    if state is RunState.INCOMPLETE:
        return last_second
    if last_step == 0:
        return Unavailable("a run that was evaluated only at step 0 has no pace")
    return last_second * total_steps / last_step


def anytime_area(
    steps: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    target: float,
    total_steps: int,
    state: RunState,
    direction: Direction,
) -> float | Unavailable:
    """Return the mean height of the curve over the budget, 0 = the value at step 0, 1 = the target.

    (1/T) * integral of max(0, (y - y_init) / (target - y_init)) by the trapezoid rule on the actual steps.
    From the first non-finite value on, and past the end of a diverged run, the level is that of step 0.
    Diagnostic only: it punishes schedules that decay late.

    Args:
        steps: (num_evaluations,) updates completed.
        values: (num_evaluations,).
        target: finite.
        total_steps: the budget T.
        state: of the run.
        direction: of the metric.
    """
    at, ordered = _by_step(steps, values)
    if at[0] != 0 or not np.isfinite(ordered[0]):
        return Unavailable("the run has no finite evaluation at step 0")
    if not sign(direction) * target < sign(direction) * ordered[0]:
        return Unavailable(f"the target {target:g} is not better than the value at step 0, {ordered[0]:g}")
    if state is not RunState.DIVERGED and at[-1] < total_steps:
        return Unavailable(f"the run was last evaluated at step {at[-1]:g} of {total_steps}")
    broken = np.maximum.accumulate(~np.isfinite(ordered))
    height = np.zeros_like(ordered)
    height[~broken] = np.maximum(0.0, (ordered[~broken] - ordered[0]) / (target - ordered[0]))
    return float(np.trapezoid(height, at)) / total_steps


def _by_step(steps: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    at, measured = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if at.ndim != 1 or at.shape != measured.shape or at.size == 0:
        raise ValueError(f"a curve needs as many values as steps, at least one; got {at.shape} and {measured.shape}")
    if (at[1:] > at[:-1]).all():  # as almost all curves come
        return at, measured
    order = np.argsort(at, kind="stable")
    if (np.diff(at[order]) == 0).any():
        raise ValueError("a curve has two values at one step; keep the last written of them")
    return at[order], measured[order]


def _reached(
    times: npt.ArrayLike, values: npt.ArrayLike, target: float, direction: Direction
) -> tuple[FloatArray, BoolArray]:
    if not np.isfinite(target):
        raise ValueError(f"a target must be finite, got {target}")
    ordered, measured = _by_step(times, values)
    with np.errstate(invalid="ignore"):
        good = sign(direction) * measured <= sign(direction) * target
    return ordered, good & np.isfinite(measured)


def _seconds(rows: pd.DataFrame) -> tuple[FloatArray, BoolArray]:
    if "time/seconds" not in rows.columns:
        return np.full(len(rows), np.nan), np.ones(len(rows), dtype=bool)
    seconds, missing = as_floats(rows["time/seconds"])
    return seconds, missing
