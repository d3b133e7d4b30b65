"""From a table of raw columns to the tidy frame: types, repeated rows, and what was left out.

What is absent is completed, and a warning says so:

* `workload`: dataset, model, optimizer, batch size and budget joined, those that there are; else "default",
* `seed`: 0,
* `run_id`: workload, scheduler, seed and `optimizer.lr`, which must then tell runs apart,
* `budget`: the largest step of the workload, not of the run: a killed run must not look like a short finished one,
* `samples`: step * batch_size,
* `state`: by `spec.run_state`, see `judge_states`.

Whether a metric is better when larger is never concluded from its name.
"""

import math
import warnings

import numpy as np
import pandas as pd

from lrbench.results.schema import BY_NAME, COLUMNS, as_floats, check_frame, sort_rows
from lrbench.spec import run_state

METRICS = ("train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy")
_STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")
# What a workload is, with what stands before and behind each part of its name.
_WORKLOAD = {
    "dataset": ("", ""), "model": ("", ""), "optimizer": ("", ""), "batch_size": ("b", ""), "budget": ("", "steps"),
}  # fmt: skip
_LOSSES = ("val/loss", "train/loss")


def merge_repeated(frame: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Merge the rows of one (run_id, step); in each column those that are not missing must be equal.

    A frame without `run_id` gets one here, since it decides what is repeated.

    Raises:
        ValueError: two rows contradict each other; names both, and the value.
    """
    if "run_id" not in frame.columns:
        frame = _with_run_ids(frame, source=source)
    _required(frame, "run_id", source)
    _required(frame, "step", source)
    repeated = frame.duplicated(["run_id", "step"], keep=False)
    if not repeated.any():
        return frame
    some = frame[repeated]
    group = some.groupby(["run_id", "step"], sort=False).ngroup().to_numpy()
    merged = some[~some.duplicated(["run_id", "step"])].copy()
    for name in some.columns.difference(["run_id", "step"]):
        codes = _codes(some[name])
        known = np.flatnonzero(codes >= 0)
        groups, first = np.unique(group[known], return_index=True)
        source_row = np.full(len(merged), -1)
        source_row[groups] = known[first]
        differs = known[codes[known] != codes[source_row[group[known]]]]
        if len(differs):
            other, this = some.iloc[source_row[group[differs[0]]]], some.iloc[differs[0]]
            raise ValueError(
                f"{source}: rows {other.name} and {this.name} contradict each other: run {this['run_id']!r}, step "
                f"{this['step']} has {name} = {other[name]} and {this[name]} ({len(differs)} such rows); keep one of "
                "them, or give each run its own run_id"
            )
        merged[name] = some[name].array.take(source_row, allow_fill=True)
    return pd.concat([frame[~repeated], merged])


def complete_frame(frame: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Fill in what is absent (see the module), order the rows, and check the result.

    Args:
        frame: typed, with run_id, step and scheduler; (run_id, step) unique.
        source: for messages.

    Raises:
        ValueError: a cell of an indispensable column is empty, a step is negative or beyond the budget, a word is not
            one of the schema's, or a run-level column changes within a run.
    """
    for name in ("run_id", "step", "scheduler"):
        _required(frame, name, source)
    below = frame.index[(frame["step"] < 0).to_numpy(dtype=bool)]
    if len(below):
        raise ValueError(f"{source}: step must be at least 0, row {below[0]} has {frame.loc[below[0], 'step']}")
    frame, assumed = _with_defaults(frame)
    for name, words in (("status", _STATUSES), ("state", ("ok", "diverged", "incomplete"))):
        strange = sorted(set(frame[name].dropna()) - set(words))
        if strange:
            raise ValueError(f"{source}: {name} must be one of {', '.join(words)}, got {strange}")
    extra = sorted(set(frame.columns) - set(BY_NAME))
    frame = sort_rows(frame[[*BY_NAME, *extra]])
    beyond = frame[(frame["step"] > frame["budget"]).to_numpy(dtype=bool)]
    if len(beyond):
        run_id, step, budget = beyond[["run_id", "step", "budget"]].iloc[0]
        raise ValueError(f"{source}: run {run_id!r} has step {step}, beyond its budget of {budget} steps")
    check_frame(frame)
    frame["state"] = frame["state"].fillna(judge_states(frame))
    if assumed:
        warnings.warn(f"{source}: not in the file, so assumed: {', '.join(assumed)}", stacklevel=2)
    return frame


def judge_states(frame: pd.DataFrame) -> pd.Series:
    """Say of every row how its run ended.

    `diverged`: its last train or validation loss (without a loss, its last metric) is not finite, or it finished with a
    validation loss above the one at step 0. Where step 0 was not evaluated, only the former can be known. Finished is a
    run whose last evaluation is at most one of its evaluation intervals (their median) before its budget, since many
    trainers evaluate after steps 0, k, 2k ... and stop at the budget without a last evaluation; a tracker's status
    other than FINISHED overrules that.

    Args:
        frame: ordered by run and step, all columns of the schema.

    Returns:
        "string" series, index of the frame.
    """
    names = [name for name in _LOSSES if frame[name].notna().any()]
    names = names or [name for name in METRICS if frame[name].notna().any()]
    measured = [as_floats(frame[name]) for name in names]
    losses, no_loss = as_floats(frame["val/loss"])
    steps, budgets = frame["step"].to_numpy(dtype=np.int64), frame["budget"].to_numpy(dtype=np.int64)
    starts = np.flatnonzero(~frame["run_id"].duplicated().to_numpy())
    stops = np.append(starts[1:], len(frame))
    states = np.empty(len(frame), dtype=object)
    statuses = frame["status"].astype(object).to_numpy()
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        run = slice(start, stop)
        last_values = [values[run][~missing[run]][-1:] for values, missing in measured]
        broken = not all(np.isfinite(value).all() for value in last_values)
        known = losses[run][~no_loss[run]]
        status, budget, last_step = statuses[start], int(budgets[start]), int(steps[stop - 1])
        interval = float(np.median(np.diff(steps[run]))) if stop - start > 1 else 0.0
        finished = last_step + interval >= budget and (pd.isna(status) or status == "FINISHED")
        states[run] = str(
            run_state(
                first_loss=known[0] if len(known) and steps[start] == 0 and not no_loss[start] else math.inf,
                last_loss=math.nan if broken else known[-1] if len(known) else 0.0,
                last_step=budget if finished else min(last_step, budget - 1),
                total_steps=budget,
            )
        )
    return pd.Series(states, index=frame.index, dtype="string")


def _with_run_ids(frame: pd.DataFrame, *, source: str) -> pd.DataFrame:
    keys = [name for name in ("workload", "scheduler", "seed", "optimizer.lr") if name in frame.columns]
    _required(frame, "scheduler", source)
    points = frame[keys].drop_duplicates()
    names = ["/".join(f"{key}={value}" for key, value in zip(keys, row, strict=True)) for row in points.to_numpy()]
    ids = pd.array(names, dtype="string").take(frame.groupby(keys, sort=False, dropna=False).ngroup().to_numpy())
    warnings.warn(f"{source}: no run_id, so runs are told apart by {', '.join(keys)}", stacklevel=3)
    return frame.assign(run_id=ids)


def _with_defaults(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Add every column of the schema, and say which values were assumed."""
    assumed = []
    absent = {c.name: c.dtype for c in COLUMNS if c.name not in frame.columns}
    frame = frame.reindex(columns=[*frame.columns, *absent]).astype(absent)
    if frame["workload"].isna().any():
        # Columns that are there but empty in a run name nothing.
        named = [name for name in _WORKLOAD if frame[name].notna().any()]
        joined = pd.Series("", index=frame.index, dtype="string")
        for name in named:
            before, after = _WORKLOAD[name]
            joined += f"-{before}" + frame[name].astype("string").fillna("") + after
        frame["workload"] = frame["workload"].fillna(joined.str.removeprefix("-") if named else "default")
        assumed.append("workload = " + ("-".join(named) if named else "default"))
    if frame["seed"].isna().any():
        frame["seed"] = frame["seed"].fillna(0)
        assumed.append("seed = 0")
    if frame["budget"].isna().any():
        frame["budget"] = frame["budget"].fillna(frame.groupby("workload")["step"].transform("max"))
        assumed.append("budget = largest step of the workload")
    frame["samples"] = frame["samples"].fillna(frame["step"] * frame["batch_size"])
    return frame, assumed


def _required(frame: pd.DataFrame, name: str, source: str) -> None:
    empty = frame[name].isna()
    if BY_NAME[name].dtype == "string":
        empty |= frame[name] == ""
    if empty.any():
        raise ValueError(
            f"{source}: {name} ({BY_NAME[name].meaning}) must not be empty; it is in {int(empty.sum())} rows, "
            f"first in row {frame.index[empty.to_numpy(dtype=bool)][0]}"
        )


def _codes(column: pd.Series) -> np.ndarray:
    """Number equal values alike: (num_rows,), -1 where missing; NaN equals NaN."""
    if isinstance(column.dtype, pd.Float64Dtype):
        values, missing = as_floats(column)
        codes = np.unique(values, return_inverse=True, equal_nan=True)[1]
        return np.where(missing, -1, codes)
    return pd.factorize(column)[0]
