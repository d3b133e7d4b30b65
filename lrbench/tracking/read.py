"""Recorded runs as the tidy frame of `lrbench.results.schema`, from any tracking store.

Only runs that lrbench recorded are read, and of those the trainings: not range tests, nor the studies and reports that
sum others up, unless asked for by their role. Of a run that was begun anew, because its code or data had changed or it
could not be resumed, the newest is read; `frame.attrs["num_superseded"]` says how many others there are. One row is one
evaluation; a run without any has no row. The rate at an evaluation is the point of `lr` at that very step. Where a
point was stored twice, the later one counts.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrbench.results.schema import BY_NAME, COLUMNS
from lrbench.spec import RunState
from lrbench.tracking.database import SCHEMES, scheme_of
from lrbench.tracking.names import unescape_key
from lrbench.tracking.tables import Points, Tables, pack, unpack

_NO_TRAININGS = ("study", "report", "range_test")  # roles
_ORIGIN = ("code", "data")  # tags: with the fingerprint, all that a result depends on
_RATE = "optimizer.lr"
Parameters = Literal["all", "varying"]
_Packed = npt.NDArray[np.int64]  # a run's place in the frame and a step (`tables.pack`), increasing
# MLflow stores infinity as the largest double.
_LARGEST = np.finfo(np.float64).max


def read_runs(
    tracking_uri: str,
    *,
    experiments: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    run_ids: Collection[str] | None = None,
    parameters: Parameters = "all",
) -> pd.DataFrame:
    """Read evaluations into the tidy frame.

    Args:
        tracking_uri: absolute `sqlite:///`, another database, or the address of a server.
        experiments: names of MLflow experiments, None for all.
        tags: keep the runs that carry all of these, e.g. {"role": "study"}; None for all trainings.
        run_ids: read these and no others, whatever they are; None for all.
        parameters: "varying" leaves out the config values that all runs share, most of the frame where runs are many;
            not the base rate, since a rate that all share is the first thing that an analysis must know.

    Returns:
        The columns of `results.COLUMNS`, then those of other metrics (`val/f1`), then one column per config value under
        its dotted name (Int64, Float64, boolean or string). Strings are Python's. `state` is `incomplete` for a run
        that has not ended.

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
    return assemble(read_tables(tracking_uri, experiments), tags=tags or {}, run_ids=run_ids, parameters=parameters)


def assemble(
    tables: Tables,
    *,
    tags: Mapping[str, str],
    run_ids: Collection[str] | None = None,
    parameters: Parameters = "all",
) -> pd.DataFrame:
    """Build the tidy frame from raw tables, column by column.

    Args:
        tables: as a store delivers them, in any order.
        tags: runs without all of these are left out; without a role among them, also those that are no trainings.
        run_ids: see `read_runs`.
        parameters: see `read_runs`.
    """
    about = _pivot(tables.tags)
    runs = tables.runs.set_index("run_id")
    runs = runs.join(about[about.columns.difference(runs.columns)])
    for name, value in tags.items():
        runs = runs[runs[name] == value] if name in runs else runs[:0]
    if run_ids is not None:
        runs = runs[runs.index.isin(run_ids)]
    elif "role" not in tags and "role" in runs:
        runs = runs[~runs["role"].isin(_NO_TRAININGS)]
    superseded = _superseded(runs) if run_ids is None else np.zeros(len(runs), bool)
    runs = runs[~superseded].sort_index()
    places = runs.index.get_indexer(pd.Index(tables.runs["run_id"]))  # -1 where the run is left out
    metrics = {unescape_key(key): points for key, points in tables.points.items()}
    rows = _rows(_curves(points, places).at for name, points in metrics.items() if name != "lr")
    of_run, steps = unpack(rows)

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
            data[column.name] = _metric_column(metrics.get(column.name), places, rows)
        else:
            data[column.name] = run_level[column.name].take(of_run)
    for name in sorted(set(metrics) - set(BY_NAME)):
        data[name] = _metric_column(metrics[name], places, rows)
    for name in sorted(set(params.columns) - set(data)):
        if parameters == "all" or name == _RATE or params[name].nunique(dropna=False) > 1:
            data[name] = _typed(params[name]).take(of_run)
    frame = pd.DataFrame(data, copy=False)
    frame.attrs["num_superseded"] = int(superseded.sum())
    return frame


def _superseded(runs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(num_runs,) whether a newer run of the same fingerprint took its place.

    One of other code or data does, and any does that of a run which did not finish.
    """
    if "fingerprint" not in runs:
        return np.zeros(len(runs), bool)
    facts = runs.reindex(columns=["fingerprint", *_ORIGIN, "status", "start_time"])
    facts[[*_ORIGIN]] = facts[[*_ORIGIN]].astype(object).fillna("")  # a column that no run has is one of floats
    # Of equal times the finished one is the newer: it went on where the other one ended.
    facts = facts.assign(is_finished=facts["status"] == "FINISHED")
    newest = facts.sort_values(["start_time", "is_finished"], kind="stable").drop_duplicates("fingerprint", keep="last")
    newest = newest.assign(newest=newest.index).set_index("fingerprint")[["newest", *_ORIGIN]]
    latest = newest.reindex(facts["fingerprint"]).set_index(facts.index)
    is_other = (latest[[*_ORIGIN]] != facts[[*_ORIGIN]]).any(axis=1) | ~facts["is_finished"]
    return (facts["fingerprint"].notna() & is_other & (latest["newest"] != facts.index)).to_numpy(dtype=bool)


@dataclass(frozen=True)
class _Curves:
    """One metric of all runs: `value` (num_points,) at the run and step `at`."""

    at: _Packed
    value: npt.NDArray[np.float64]


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
        # Strings as Python's: the rows of a run share one object, where Arrow copies its letters to each.
        dtype = pd.StringDtype("python") if column.dtype == "string" else column.dtype
        columns[column.name] = values.astype(dtype).array
    return columns


def _curves(points: Points, places: npt.NDArray[np.int64]) -> _Curves:
    """Order the points of a metric by their run's place in the frame, those of other runs left out, and by step."""
    place = places[points.run]
    at = pack(place, points.step)
    order = np.argsort(at, kind="stable")
    order = order[place[order] >= 0]
    value = points.value[order]
    return _Curves(at[order], np.where(np.abs(value) >= _LARGEST, np.copysign(np.inf, value), value))


def _rows(measured: Iterable[_Packed]) -> _Packed:
    """Every run and step at which any of these metrics was measured: the many points of `lr` are no evaluations."""
    rows = np.empty(0, np.int64)
    for at in measured:
        # Almost always there already, and a union would sort everything anew.
        if len(at) > len(rows) or not (rows[_positions(at, rows)] == at).all():
            rows = np.union1d(rows, at)
    return rows


def _positions(at: _Packed, rows: _Packed) -> npt.NDArray[np.intp]:
    """Where each of `at` is among the rows, or some other place if it is not."""
    return np.searchsorted(rows, at).clip(max=len(rows) - 1)


def _metric_column(points: Points | None, places: npt.NDArray[np.int64], rows: _Packed) -> pd.arrays.FloatingArray:
    """One metric at the rows: missing where it has no point, NaN where its point is NaN."""
    values, missing = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
    if points is not None and len(rows):
        curves = _curves(points, places)
        # Points of `lr` may lie between the rows.
        place = _positions(curves.at, rows)
        found = rows[place] == curves.at
        values[place[found]] = curves.value[found]
        missing[place[found]] = False
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
