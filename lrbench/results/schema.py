"""The tidy frame: one row = one evaluation of one run, whatever the source.

Column names are the words of the command line and of MLflow: parameters under their dotted config path
(`optimizer.lr`, `scheduler.gamma`), metrics under their tracker name (`val/loss`).

Five different things, told apart everywhere:

* missing: `<NA>` (the metric was not measured at this evaluation); float columns are pandas `Float64` with a mask,
* NaN: a real NaN value inside the column (the run had diverged when it was evaluated),
* inf: +-inf,
* diverged: `state == "diverged"`, a property of the run,
* censored: belongs to analysis results (a target not reached by the end), never to this frame.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    """One column of the frame: its pandas dtype, whether it belongs to the run or the evaluation, its meaning."""

    name: str
    dtype: Literal["string", "Int64", "Float64"]
    level: Literal["run", "evaluation"]
    meaning: str
    required: bool = False


COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "run", "unique id of the run", required=True),
    Column("run_name", "string", "run", "readable name, e.g. cosine-s0"),
    Column("experiment", "string", "run", "name of the MLflow experiment"),
    Column("workload", "string", "run", "dataset + model + optimizer + batch size + budget", required=True),
    Column("scheduler", "string", "run", "name of the schedule", required=True),
    Column("model", "string", "run", "name of the model"),
    Column("dataset", "string", "run", "name of the dataset"),
    Column("optimizer", "string", "run", "name of the optimizer"),
    Column("seed", "Int64", "run", "replicate: initial weights and batch order"),
    Column("budget", "Int64", "run", "planned steps of the run", required=True),
    Column("batch_size", "Int64", "run", "examples per step"),
    Column("endpoint", "string", "run", "validation metric by which the run was judged"),
    Column("role", "string", "run", "run, tuning (trial of a study), final (fresh seed), range_test, study or report"),
    Column("study", "string", "run", "study the run belongs to"),
    Column("trial", "Int64", "run", "number of the trial within its study"),
    Column("status", "string", "run", "the tracker's status: RUNNING, FINISHED, FAILED, KILLED"),
    Column("state", "string", "run", "ok, diverged or incomplete (lrbench.spec.RunState)", required=True),
    Column("fingerprint", "string", "run", "digest of everything in the config that shapes the curve"),
    Column("commit", "string", "run", "git commit of the code"),
    Column("device", "string", "run", "device the run trained on"),
    Column("step", "Int64", "evaluation", "updates completed, 0 = before the first", required=True),
    Column("samples", "Int64", "evaluation", "training examples seen: step * batch_size"),
    Column("time/seconds", "Float64", "evaluation", "training seconds up to here, evaluations excluded"),
    Column("lr", "Float64", "evaluation", "rate of the last update before this evaluation"),
    Column("train/loss", "Float64", "evaluation", "mean batch loss since the previous evaluation"),
    Column("val/loss", "Float64", "evaluation", "loss on the validation split"),
    Column("val/accuracy", "Float64", "evaluation", "accuracy on the validation split, 0 to 1"),
    Column("test/loss", "Float64", "evaluation", "loss on the test split; last evaluation only"),
    Column("test/accuracy", "Float64", "evaluation", "accuracy on the test split, 0 to 1; last evaluation only"),
)

BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}


def domain_of(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest value that a metric can have: accuracies are shares, whatever their split."""
    return (0.0, 1.0) if metric.endswith("accuracy") else (-math.inf, math.inf)


def check_domain(frame: pd.DataFrame, metric: str, *, source: str) -> None:
    """Refuse values that a metric cannot have, such as accuracies in percent.

    Raises:
        ValueError: names the run, the step and the value.
    """
    low, high = domain_of(metric)
    values, missing = as_floats(frame[metric])
    with np.errstate(invalid="ignore"):
        outside = np.flatnonzero(~missing & np.isfinite(values) & ((values < low) | (values > high)))
    if outside.size:
        run_id, step = frame[["run_id", "step"]].iloc[outside[0]]
        raise ValueError(
            f"{source}: {metric} must be within {low:g} and {high:g}; run {run_id!r} has {values[outside[0]]:g} at "
            f"step {step} ({outside.size} such rows); write shares, not percent"
        )


def float_column(values: Iterable[float | None]) -> pd.arrays.FloatingArray:
    """Build a Float64 array in which None is missing (`<NA>`) and NaN stays NaN.

    pandas' own constructors turn NaN into `<NA>`, which would make a diverged run look unmeasured.
    """
    items = list(values)
    mask = np.array([item is None for item in items], dtype=bool)
    data = np.array([0.0 if item is None else float(item) for item in items], dtype=np.float64)
    return pd.arrays.FloatingArray(data, mask)


def as_floats(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Split a Float64 column into its values and the mask of what is missing.

    Returns:
        `(values, missing)`, both of shape (num_rows,): float64 with NaN only where the run had diverged (and an
        arbitrary number where missing), and bool.
    """
    missing = (
        column.isna().to_numpy() if isinstance(column.dtype, pd.Float64Dtype) else np.zeros(len(column), dtype=bool)
    )
    return column.to_numpy(dtype=np.float64, na_value=0.0 if missing.any() else np.nan), missing


def frame_from_rows(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Build the tidy frame from one mapping per evaluation; absent or None entries are missing.

    Columns not in `COLUMNS` (parameters such as `optimizer.lr`) are kept as they are, after the known ones.
    """
    extra = sorted({name for row in rows for name in row} - set(BY_NAME))
    data: dict[str, object] = {}
    for column in COLUMNS:
        values = [row.get(column.name) for row in rows]
        if column.dtype == "Float64":
            data[column.name] = float_column(cast("list[float | None]", values))
        else:
            data[column.name] = pd.Series(values, dtype=column.dtype)
    for name in extra:
        data[name] = _parameter_column([row.get(name) for row in rows])
    return sort_rows(pd.DataFrame(data))


def _parameter_column(values: list[object]) -> "pd.api.extensions.ExtensionArray":
    """Type a parameter by its values: all numbers make a Float64 column, anything else strings."""
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return float_column(cast("list[float | None]", values))
    return pd.array([None if value is None else str(value) for value in values], dtype="string")


def sort_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Order rows by run, then step; the curve of a run is its rows in order."""
    return frame.sort_values(["run_id", "step"], kind="stable", ignore_index=True)


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse a frame that breaks the schema.

    Raises:
        ValueError: a required column is absent (lists those present), a (run_id, step) pair occurs twice, or a
            run-level column changes within a run.
    """
    absent = [c.name for c in COLUMNS if c.required and c.name not in frame.columns]
    if absent:
        raise ValueError(f"the frame needs the columns {absent}; it has {sorted(frame.columns)}")
    twice = frame.duplicated(["run_id", "step"])
    if twice.any():
        example = frame.loc[twice, ["run_id", "step"]].iloc[0].tolist()
        raise ValueError(f"(run_id, step) must be unique; {int(twice.sum())} rows repeat one, e.g. {example}")
    run_level = [c.name for c in COLUMNS if c.level == "run" and c.name in frame.columns and c.name != "run_id"]
    distinct = frame.groupby("run_id", sort=False)[run_level].nunique(dropna=False)
    mixed = distinct.columns[(distinct > 1).any()].tolist()
    if mixed:
        run_id = distinct.index[(distinct > 1).any(axis=1)][0]
        raise ValueError(f"run {run_id!r} has more than one value of {mixed}; these belong to the whole run")
