"""Recorded runs as the tidy frame of `lrbench.results`, from any tracking store.

Only runs that lrbench recorded are read, and of those the trainings: not the studies and reports that sum them up,
unless asked for by their role. One row is one evaluation; a run without any has no row. The rate at an evaluation is
the point of `lr` at that very step. Where a point was stored twice, the later one counts.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lrbench.results import BY_NAME, COLUMNS, sort_rows
from lrbench.spec import RunState
from lrbench.tracking.database import SCHEMES, scheme_of
from lrbench.tracking.names import unescape_key
from lrbench.tracking.tables import Tables

_METRICS = [c.name for c in COLUMNS if c.level == "evaluation" and c.dtype == "Float64"]
_SUMMARIES = ("study", "report")  # roles of what is no training
# MLflow stores infinity as the largest double.
_LARGEST = np.finfo(np.float64).max


def read_runs(
    tracking_uri: str,
    *,
    experiments: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read evaluations into the tidy frame.

    Args:
        tracking_uri: absolute `sqlite:///`, another database, or the address of a server.
        experiments: names of MLflow experiments, None for all.
        tags: keep the runs that carry all of these, e.g. {"role": "study"}; None for all trainings.

    Returns:
        The columns of `results.COLUMNS`, then one column per config value under its dotted name (Int64,
        Float64, boolean or string). `state` is `incomplete` for a run that has not ended.

    Raises:
        ValueError: unknown kind of URI, no database there, or no such experiment (lists those that exist).
    """
    scheme = scheme_of(tracking_uri)
    if scheme not in SCHEMES:
        raise ValueError(f"tracking.uri must start with one of {list(SCHEMES)}, got {tracking_uri!r}")
    if scheme in ("http", "https"):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from lrbench.tracking.read_api import read_tables
    else:
        from lrbench.tracking.read_sql import read_tables
    return assemble(read_tables(tracking_uri, experiments, _METRICS), tags=tags or {})


def assemble(tables: Tables, *, tags: Mapping[str, str]) -> pd.DataFrame:
    """Build the tidy frame from raw tables, column by column.

    Args:
        tables: as a store delivers them, in any order.
        tags: runs without all of these are left out; without a role among them, also those that sum others up.
    """
    about = _pivot(tables.tags)
    runs = tables.runs.set_index("run_id")
    runs = runs.join(about[about.columns.difference(runs.columns)])
    for name, value in tags.items():
        runs = runs[runs[name] == value] if name in runs else runs[:0]
    if "role" not in tags and "role" in runs:
        runs = runs[~runs["role"].isin(_SUMMARIES)]
    runs = runs.sort_index()
    points = _last_points(tables.points, runs.index)
    # Every evaluation has its seconds; the many points of `lr` in between are no evaluations.
    evaluated = points.loc[points["key"] != "lr", ["run", "step"]]
    rows = pd.MultiIndex.from_frame(evaluated.drop_duplicates().sort_values(["run", "step"]))
    of_run = rows.get_level_values("run").to_numpy(dtype=np.int64)
    steps = rows.get_level_values("step").to_numpy(dtype=np.int64)

    params = _pivot(tables.params[tables.params["run_id"].isin(runs.index)]).reindex(runs.index)
    params.columns = pd.Index([unescape_key(name) for name in params.columns])
    run_level = _run_columns(runs, params)
    data: dict[str, object] = {}
    for column in COLUMNS:
        if column.name == "step":
            data["step"] = pd.array(steps, dtype="Int64")
        elif column.name == "samples":
            data["samples"] = data["step"] * data["batch_size"]  # type: ignore[operator]
        elif column.level == "evaluation":
            data[column.name] = _metric_column(points[points["key"] == column.name], rows)
        else:
            data[column.name] = run_level[column.name].take(of_run)
    for name in sorted(set(params.columns) - set(BY_NAME)):
        data[name] = _typed(params[name]).take(of_run)
    return sort_rows(pd.DataFrame(data))


def _run_columns(runs: pd.DataFrame, params: pd.DataFrame) -> dict[str, pd.api.extensions.ExtensionArray]:
    """The run-level columns, one value per run: from MLflow's own fields, else the tag, else the param."""
    # The batch size is no tag of its own accord: nobody groups by it.
    aliases = {"batch_size": "training.batch_size"}
    columns: dict[str, pd.api.extensions.ExtensionArray] = {}
    for column in (c for c in COLUMNS if c.level == "run"):
        values = pd.Series(None, index=runs.index, dtype=object)
        if column.name == "run_id":
            values = runs.index.to_series()
        elif column.name in runs:
            values = runs[column.name]
        for name in (column.name, aliases.get(column.name)):
            if name in params:
                values = values.where(values.notna(), params[name])
        if column.name == "state":
            values = values.where(values.notna(), str(RunState.INCOMPLETE))
        if column.dtype == "Int64":
            values = pd.to_numeric(values)
        columns[column.name] = values.astype(column.dtype).array
    return columns


def _last_points(points: pd.DataFrame, run_ids: pd.Index) -> pd.DataFrame:
    """Points of the given runs (`run` is the run's position); of repeated ones the last by timestamp."""
    points = points.assign(run=run_ids.get_indexer(pd.Index(points["run_id"]))).drop(columns="run_id")
    points = points[points["run"] >= 0]
    value = points["value"].to_numpy(dtype=np.float64)
    value = np.where(np.abs(value) >= _LARGEST, np.copysign(np.inf, value), value)
    points = points.assign(value=value)
    # The value is the tie-breaker, so that the order in which a store delivers does not matter; NaN is last.
    points = points.sort_values(["run", "key", "step", "timestamp", "value"], kind="stable")
    return points.drop_duplicates(["run", "key", "step"], keep="last")


def _metric_column(points: pd.DataFrame, rows: pd.MultiIndex) -> pd.arrays.FloatingArray:
    """One metric at the rows (run, step): missing where it has no point, NaN where its point is NaN."""
    index = pd.MultiIndex.from_frame(points[["run", "step"]])
    position = index.get_indexer(rows)
    missing = position < 0
    values = np.zeros(len(rows))
    values[~missing] = points["value"].to_numpy(dtype=np.float64)[position[~missing]]
    return pd.arrays.FloatingArray(values, missing)


def _pivot(pairs: pd.DataFrame) -> pd.DataFrame:
    """Long (run_id, key, value) to one row per run and one column per key; absent pairs are None."""
    wide = pairs.astype(object).pivot(index="run_id", columns="key", values="value")
    return wide.astype(object).where(wide.notna(), None)


def _typed(texts: pd.Series) -> pd.api.extensions.ExtensionArray:
    """Give a column of config values its type back; "null" is missing, as is an absent value."""
    texts = texts.where(texts != "null", None)
    present = texts[texts.notna()]
    if present.isin(["true", "false"]).all():
        return texts.map({"true": True, "false": False}).astype("boolean").array
    try:
        numbers = [float(text) for text in present]
    except ValueError:
        return texts.replace('""', "").astype("string").array
    if present.str.fullmatch(r"-?\d{1,18}").all():
        return texts.map(int, na_action="ignore").astype("Int64").array
    values = np.zeros(len(texts))
    values[texts.notna().to_numpy()] = numbers
    return pd.arrays.FloatingArray(values, texts.isna().to_numpy())
