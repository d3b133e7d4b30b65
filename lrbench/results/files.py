"""Anybody's results as the tidy frame of `results.schema`, from CSV or Parquet, and the frame back to a file, exactly.

One row is one evaluation. Needed are `step`, `scheduler` and a metric, under the names of `results.COLUMNS` or mapped
to them; what else is absent is completed as `lrbench.results.completion` says. Columns that the schema does not know
(`optimizer.lr`, `val/f1`) are kept.

`lrbench.delimited` says which CSVs are read. In them an empty cell (or R's NA) is missing and `nan` is a NaN that was
measured. pandas writes NaN as an empty cell, and as null in Parquet: a diverged run that went through pandas looks
unmeasured there, unless its column was `Float64`.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lrbench.delimited import read_delimited
from lrbench.results.column_types import typed, with_plain_numbers
from lrbench.results.completion import METRICS, complete_frame, merge_repeated
from lrbench.results.schema import BY_NAME
from lrbench.typos import did_you_mean, nearest

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_file(path: Path, *, columns: Mapping[str, str] = {}) -> pd.DataFrame:
    """Read, check and complete a file of results.

    Rows may come in any order. Rows of one (run_id, step) are merged when no two values in them differ.

    Args:
        path: `.csv`, `.csv.gz` or `.parquet`.
        columns: names of the schema (or of a parameter or metric of your own) to names in the file, where they differ:
            {"scheduler": "sched"} reads the column `sched` as `scheduler`. A column of the file that has the name
            already gives way.

    Returns:
        The tidy frame, all columns of `results.COLUMNS` and then those of the file that it does not know.

    Raises:
        ValueError: a column is absent, a cell is not what its column holds, or two rows contradict each other; names
            the file, the column and the rows.
    """
    table = with_plain_numbers(rename(read_table(path), columns, source=path.name))
    needed(table.columns, source=path.name)
    return complete_frame(merge_repeated(typed(table, source=path.name), source=path.name), source=path.name)


def write_file(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame so that `read_file` gives it back: every digit, and missing, NaN and infinity told apart.

    CSV knows no types: columns beyond the schema come back as Float64, boolean or string, by their content.

    Raises:
        ValueError: the suffix is none of `.csv`, `.csv.gz` and `.parquet`.
        OSError: the file cannot be written.
    """
    suffix = _suffix(path)
    table = pa.table({str(name): _arrow(frame[name]) for name in frame.columns})
    temporary = path.with_name(f".{path.name}")
    if suffix == ".parquet":
        pyarrow.parquet.write_table(table, temporary)
    else:
        with pa.output_stream(temporary, compression="gzip" if suffix == ".csv.gz" else None) as stream:
            pyarrow.csv.write_csv(table, stream)
    # In one step: a reader or an interrupt never leaves half a file under the name.
    os.replace(temporary, path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a file as it is: CSV as text with empty cells missing, Parquet with its own types.

    The index numbers the rows for messages: as an editor does, so that a CSV, whose header is line 1, begins with 2.

    Raises:
        ValueError: another suffix, no such file, no table, no row, or two columns of one name.
    """
    if _suffix(path) == ".parquet":
        return _read_parquet(path)
    table = read_delimited(path)
    texts = {name: pd.Series(cells.to_numpy(), dtype="string").array for name, cells in table.columns.items()}
    return pd.DataFrame(texts, index=pd.Index(table.rows))


def rename(table: pd.DataFrame, columns: Mapping[str, str], *, source: str) -> pd.DataFrame:
    """Give columns of a file the names of the schema.

    Args:
        table: any.
        columns: new name to the name in the table.
        source: for messages.

    Raises:
        ValueError: the table has no such column; names the nearest and those that exist.
    """
    for name, theirs in columns.items():
        if theirs not in table.columns:
            hint = did_you_mean(theirs, map(str, table.columns))
            raise ValueError(
                f"column.{name}={theirs}: {source} has no column {theirs!r}{hint} it has {list(table.columns)}"
            )
    kept = table.drop(columns=[name for name in columns if name in table.columns and name not in columns.values()])
    taken = set(columns.values())
    data = {name: kept[name] for name in kept.columns if name not in taken}
    return pd.DataFrame({**data, **{name: table[theirs] for name, theirs in columns.items()}}, index=table.index)


def needed(names: Collection[str], *, source: str) -> None:
    """Refuse names of columns among which the indispensable ones are not.

    Raises:
        ValueError: no `step`, no `scheduler`, or no metric; names the nearest column and how to map it.
    """
    for name in ("step", "scheduler"):
        if name not in names:
            close = nearest(name, names)
            how = f"the nearest is {close!r}: write column.{name}={close}" if close else f"write column.{name}=NAME"
            raise ValueError(
                f"{source} has no column {name!r} ({BY_NAME[name].meaning}); {how}; it has {sorted(names)}"
            )
    if not any(name in METRICS or name.startswith(("val/", "test/")) for name in names):
        pairs = [(metric, nearest(metric, names)) for metric in ("val/accuracy", "val/loss")]
        words = [f"column.{metric}={close}" for metric, close in pairs if close] or ["column.val/loss=NAME"]
        raise ValueError(
            f"{source} has no metric, one of {', '.join(METRICS)}; write {' or '.join(words)}; it has {sorted(names)}"
        )


def _suffix(path: Path) -> str:
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"a file of results must end in one of {', '.join(SUFFIXES)}, got {path}")
    return suffix


def _read_parquet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name} cannot be read as .parquet: {error}") from error
    names = table.column_names
    if not table.num_rows:
        raise ValueError(f"{path.name} has no rows; its columns are {names}")
    columns = {}
    for name in names:
        try:
            columns[name] = _from_arrow(table[name])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{path.name}: column {name!r} cannot be read: {error}") from error
    return pd.DataFrame(columns, index=pd.RangeIndex(1, 1 + table.num_rows))


def _from_arrow(column: pa.ChunkedArray) -> pd.api.extensions.ExtensionArray:
    """Convert a column; nulls become missing, and NaN stays NaN (pandas' own conversion would mix them)."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_nested(kind):
        # A histogram or a table in a cell, which is no number wherever one is needed.
        cells = [None if cell is None else json.dumps(cell, default=str) for cell in column.to_pylist()]
        return pd.array(cells, dtype="string")
    mask = column.is_null().to_numpy()
    if pa.types.is_floating(kind):
        return pd.arrays.FloatingArray(pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy().copy(), mask)
    if pa.types.is_integer(kind):
        return pd.arrays.IntegerArray(pc.fill_null(column.cast(pa.int64()), 0).to_numpy().copy(), mask)
    if pa.types.is_boolean(kind):
        return pd.arrays.BooleanArray(pc.fill_null(column, False).to_numpy().astype(bool), mask)
    return pd.Series(column.cast(pa.string()).to_numpy(), dtype="string").array


def _arrow(column: pd.Series) -> pa.Array:
    if isinstance(column.dtype, pd.Float64Dtype):
        mask = column.isna().to_numpy()
        return pa.array(column.to_numpy(dtype=np.float64, na_value=0.0), mask=mask)
    if column.dtype == np.float64:
        return pa.array(column.to_numpy(), from_pandas=False)
    if isinstance(column.dtype, pd.Int64Dtype | pd.BooleanDtype):
        return pa.array(column)
    return pa.array(column.astype("string"), type=pa.string())
