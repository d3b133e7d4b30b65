"""`lrbench import FORMAT FILES... [out=results.parquet] [to=mlflow]`: results in the formats of others.

FILES are paths or patterns whose names in braces become columns: `logs/{scheduler}/seed{seed}/metrics.csv`.
`column.scheduler=sched` reads the column `sched` as `scheduler`; `scheduler=cosine` or `optimizer.lr=0.1` sets a column
in every row. `out` is a file that `lrbench report results=FILE` reads; `to=mlflow` makes one run in MLflow of each run,
in `tracking.uri` (default: the database of results_dir) and `tracking.experiment` (default: the workload).
"""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lrbench import api
from lrbench.addresses import masked
from lrbench.results.files import SUFFIXES, write_file
from lrbench.results.formats import formats
from lrbench.results.schema import BY_NAME
from lrbench.runs.errors import shown
from lrbench.typos import did_you_mean

_OPTIONS = ("out", "to", "results_dir", "tracking.uri", "tracking.experiment")


@dataclass(frozen=True)
class _Words:
    sources: list[str]
    columns: dict[str, str]
    constants: dict[str, str]
    options: dict[str, str]


def main(arguments: list[str]) -> int:
    """Import; 3 when a run could not be sent to MLflow."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("Formats\n" + "\n".join(f"  {name:24}{purpose}" for name, purpose in formats().items()))
        return 0
    name, words = arguments[0], _sorted_out(arguments[1:])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        frame = api.import_results(name, words.sources, columns=words.columns, constants=words.constants)
    for warning in said:  # one line each, without a line of our source
        print(f"lrbench: {warning.message}", file=sys.stderr)
    _describe(frame)
    if "to" not in words.options or "out" in words.options:
        path = Path(words.options.get("out", "results.parquet"))
        write_file(frame, path)
        print(f"file\t{path}")
    return _send(frame, words.options) if "to" in words.options else 0


def _sorted_out(words: Sequence[str]) -> _Words:
    """Tell sources, options, mapped columns and constants apart.

    Raises:
        ValueError: a word is none of them, or an option has a value that it cannot have.
    """
    sources, columns, constants, options = [], {}, {}, {}
    run_columns = [column.name for column in BY_NAME.values() if column.level == "run"]
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or os.path.exists(word):
            sources.append(word)
        elif key in _OPTIONS:
            options[key] = value
        elif key.startswith("column."):
            columns[key.removeprefix("column.")] = value
        elif not key.startswith("tracking.") and ("." in key or key in run_columns):
            constants[key] = value
        else:
            hint = did_you_mean(key, (*_OPTIONS, *run_columns))
            raise ValueError(
                f"lrbench import does not know {word!r}{hint} options are {', '.join(_OPTIONS)} and column.NAME, "
                f"columns of a run are {', '.join(run_columns)} and parameters such as optimizer.lr"
            )
    if options.get("to", "mlflow") != "mlflow":
        raise ValueError(f"to must be mlflow, got {options['to']!r}; a file is written with out=FILE")
    if not options.get("out", ".csv").endswith(SUFFIXES):
        raise ValueError(f"out must end in one of {', '.join(SUFFIXES)}, got {options['out']!r}")
    if "to" not in options and (unused := [name for name in options if name != "out"]):
        raise ValueError(f"{', '.join(unused)} can only be given with to=mlflow")
    return _Words(sources, columns, constants, options)


def _describe(frame: pd.DataFrame) -> None:
    runs = frame.drop_duplicates("run_id")
    states = runs["state"].value_counts().sort_index()
    print(f"runs\t{len(runs)}\nevaluations\t{len(frame)}")
    print("states\t" + ", ".join(f"{state} {count}" for state, count in states.items()))
    print("schedulers\t" + shown(", ".join(sorted(set(runs["scheduler"])))))
    print("workloads\t" + shown(", ".join(sorted(set(runs["workload"])))))


def _send(frame: pd.DataFrame, options: dict[str, str]) -> int:
    recorded = api.record_results(
        frame,
        results_dir=options.get("results_dir", "results"),
        tracking_uri=options.get("tracking.uri"),
        experiment=options.get("tracking.experiment"),
    )
    print(f"recorded before\t{recorded.num_known}\nrecords\t{recorded.folder}\nmlflow\t{masked(recorded.tracking_uri)}")
    for item in recorded.unsent:
        print(f"lrbench: not in MLflow yet: {item.record}: {item.reason}", file=sys.stderr)
    return 3 if recorded.unsent else 0
