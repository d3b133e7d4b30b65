"""Results in the formats of others, as the tidy frame: one module a format, named as on the command line.

A module has `parse(path) -> DataFrame`: the lines that one file logged, with `run_id`, `step` (updates completed) and
the columns of the file, under the names of the schema where the format defines them, else under their own. Empty is
missing, NaN is NaN. Adding a format is adding such a module.
"""

import glob
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from lrbench.results.column_types import typed, with_plain_numbers
from lrbench.results.completion import complete_frame, merge_repeated
from lrbench.results.files import needed, rename
from lrbench.results.schema import as_floats, sort_rows

Parse = Callable[[Path], pd.DataFrame]


def formats() -> dict[str, str]:
    """Return every format with the first line of its documentation."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return {name: (import_module(f"{__name__}.{name}").__doc__ or "").partition("\n")[0] for name in names}


def read_format(
    name: str, sources: Sequence[str], *, columns: Mapping[str, str], constants: Mapping[str, str]
) -> pd.DataFrame:
    """Read files of a format into one tidy frame.

    Args:
        name: of the format, see `formats`.
        sources: paths, or patterns such as `logs/{scheduler}/seed{seed}/metrics.csv`: every `{name}` matches a part of
            a path and becomes a column with what it matched; `*` matches and is forgotten.
        columns: as in `files.read_file`.
        constants: column name to the value that it has in every row.

    Raises:
        ValueError: unknown format, a source without a file, or what `files.read_file` refuses.
    """
    known = formats()
    if name not in known:
        raise ValueError(f"no format {name!r}; there are: {', '.join(known)}")
    if not sources:
        raise ValueError("no file to import was named")
    parse: Parse = import_module(f"{__name__}.{name}").parse
    found = [(path, fields, parse(path)) for source in sources for path, fields in matches(source)]
    # Some file must have a mapped column, not every: TensorBoard has one metric a file.
    rename(pd.DataFrame(columns=list(dict.fromkeys(c for _, _, t in found for c in t))), columns, source="these files")
    tables = []
    for path, fields, raw in found:
        mapped = {ours: theirs for ours, theirs in columns.items() if theirs in raw or ours in raw}
        table = rename(raw, mapped, source=str(path))
        table = typed(with_plain_numbers(table).assign(**_texts({**constants, **fields}, len(table))), source=str(path))
        table = _measured(table)
        # Here the rows still have the numbers of their file.
        tables.append(merge_repeated(table, source=str(path)) if "run_id" in table.columns else table)
    frame = pd.concat(tables, ignore_index=True)
    needed(frame.columns, source=f"these {name} files")
    return complete_frame(evaluations_of(merge_repeated(frame, source=name)), source=name)


def matches(source: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Expand a path or pattern into files, in order, each with the values of its fields.

    Raises:
        ValueError: there is no such file; one name stands for two different parts; a name is not one.
    """
    if Path(source).exists():
        yield Path(source), {}
        return
    parts = re.split(r"\{([^{}]*)\}", source)
    names = parts[1::2]
    if len(set(names)) < len(names) or not all(re.fullmatch(r"[\w./-]+", name) for name in names):
        raise ValueError(f"the names in braces must be different names of columns, got {source!r}")
    literals = [re.escape(part).replace(r"\*", "[^/]*") for part in parts[0::2]]
    pattern = "([^/]+?)".join(literals)
    wildcard = "*".join(glob.escape(part).replace("[*]", "*") for part in parts[0::2])
    found = [(path, re.fullmatch(pattern, path)) for path in sorted(glob.glob(wildcard))]
    if not any(match for _, match in found):
        raise ValueError(f"no file matches {source}")
    for path, match in found:
        if match:
            yield Path(path), dict(zip(names, match.groups(), strict=True))


def evaluations_of(log: pd.DataFrame) -> pd.DataFrame:
    """Turn the lines of a log into evaluations: those with a validation or test metric.

    `train/loss` becomes its mean over the lines since the previous evaluation. What was logged after the last
    evaluation of a run is kept as one more row, since a run may have diverged there.

    Args:
        log: run_id, step and metrics; (run_id, step) unique.
    """
    names = [name for name in log.columns if str(name).startswith(("val/", "test/"))]
    log = sort_rows(log)
    evaluated = log[names].notna().any(axis=1).to_numpy()
    if evaluated.all() or not evaluated.any():
        return log
    last_of_run = ~log["run_id"].duplicated(keep="last").to_numpy()
    ends = np.flatnonzero(evaluated | last_of_run)
    rows = log.iloc[ends].copy()
    if "train/loss" in log.columns:
        losses, missing = as_floats(log["train/loss"])
        starts = np.concatenate([[0], ends[:-1] + 1])
        counts = np.add.reduceat(~missing, starts)
        sums = np.add.reduceat(np.where(missing, 0.0, losses), starts)
        rows["train/loss"] = pd.arrays.FloatingArray(sums / np.maximum(counts, 1), counts == 0)
    return rows.reset_index(drop=True)


def _measured(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out lines without a step on which nothing of the training was logged, such as the load of the machine."""
    if "step" not in table.columns:
        return table
    names = [name for name in table.columns if name == "lr" or str(name).startswith(("train/", "val/", "test/"))]
    return table[table["step"].notna() | table[names].notna().any(axis=1)]


def _texts(values: Mapping[str, str], num_rows: int) -> dict[str, pd.api.extensions.ExtensionArray]:
    return {name: pd.array([value] * num_rows, dtype="string") for name, value in values.items()}
