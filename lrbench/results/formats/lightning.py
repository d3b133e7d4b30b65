"""Lightning: a folder as it is (`version_0`, with metrics.csv or event files, and hparams.yaml), or a metrics.csv.

Lightning writes a line for each call of its logger and numbers batches from zero, so `step` here is one more. Metrics
have the names that the module gave to `self.log`: map them, e.g. `column.val/loss=val_loss`. `LearningRateMonitor`
logs the rate as `lr-SGD` or so: `column.lr=lr-SGD`. Hyperparameters become columns `hparams.NAME`, so
`column.scheduler=hparams.schedule` can tell the folders of `lightning_logs/*` apart.
"""

from pathlib import Path

import pandas as pd
import yaml

from lrbench.results.column_types import whole_numbers
from lrbench.results.event_files import event_files
from lrbench.results.files import read_table
from lrbench.results.formats.tensorboard import scalars


def parse(path: Path) -> pd.DataFrame:
    """Read the log of one run.

    Raises:
        ValueError: there is none, or it has no column `step`.
    """
    if not path.is_dir():
        return _csv(path)
    if (path / "metrics.csv").is_file():
        table = _csv(path / "metrics.csv")
    elif event_files(path):
        table = scalars(path)
        table["step"] += 1
    else:
        below = sorted(str(file.parent) for file in path.glob("*/**/hparams.yaml"))
        where = f"; there are runs in {', '.join(below[:3])}: write {path}/*" if below else ""
        raise ValueError(f"{path} holds no metrics.csv and no event files of Lightning{where}")
    return table.assign(run_id=str(path), **_hyperparameters(path / "hparams.yaml"))


def _csv(path: Path) -> pd.DataFrame:
    table = read_table(path)
    if "step" not in table.columns:
        raise ValueError(f"{path} is not a metrics.csv of Lightning: it has no column step, but {list(table.columns)}")
    return table.assign(
        step=pd.Series(whole_numbers(table["step"], source=str(path)), table.index) + 1, run_id=str(path)
    )


def _hyperparameters(path: Path) -> dict[str, str]:
    """The plain values that the module saved, as text; objects of Python's are left out."""

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        """Reads objects as nothing, and makes none."""

    Plain.add_multi_constructor("", lambda loader, tag, node: None)
    try:
        saved = yaml.load(path.read_text(encoding="utf-8"), Plain) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    plain = saved.items() if isinstance(saved, dict) else ()
    return {f"hparams.{name}": str(value) for name, value in plain if isinstance(value, str | int | float)}
