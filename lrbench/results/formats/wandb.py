"""Weights & Biases: a run's history (`run.history(samples=...).to_csv`, or its artifact in Parquet), or a chart as CSV.

A history is one file a run. `_step` is taken as the step: it counts calls of `wandb.log` unless the script passed
`step=`; if it logged its own counter, map that, e.g. `column.step=trainer/global_step`. `run.history()` samples 500
lines by default and its pandas frame writes NaN as an empty cell: prefer the Parquet artifact.

A chart holds one metric of several runs: columns `RUN - METRIC` with `__MIN` and `__MAX` beside. The runs keep their
names, `column.scheduler=run_name`. A chart of groups or of thinned lines shows averages and is refused.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lrbench.results.column_types import with_plain_numbers
from lrbench.results.files import read_table
from lrbench.results.schema import as_floats

_CLOCKS = ("_step", "_runtime", "_timestamp")
_BOUNDS = ("__MIN", "__MAX")


def parse(path: Path) -> pd.DataFrame:
    """Read the history of one run, or a chart.

    Raises:
        ValueError: it is neither, or the chart shows averages.
    """
    table = with_plain_numbers(read_table(path))
    if any(str(name).endswith(_BOUNDS) for name in table.columns):
        return _chart(table, path)
    if "_step" not in table.columns:
        raise ValueError(f"{path} is not a history of W&B: it has no column _step, but {list(table.columns)}")
    # `to_csv()` without index=False writes a nameless first column.
    unnamed = [name for name in table.columns if name in ("", "Unnamed: 0")]
    history = _without_fillers(table.drop(columns=unnamed))
    return history.drop(columns="_step").assign(step=history["_step"], run_id=str(path))


def _chart(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    counter, *others = table.columns
    names = [name for name in others if not name.endswith((*_BOUNDS, " - _step"))]
    rows = []
    for name in names:
        for bound in (name + suffix for suffix in _BOUNDS):
            differs = (table[name] != table[bound]).fillna(False) if bound in table.columns else pd.Series(dtype=bool)
            if differs.any():
                row = differs.index[differs.to_numpy(dtype=bool)][0]
                value, other = table.loc[row, [name, bound]]
                raise ValueError(
                    f"{path}: row {row} of {name!r} is {value}, its {bound[-5:]} {other}: "
                    "an average over steps or over a group of runs, which no run measured; export the runs' histories"
                )
        run, dash, metric = name.rpartition(" - ")
        if not dash:
            raise ValueError(f"{path} is not a chart of W&B: its columns must be RUN - METRIC, got {name!r}")
        logged = table[table[name].notna() & (table[name].astype("string") != "")]
        rows.append(pd.DataFrame({"step": logged[counter], metric: logged[name]}).assign(run_id=run, run_name=run))
    return pd.concat(rows)


def _without_fillers(table: pd.DataFrame) -> pd.DataFrame:
    """Tell NaN that was logged from NaN that fills the rows of other metrics.

    It fills where the same columns have numbers as in some row before the last number of its own: a run that goes on to
    log numbers had not diverged. Other rows are those that had the fewest more numbers before; only these became NaN.
    """
    names = [name for name in table.columns if name not in _CLOCKS]
    is_nan = np.column_stack([_is_nan(table[name]) for name in names])
    if not is_nan.any():
        return table
    is_missing = np.column_stack([(table[name].isna() | (table[name] == "")).to_numpy(dtype=bool) for name in names])
    is_number = ~is_nan & ~is_missing
    kinds, kind = np.unique(is_number, axis=0, return_inverse=True)
    became_nan = np.array([_fewest_more(numbers, kinds) for numbers in kinds])[kind]
    result = table.copy()
    for i, name in enumerate(names):
        if not is_missing[:, i].any():
            last = np.flatnonzero(is_number[:, i])[-1:].sum()  # row of the last number
            usual = np.isin(kind, kind[:last][is_nan[:last, i]]) & is_number.any(axis=1)
            result.loc[is_nan[:, i] & (usual | ~became_nan[:, i]), name] = pd.NA
    return result


def _fewest_more(numbers: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Columns with numbers in the next larger kinds of rows and not in this one; all without if there is no larger.

    Args:
        numbers: (num_columns,), whether a kind of rows has a number there.
        kinds: (num_kinds, num_columns), all there are.
    """
    larger = kinds[(kinds >= numbers).all(axis=1) & (kinds != numbers).any(axis=1)]
    sizes = larger.sum(axis=1)
    return np.asarray(~numbers & (larger[sizes == sizes.min()].any(axis=0) if len(larger) else True))


def _is_nan(column: pd.Series) -> np.ndarray:
    if isinstance(column.dtype, pd.StringDtype):
        return np.asarray(column.str.strip().str.lower().isin(["nan", "-nan"]), dtype=bool)
    if isinstance(column.dtype, pd.Float64Dtype):
        values, missing = as_floats(column)
        return np.asarray(np.isnan(values) & ~missing)
    return np.zeros(len(column), dtype=bool)
