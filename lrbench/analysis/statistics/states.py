"""How runs ended, always tabulated before anything else is said (docs/metrics.md, run states and row 8)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lrbench.analysis.statistics.terms import BoolArray, Direction, FloatArray, sign
from lrbench.results.schema import as_floats
from lrbench.spec import RunState

_LOSSES = ("val/loss", "train/loss")

Planned = Iterable[tuple[str, str, int]]  # (workload, scheduler, seed)

_Measured = tuple[FloatArray, FloatArray]  # steps and values of one metric of one run, missing ones left out


def last_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run: the one of its largest step, as it is.

    Not `groupby().last()`, which takes the last value that is not NaN and so hides that a run diverged.
    """
    ordered = frame.sort_values(["run_id", "step"], kind="stable")
    return ordered.drop_duplicates("run_id", keep="last").reset_index(drop=True)


def judged_states(frame: pd.DataFrame, *, metric: str, direction: Direction) -> pd.Series:
    """Judge every run by the metric in use, whatever its name; see `judge`.

    Args:
        frame: ordered by run and step, with every metric that was measured.
        metric: in use.
        direction: of it.

    Returns:
        "string" series, index of the frame: one state a run, in all its rows.

    Raises:
        ValueError: a recorded state is not one of ok, diverged, incomplete.
    """
    recorded = frame["state"].astype(object).to_numpy()
    known = (RunState.OK, RunState.DIVERGED, RunState.INCOMPLETE)
    unknown = sorted({str(state) for state in recorded} - set(known))
    if unknown:
        raise ValueError(f"state must be one of {[str(state) for state in known]}, got {unknown}")
    steps, budgets = frame["step"].to_numpy(dtype=np.float64), frame["budget"].to_numpy(dtype=np.float64)
    columns = [as_floats(frame[name]) if name in frame else None for name in (metric, *_LOSSES)]
    evaluated = _evaluated(frame, metric)
    starts = np.flatnonzero(~frame["run_id"].duplicated().to_numpy(dtype=bool))
    states = recorded.copy()
    for start, stop in zip(starts, [*starts[1:], len(frame)], strict=True):
        run = slice(start, stop)
        in_use, *losses = (_measured(column, steps, run) for column in columns)
        states[run] = judge(
            RunState(recorded[start]),
            in_use,
            sign=sign(direction),
            loss_is_finite=all(np.isfinite(values[-1:]).all() for _, values in losses),
            loss_has_risen=None if metric == _LOSSES[0] else _has_risen(*losses[0]),
            last_evaluation=steps[run][evaluated[run]].max(initial=0),
            last_step=steps[stop - 1],
            total_steps=budgets[start],
        )
    return pd.Series(states, index=frame.index, dtype="string")


def judge(
    recorded: RunState,
    in_use: _Measured,
    *,
    sign: int,
    loss_is_finite: bool,
    loss_has_risen: bool | None,
    last_evaluation: float,
    last_step: float,
    total_steps: float,
) -> RunState:
    """Return the state of one run in the metric in use.

    What was recorded stands, except that a run is `diverged` when the metric or a loss is not finite at its end, or
    when it finished worse than it began; and `incomplete` when the metric was not measured at the last evaluation. A
    loss that rose is no divergence of a metric that got better: with label noise, accuracy does while the loss rises.

    Args:
        recorded: by the source of the run.
        in_use: the metric.
        sign: 1 where lower is better, -1 where higher is.
        loss_is_finite: at the end, as far as losses were measured.
        loss_has_risen: whether the validation loss ended above its value at step 0; None where it was not measured, or
            is the metric in use.
        last_evaluation: step of the last row that is no line of a training log between two evaluations.
        last_step: step of the last row.
        total_steps: the budget.
    """
    steps, values = in_use
    if not values.size:
        return recorded
    if not (np.isfinite(values[-1]) and loss_is_finite):
        return RunState.DIVERGED
    change = sign * (values[-1] - values[0]) if steps[0] == 0 and np.isfinite(values[0]) else 0.0
    interval = float(np.median(np.diff(steps))) if steps.size > 1 else 0.0
    if recorded is RunState.DIVERGED:
        only_the_loss_rose = loss_has_risen and change < 0 and steps[-1] + interval >= total_steps
        return RunState.OK if only_the_loss_rose else RunState.DIVERGED
    ended_early = steps[-1] < last_evaluation or (steps[-1] < last_step and steps[-1] + interval <= last_step)
    if recorded is RunState.INCOMPLETE or ended_early:
        return RunState.INCOMPLETE
    return RunState.DIVERGED if change > 0 and loss_has_risen is not False else RunState.OK


def missing_runs(runs: pd.DataFrame, *, planned: Planned) -> list[tuple[str, str, int]]:
    """Return what was planned but is absent, in the order of the plan."""
    known = runs.dropna(subset=["seed"])
    present = {
        (str(w), str(s), int(seed))
        for w, s, seed in zip(known["workload"], known["scheduler"], known["seed"], strict=True)
    }
    return [cell for cell in dict.fromkeys(planned) if cell not in present]


def _measured(column: tuple[FloatArray, BoolArray] | None, steps: FloatArray, run: slice) -> _Measured:
    if column is None:
        return np.empty(0), np.empty(0)
    values, missing = column
    here = ~missing[run]
    return steps[run][here], values[run][here]


def _has_risen(steps: FloatArray, values: FloatArray) -> bool | None:
    """Whether a loss ended above its value at step 0; None where that is not known."""
    return bool(values[-1] > values[0]) if values.size and steps[0] == 0 else None


def _evaluated(frame: pd.DataFrame, metric: str) -> BoolArray:
    """Mark the rows that are evaluations: all but those with nothing but a training loss or a test metric."""

    def measured(prefixes: tuple[str, ...]) -> BoolArray:
        names = [name for name in map(str, frame.columns) if name == metric or name.startswith(prefixes)]
        return np.asarray(np.any([~as_floats(frame[name])[1] for name in names], axis=0))

    return measured(("val/",)) | ~measured(("train/", "test/"))
