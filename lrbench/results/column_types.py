"""The types of raw columns: text of a CSV or values of Parquet to what the schema says."""

from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray

from lrbench.delimited import plain_numbers
from lrbench.results.schema import BY_NAME, as_floats

BoolArray = npt.NDArray[np.bool_]


def with_plain_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Rewrite text that is numbers in another notation (`1.234,5`, `85 %`); columns of words of the schema stay.

    Args:
        table: all columns of one file, since the file tells its decimal mark.
    """
    texts = {
        name: pa.chunked_array([pa.array(table[name], type=pa.string())])
        for name in table.columns
        if isinstance(table[name].dtype, pd.StringDtype) and (name not in BY_NAME or BY_NAME[name].dtype != "string")
    }
    plain = {name: pd.array(cells.to_pylist(), dtype="string") for name, cells in plain_numbers(texts).items()}
    return table.assign(**plain)


def typed(table: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Give every column its type: that of the schema, for others Float64, boolean or string by content.

    Args:
        table: columns of text or numbers; its index are the row numbers of messages.
        source: for messages.

    Raises:
        ValueError: a cell cannot be read as its column's type; names the column and the row.
    """
    data: dict[str, ExtensionArray] = {}
    for name in table.columns:
        known = BY_NAME.get(str(name))
        if known is None:
            data[str(name)] = _by_content(table[name])
        elif known.dtype == "string":
            data[known.name] = table[name].astype("string").array
        elif known.dtype == "Int64":
            data[known.name] = whole_numbers(table[name], source=source)
        else:
            data[known.name] = _numbers(table[name], source)
        if str(name).startswith(("val/", "test/")) and str(name).endswith("accuracy"):
            _refuse_percentages(table[name], *as_floats(pd.Series(data[name])), source=source)
    return pd.DataFrame(data, index=table.index)


def whole_numbers(column: pd.Series, *, source: str) -> ExtensionArray:
    """Read a column as Int64.

    Args:
        column: text or numbers; its index are the row numbers of messages.
        source: for messages.

    Raises:
        ValueError: a cell is no whole number; names the column and the row.
    """
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("Int64").array
    if isinstance(column.dtype, pd.StringDtype):
        try:
            whole = pa.array(column, type=pa.string()).cast(pa.int64())
        except pa.ArrowInvalid:
            pass  # perhaps 100.0, which pandas writes for whole numbers beside missing ones
        else:
            values = whole.fill_null(0).to_numpy().copy()
            return pd.arrays.IntegerArray(values, whole.is_null().to_numpy(zero_copy_only=False))
    floats, bad = _floats(column, source)
    values, missing = floats.to_numpy(dtype=np.float64, na_value=0.0), floats.isna()
    with np.errstate(invalid="ignore"):
        # Beyond 2^53 a float no longer holds every whole number.
        bad |= ~(missing | (np.isfinite(values) & (values == np.floor(values)) & (abs(values) <= 2.0**53)))
    _refuse(column, bad, "a whole number", source)
    return cast("ExtensionArray", floats.astype("Int64"))


def _numbers(column: pd.Series, source: str) -> ExtensionArray:
    floats, bad = _floats(column, source)
    _refuse(column, bad, "a number, empty (missing) or nan", source)
    return floats


def _refuse_percentages(column: pd.Series, values: np.ndarray, missing: BoolArray, *, source: str) -> None:
    name = str(column.name)
    bad = ~missing & np.isfinite(values) & ((values < 0) | (values > 1))
    rule = f"a share from 0 to 1; percentages need their sign, 85.2 %, or another name, column.{name}_percent=NAME"
    _refuse(column, bad, rule, source)


def _refuse(column: pd.Series, bad: BoolArray, kind: str, source: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        others = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        raise ValueError(
            f"{source}: {column.name} must be {kind}, row {column.index[row]} has {column.iloc[row]!r}{others}"
        )


def _floats(column: pd.Series, source: str) -> tuple[pd.arrays.FloatingArray, BoolArray]:
    """Read any column as floats, and mark the cells that are neither a number nor missing; (num_rows,) both."""
    nothing_bad = np.zeros(len(column), dtype=bool)
    if isinstance(column.dtype, pd.StringDtype):
        return _parsed(column)
    if pd.api.types.is_integer_dtype(column.dtype):
        return cast("pd.arrays.FloatingArray", column.astype("Float64").array), nothing_bad
    if isinstance(column.dtype, pd.Float64Dtype) or column.dtype == np.float64:
        return pd.arrays.FloatingArray(*as_floats(column)), nothing_bad
    raise ValueError(f"{source}: column {column.name!r} must hold numbers, it holds {column.dtype}")


def _parsed(column: pd.Series) -> tuple[pd.arrays.FloatingArray, BoolArray]:
    texts = pa.array(column, type=pa.string())
    num_rows = len(texts)
    try:
        parsed = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        pass  # what follows is slower, but finds the cell, and takes what Python takes, such as blanks round a number
    else:
        missing = parsed.is_null().to_numpy(zero_copy_only=False)
        return pd.arrays.FloatingArray(parsed.fill_null(0.0).to_numpy().copy(), missing), np.zeros(num_rows, dtype=bool)
    values, missing, bad = np.zeros(num_rows), np.zeros(num_rows, dtype=bool), np.zeros(num_rows, dtype=bool)
    for row, text in enumerate(texts.to_pylist()):
        missing[row] = text is None or not text.strip()
        if not missing[row]:
            try:
                values[row] = float(text)
            except ValueError:
                bad[row] = True
    return pd.arrays.FloatingArray(values, missing), bad


def _by_content(column: pd.Series) -> ExtensionArray:
    """Type a column beyond the schema: text that is all numbers (or empty) or all true/false becomes that."""
    if column.dtype == np.float64:
        return pd.arrays.FloatingArray(*as_floats(column))
    if not isinstance(column.dtype, pd.StringDtype):
        return cast("ExtensionArray", column.array)
    present = column.dropna()
    if len(present) and present.isin(["true", "false"]).all():
        return column.map({"true": True, "false": False}).astype("boolean").array
    floats, bad = _parsed(column)
    is_text = bool(bad.any() or (present == "").any())
    return column.astype("string").array if is_text else floats
