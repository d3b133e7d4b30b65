"""TensorBoard: the CSV of one scalar of one run (`Wall time,Step,Value`), as its page downloads it.

The tag is what follows `-tag-` in the name of the file, else its stem; files that differ only in the tag are one run.
TensorBoard writes `/` in a tag as `_`: map it back, e.g. `column.val/loss=val_loss`. Export both metrics at the same
steps. `step` is what the writer was given: updates completed, if it was so.
"""

from pathlib import Path

import pandas as pd

from lrbench.results.files import read_table

_HEADER = ["Wall time", "Step", "Value"]


def parse(path: Path) -> pd.DataFrame:
    """Read one scalar, as the column of its tag.

    Raises:
        ValueError: the header is another.
    """
    table = read_table(path)
    if list(table.columns) != _HEADER:
        raise ValueError(f"{path} is not a scalar of TensorBoard: its header must be {_HEADER}, got {[*table.columns]}")
    run, dash, tag = path.stem.partition("-tag-")
    run_id = str(path.parent / run) if dash else str(path.parent)
    return pd.DataFrame({"step": table["Step"], tag if dash else path.stem: table["Value"]}).assign(run_id=run_id)
