"""TensorBoard: the folder of a run with its event files, or the CSV of one scalar of one run, as its page downloads it.

In a CSV (`Wall time,Step,Value`) the tag is what follows `-tag-` in the name of the file, else its stem; files that
differ only in the tag are one run. There TensorBoard writes `/` in a tag as `_`: map it back, e.g.
`column.val/loss=val_loss`. Export both metrics at the same steps. `step` is what the writer was given: updates
completed, if it was so.
"""

import warnings
from pathlib import Path

import pandas as pd

from lrbench.results.event_files import event_files, read_scalars
from lrbench.results.files import read_table
from lrbench.results.schema import float_column

_HEADER = ["Wall time", "Step", "Value"]


def parse(path: Path) -> pd.DataFrame:
    """Read the scalars of a folder or of one event file, or one scalar from CSV, as the column of its tag.

    Raises:
        ValueError: there are none, an event file is damaged, or the header of the CSV is another.
    """
    if path.is_dir() or "tfevents" in path.name:
        return scalars(path)
    table = read_table(path)
    if list(table.columns) != _HEADER:
        raise ValueError(f"{path} is not a scalar of TensorBoard: its header must be {_HEADER}, got {[*table.columns]}")
    run, dash, tag = path.stem.partition("-tag-")
    run_id = str(path.parent / run) if dash else str(path.parent)
    return pd.DataFrame({"step": table["Step"], tag if dash else path.stem: table["Value"]}).assign(run_id=run_id)


def scalars(path: Path) -> pd.DataFrame:
    """Read the event files of a folder, or one of them: one row a step, one column a tag.

    Raises:
        ValueError: there is no scalar, a file is damaged, or the folder holds several runs.
    """
    below = sorted({str(file.parent) for file in path.glob("*/**/*tfevents*")})
    files = event_files(path) if path.is_dir() else [path]
    if not files:
        where = f"; there are some in {', '.join(below[:3])}: write {path}/{{scheduler}} or so" if below else ""
        raise ValueError(f"{path} holds no event files of TensorBoard{where}")
    curves = read_scalars(files)
    if not curves:
        raise ValueError(f"{path} holds no scalars: {', '.join(file.name for file in files)}")
    if below:
        warnings.warn(f"{path}: event files of folders below were not read, such as {below[0]}", stacklevel=2)
    steps = sorted({step for curve in curves.values() for step in curve})
    columns = {tag: float_column([curve.get(step) for step in steps]) for tag, curve in curves.items()}
    return pd.DataFrame({**columns, "step": pd.array(steps, dtype="Int64"), "run_id": str(path)})
