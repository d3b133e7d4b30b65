"""Training code as text: Python files in any encoding they declare, and the code cells of notebooks."""

import ast
import json
import re
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

_OTHER_LANGUAGE = re.compile(r"\s*%%(?!time|capture|prun)")
_LINE_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|.*\?|[\w, ]+=\s*[%!].*)$")


@dataclass(frozen=True)
class Source:
    """Code and where its lines come from.

    Attributes:
        name: of the file.
        text: Python.
        places: of each line, its number, or `cell 3, line 2`, both one-based.
    """

    name: str
    text: str
    places: tuple[str, ...]

    def place(self, line: int | None) -> str:
        """Where a one-based line of the text is found: `train.py:7`, `train.ipynb:cell 3, line 2`."""
        return f"{self.name}:{self.places[(line or 1) - 1]}"


def read_source(path: Path) -> Source:
    """Read a file of code.

    Args:
        path: a notebook if it ends in `.ipynb`, otherwise Python, with or without a byte-order mark, in UTF-8 or
            what its first lines declare.

    Raises:
        OSError: the file cannot be read.
        ValueError: the text is not in its encoding, or no notebook, or written in another language.
    """
    if path.suffix == ".ipynb":
        return _notebook(path)
    try:
        with tokenize.open(path) as file:
            text = file.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not text in the encoding it declares: {error}") from error
    return Source(str(path), text, tuple(str(i + 1) for i in range(text.count("\n") + 1)))


def parsed(source: str) -> ast.Module:
    """The tree of a source; warnings about its escapes are its author's business.

    Raises:
        SyntaxError: the source is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.parse(source)


def _notebook(path: Path) -> Source:
    try:
        cells = json.loads(path.read_text(encoding="utf-8-sig"))["cells"]
        written = [(i + 1, "".join(cell["source"])) for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a notebook of format 4: {error!r}") from error
    lines, places = [], []
    for number, cell in written:
        for index, line in enumerate(_python(cell, f"{path}:cell {number}")):
            lines.append(line)
            places.append(f"cell {number}, line {index + 1}")
    return Source(str(path), "\n".join(lines), (*places, "the end"))


def _python(cell: str, name: str) -> list[str]:
    """The lines of a cell, with `pass` for what only IPython understands."""
    if _OTHER_LANGUAGE.match(cell):
        return []
    lines = re.sub(r"^\s*%%.*", "pass", cell).split("\n")
    try:
        parsed("\n".join(lines))
    except SyntaxError:
        # Not at once: inside parentheses a line of Python may begin with % too.
        lines = [_LINE_MAGIC.sub(r"\1pass", line) for line in lines]
        try:
            parsed("\n".join(lines))
        except SyntaxError as error:
            raise ValueError(f"{name}, line {error.lineno}: not valid Python: {error.msg}") from error
    return lines
