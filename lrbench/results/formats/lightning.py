"""Lightning: metrics.csv of a CSVLogger.

Lightning writes a line for each call of its logger and numbers batches from zero, so `step` here is one more. Metrics
have the names that the module gave to `self.log`: map them, e.g. `column.val/loss=val_loss`. `LearningRateMonitor`
logs the rate as `lr-SGD` or so: `column.lr=lr-SGD`.
"""

from pathlib import Path

import pandas as pd

from lrbench.results.files import read_table


def parse(path: Path) -> pd.DataFrame:
    """Read one metrics.csv.

    Raises:
        ValueError: it has no column `step`.
    """
    table = read_table(path)
    if "step" not in table.columns:
        raise ValueError(f"{path} is not a metrics.csv of Lightning: it has no column step, but {list(table.columns)}")
    return table.assign(step=table["step"].astype("Int64") + 1, run_id=str(path))
