"""Tables of text as people have them: separated by comma, semicolon, tab or bar, in any usual encoding.

Read whole or refused with file and row, never half: a row of another length, an open quote or a doubtful number stops
the reading. Rows have the numbers that an editor shows.

`plain_numbers` rewrites columns of numbers as Python writes them, whatever they looked like: `1.234,5`, `1,234.5`,
`1 234.5` and `85 %` (which is 0.85). Whether a comma is a decimal mark is a property of the file: it is one where some
column can only be read so and none can only be read the other way. A column that allows both (`1,234`) in a file that
settles nothing stays text, and whoever needs a number there names the row.
"""

import csv
import gzip
import io
import math
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Delimited", "decode", "plain_numbers", "read_content", "read_delimited"]

MISSING = ("", "NA")
DELIMITERS = ",;\t|"
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_GROUP = "[ \u00a0\u202f'\u2019]"  # blanks and apostrophes that set off thousands
_WORDS = r"[+-]?(?:nan|inf|infinity)"


def _number(mark: str, group: str) -> re.Pattern[str]:
    mark, group = re.escape(mark), re.escape(group)
    whole = rf"[1-9]\d{{0,2}}(?:(?P<g>{group}|{_GROUP})\d{{3}})(?:(?P=g)\d{{3}})*|\d+"
    number = rf"(?:(?:{whole})(?:{mark}\d*)?|{mark}\d+)(?:e[+-]?\d+)?"
    return re.compile(rf"\s*(?:[+\-\u2212]?{number}\s*%?|{_WORDS})\s*", re.IGNORECASE)


_NUMBER = {".": _number(".", ","), ",": _number(",", ".")}


@dataclass(frozen=True)
class Delimited:
    """A table of text.

    Attributes:
        columns: name to texts, null where the cell is empty or NA without quotes.
        rows: numbers of the rows in the file, for messages.
    """

    columns: dict[str, "pa.ChunkedArray"]
    rows: Sequence[int]


def read_delimited(path: Path, *, names: Sequence[str] | None = None) -> Delimited:
    """Read a file, gzip-compressed or not.

    Lines that begin with # above the header are comments, further down those that are no row; rows without a value
    are left out.

    Args:
        path: any suffix.
        names: of the columns, for a file without a header.

    Raises:
        ValueError: the file is absent or no text, has no rows, a row of another length, a quote that is not closed, or
            two columns of one name; names the file and the row.
    """
    text = decode(read_content(path), source=path.name)
    text, first_row, delimiter = _without_preamble(text)
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    if not header:
        raise ValueError(f"{path.name} has no rows")
    cells = _cells(text, delimiter, num_columns=len(header))
    if cells is None or _is_doubtful(text, cells.num_rows):
        numbers = _row_numbers(text, delimiter, first_row, len(header), source=path.name)
        if cells is None or len(numbers) != cells.num_rows:
            raise ValueError(f"{path.name} cannot be read as a table: its quotes can be understood in two ways")
        rows: Sequence[int] = numbers
    else:
        rows = range(first_row, first_row + cells.num_rows)
    if names is None:
        names, cells, rows = [name.strip() for name in header], cells.slice(1), rows[1:]
    elif len(header) != len(names):
        raise ValueError(f"{path.name} must have {len(names)} columns, {', '.join(names)}; row 1 is {header}")
    columns, rows = _filled(dict(enumerate(cells.columns)), rows)
    # Nameless and empty: the trailing delimiters of a spreadsheet.
    kept = [i for i, name in enumerate(names) if name or len(columns[i].drop_null())]
    twice = sorted({names[i] for i in kept if [names[j] for j in kept].count(names[i]) > 1})
    if twice:
        raise ValueError(f"{path.name} has several columns named {twice}")
    if not rows:
        raise ValueError(f"{path.name} has no rows; its columns are {list(names)}")
    return Delimited({names[i]: columns[i] for i in kept}, rows)


def plain_numbers(columns: "Mapping[str, pa.ChunkedArray]") -> "dict[str, pa.ChunkedArray]":
    """Rewrite the columns of numbers that are not written as Python writes them; see the module for what a comma is.

    Args:
        columns: all columns of one file that may hold numbers, as texts.

    Returns:
        Those that were rewritten.
    """
    import pyarrow as pa

    texts = {name: column.to_pylist() for name, column in columns.items() if not _is_plain(column)}
    point = {name: found for name in texts if (found := _rewritten(texts[name], "."))}
    comma = {name: found for name in texts if (found := _rewritten(texts[name], ","))}
    if not point and not comma:
        return {}
    # Columns of plain numbers say something too: 0.5 has a decimal point, 1.000 may be a thousand.
    dotted = {name: column.to_pylist() for name, column in columns.items() if name not in texts}
    dotted = {name: cells for name, cells in dotted.items() if any("." in cell for cell in cells if cell)}
    thousands = {name: _rewritten(cells, ",") for name, cells in dotted.items()}
    is_point = not point.keys() <= comma.keys() or any(cells is None for cells in thousands.values())
    is_comma = not comma.keys() <= point.keys()
    alike = {name: cells for name, cells in point.items() if cells == comma.get(name, cells)}
    if is_comma and not is_point:
        chosen = {**comma, **{name: cells for name, cells in thousands.items() if cells}}
    elif is_point and not is_comma:
        chosen = point
    else:
        chosen = alike
    return {name: pa.chunked_array([pa.array(cells, pa.string())]) for name, cells in chosen.items()}


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, decompressed if it is gzip.

    Raises:
        ValueError: there is no such file, or its compression is damaged.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is a damaged gzip file: {error}") from error


