"""A person's own files of data: found, small enough for memory, and as columns."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrbench.data.image_folder import available_memory
from lrbench.delimited import plain_numbers, read_delimited

if TYPE_CHECKING:
    import pyarrow as pa

COPIES = 8  # of a file's bytes that memory must hold while it is read and encoded
GZIP_RATIO = 5  # of what is in a gzip file to its size


@dataclass(frozen=True)
class Columns:
    """A table in memory.

    Attributes:
        numbers: name to float64, shape (n,), NaN where missing.
        words: name to str, None where missing, shape (n,).
        order: all names, as in the file.
        rows: numbers of the rows in the file, for messages.
        source: name of the file, for messages.
        digest: sha256 (hex) of the file.
    """

    numbers: dict[str, NDArray[np.float64]]
    words: dict[str, NDArray[np.object_]]
    order: tuple[str, ...]
    rows: Sequence[int]
    source: str
    digest: str

    def __len__(self) -> int:
        return len(self.rows)


def existing_file(name: str | None, *, parameter: str) -> Path:
    """Return the path of a file that exists and fits in memory.

    Args:
        name: as the config has it; `~` is expanded.
        parameter: dotted name in the config, for messages.

    Raises:
        ValueError: it is null, absent, or too large.
    """
    if name is None:
        raise ValueError(f"{parameter} must name a file, got null")
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"{parameter} must name a file, there is no {path}")
    refuse_larger(
        COPIES * path.stat().st_size * (GZIP_RATIO if path.suffix == ".gz" else 1), source=f"{parameter}={path}"
    )
    return path


def refuse_larger(num_bytes: int, *, source: str) -> None:
    """Refuse data that would not fit in memory.

    Raises:
        ValueError: with what it takes and what there is.
    """
    available = available_memory()
    if num_bytes > available:
        need, have = f"{num_bytes / 2**30:.1f} GiB", f"{available / 2**30:.1f} GiB"
        raise ValueError(f"{source} must fit in memory: it takes about {need}, {have} are available")


def read_columns(path: Path, *, missing: Collection[str] = (), names: Sequence[str] | None = None) -> Columns:
    """Read Parquet, or any table of text (see `lrbench.delimited`).

    Args:
        path: ends in .parquet, or is text.
        missing: words that stand for a missing value, besides the empty cell and NA.
        names: of the columns, for text without a header.

    Raises:
        ValueError: it is no table, or a column holds neither numbers nor words; names file, row and column.
    """
    import pyarrow as pa

    rows: Sequence[int]
    if path.suffix.lower() == ".parquet":
        cells, rows = _parquet(path)
    else:
        table = read_delimited(path, names=names)
        rows = table.rows
        cells = {name: _without(column, missing) for name, column in table.columns.items()}
        cells |= plain_numbers(cells)
    numbers, words = {}, {}
    for name, column in cells.items():
        try:
            numbers[name] = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
        except pa.ArrowInvalid:
            words[name] = np.array(column.cast(pa.string()).to_pylist(), dtype=object)
        except pa.ArrowNotImplementedError as error:
            raise ValueError(f"{path.name}: column {name!r} holds {column.type}, neither numbers nor words") from error
    for name, values in numbers.items():
        if np.isinf(values).any():
            raise ValueError(f"{path.name}: {name} must be finite, row {rows[int(np.isinf(values).argmax())]} is not")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Columns(numbers, words, tuple(cells), rows, path.name, digest)


def column_of(columns: Columns, name: str | None, *, parameter: str) -> str:
    """Return the name of a column that exists.

    Raises:
        ValueError: it does not; names the columns there are.
    """
    if name not in columns.order:
        raise ValueError(f"{parameter} must be a column of {columns.source}, got {name}; it has {list(columns.order)}")
    return name


def classes_of(columns: Columns, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Read a column as classes: their names, sorted, and the class of each row, shape (n,).

    Raises:
        ValueError: a cell is missing, or there is one class; names the row.
    """
    values = columns.words.get(name, columns.numbers.get(name))
    assert values is not None
    refuse_missing(columns, name)
    kinds, targets = np.unique(values.astype(str) if name in columns.words else values, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(f"{columns.source}: {name} must have at least two classes, every row has {kinds[0]!s}")
    return tuple(f"{kind:g}" if name in columns.numbers else str(kind) for kind in kinds), targets.astype(np.int64)


def refuse_missing(columns: Columns, name: str) -> None:
    """Refuse a column with a missing cell.

    Raises:
        ValueError: naming the first row.
    """
    values = columns.words.get(name)
    absent = np.isnan(columns.numbers[name]) if values is None else np.array([value is None for value in values])
    if absent.any():
        raise ValueError(
            f"{columns.source}: {name} must not be missing, row {columns.rows[int(absent.argmax())]} has none "
            f"({int(absent.sum())} such rows)"
        )


def _without(column: pa.ChunkedArray, missing: Collection[str]) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    # "" in quotes is missing here too: a spreadsheet quotes every cell.
    words = pa.array(["", *missing], pa.string())
    return pc.if_else(pc.is_in(pc.utf8_trim_whitespace(column), value_set=words), pa.scalar(None, pa.string()), column)


def _parquet(path: Path) -> tuple[dict[str, pa.ChunkedArray], Sequence[int]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name} cannot be read as .parquet: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{path.name} has no rows; its columns are {table.column_names}")
    plain = {
        name: column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return plain, range(1, 1 + table.num_rows)
