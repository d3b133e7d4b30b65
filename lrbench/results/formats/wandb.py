"""Weights & Biases: the history of a run, as `run.history(samples=...).to_csv` or as the history artifact in Parquet.

One file a run. `_step` is taken as the step: it counts calls of `wandb.log` unless the script passed `step=`; if it
logged its own counter, map that, e.g. `column.step=trainer/global_step`. `run.history()` samples 500 lines by default
and its pandas frame writes NaN as an empty cell: prefer the Parquet artifact.
"""

from pathlib import Path

import pandas as pd

from lrbench.results.files import read_table


def parse(path: Path) -> pd.DataFrame:
    """Read the history of one run.

    Raises:
        ValueError: it has no `_step`.
    """
    table = read_table(path)
    if "_step" not in table.columns:
        raise ValueError(f"{path} is not a history of W&B: it has no column _step, but {list(table.columns)}")
    # `to_csv()` without index=False writes a nameless first column.
    unnamed = [name for name in table.columns if name in ("", "Unnamed: 0")]
    return table.drop(columns=["_step", *unnamed]).assign(step=table["_step"], run_id=str(path))