def decode(content: bytes, *, source: str) -> str:
    """Turn bytes into text: UTF-8, UTF-16 or UTF-32 with a byte order mark, else Windows-1252, which holds Latin-1.

    Raises:
        ValueError: it is no text; names the line.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if encoding != "utf-8":
            raise ValueError(f"{source} is no text in {encoding}: line {line} is damaged") from error
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as other:
            raise ValueError(
                f"{source} is no text in UTF-8: line {line} has {error.object[error.start :][:4]!r}"
            ) from other
        warnings.warn(f"{source} is not in UTF-8 (line {line}), so it was read as Latin-1", stacklevel=2)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{source} is no text: line {line} has a zero byte; save it as UTF-8")
    return text


def _without_preamble(text: str) -> tuple[str, int, str]:
    """Skip blank lines, comments and Excel's `sep=;` at the top: the rest, its first row's number, the delimiter."""
    skipped, row = 0, 1
    delimiter = None
    for match in re.finditer(r"(.*?)(?:\r\n|\r|\n|\Z)", text):
        line = match[1]
        told = re.fullmatch(r"sep=(.)", line)
        if line.strip() and not line.startswith("#") and not told:
            break
        delimiter = told[1] if told else delimiter
        skipped, row = match.end(), row + 1
        if match.end() == len(text):
            break
    rest = text[skipped:]
    return rest, row, delimiter or _delimiter(rest)


def _delimiter(text: str) -> str:
    """Choose the mark that cuts the first rows alike into the most cells; failing that, the header."""
    head = text[:50_000].splitlines(keepends=True)[:20]

    def widths(mark: str) -> list[int]:
        return [len(cells) for cells in csv.reader(head, delimiter=mark) if cells] or [0]

    def alike(mark: str) -> tuple[bool, int]:
        found = widths(mark)
        return found[0] > 1 and len(set(found)) == 1, found[0]

    return max(DELIMITERS, key=alike)  # the first of equals: a comma


def _cells(text: str, delimiter: str, *, num_columns: int) -> "pa.Table | None":
    """All rows as texts, the header too, if there is one; None if a row has another number of cells."""
    import pyarrow as pa
    import pyarrow.csv

    content = text.encode()

    def comments_go(row: Any) -> str:
        return "skip" if row.text.startswith("#") else "error"

    try:
        return pyarrow.csv.read_csv(
            pa.py_buffer(content),
            # One block: a row that is longer than a block cannot be read.
            read_options=pyarrow.csv.ReadOptions(
                autogenerate_column_names=True, block_size=min(len(content) + 1, 2**31 - 1)
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=comments_go
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(num_columns)},
                null_values=list(MISSING),
                strings_can_be_null=True,
                # Our own files quote every text: "" is the empty text, nothing is missing.
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _is_doubtful(text: str, num_rows: int) -> bool:
    """Whether rows are not simply lines: blank lines, comments, quoted line breaks, a quote that is not closed."""
    num_lines = text.count("\n") or text.count("\r")
    return num_lines + (not text.endswith(("\n", "\r"))) != num_rows or text.count('"') % 2 == 1


def _row_numbers(text: str, delimiter: str, first_row: int, num_columns: int, *, source: str) -> list[int]:
    """Read again, slowly and strictly, and number the rows.

    Raises:
        ValueError: a row has another number of cells, or its quotes are wrong; names it.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    numbers, row = [], first_row
    try:
        for cells in reader:
            if len(cells) == num_columns:
                numbers.append(row)
            elif cells and not cells[0].startswith("#"):
                raise ValueError(
                    f"{source}: row {row} has {len(cells)} cells, the first row {num_columns}: "
                    f"{delimiter.join(cells)[:60]!r}"
                )
            row = first_row + reader.line_num
    except csv.Error as error:
        raise ValueError(f"{source}: the quotes of row {row} cannot be understood: {error}") from error
    return numbers


def _filled(
    columns: dict[int, "pa.ChunkedArray"], rows: Sequence[int]
) -> tuple[dict[int, "pa.ChunkedArray"], Sequence[int]]:
    """Leave out the rows in which every cell is empty."""
    import numpy as np
    import pyarrow.compute as pc

    empty = np.ones(len(rows), dtype=bool)
    for column in columns.values():
        empty &= pc.equal(pc.fill_null(column, ""), "").to_numpy()
        if not empty.any():
            return columns, rows
    kept = np.flatnonzero(~empty)
    return {i: column.take(kept) for i, column in columns.items()}, [rows[i] for i in kept.tolist()]


def _is_plain(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _rewritten(texts: Sequence[str | None], mark: str) -> list[str | None] | None:
    """Read cells with a decimal mark; None unless each is a number, or missing, and all or none are percentages."""
    result: list[str | None] = []
    percentages = set()
    for text in texts:
        if text is None or not text.strip():
            result.append(text)
            continue
        if not _NUMBER[mark].fullmatch(text):
            return None
        number, percent, _ = text.strip().replace("\u2212", "-").partition("%")
        number = re.sub(rf"{_GROUP}|{re.escape(',' if mark == '.' else '.')}", "", number).replace(mark, ".")
        if math.isfinite(value := float(number)) and value:
            percentages.add(percent)
        # 85.2e-2 is rounded once, 85.2 / 100 twice.
        result.append(repr(float(f"{number}e-2") if "e" not in number.lower() else value / 100) if percent else number)
    return result if len(percentages) < 2 and any(result) else None
