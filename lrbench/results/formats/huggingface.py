"""Hugging Face Trainer: trainer_state.json of a checkpoint or of the output directory.

`eval_loss` becomes `val/loss`, any other `eval_NAME` `val/NAME`; `loss` is `train/loss`, the mean since the previous
log. `max_steps` is the budget. The logged rate is that of the update to come, one step late. The trainer replaces
losses that are not finite by averages in its log (`logging_nan_inf_filter`), so only `eval_loss` shows divergence.
"""

import json
from pathlib import Path

import pandas as pd

from lrbench.results.schema import float_column

_NAMES = {"loss": "train/loss", "learning_rate": "lr", "step": "step"}
_SPEEDS = ("_runtime", "_samples_per_second", "_steps_per_second")


def parse(path: Path) -> pd.DataFrame:
    """Read one trainer_state.json.

    Raises:
        ValueError: it is not one.
    """
    try:
        state = json.loads(path.read_text())
        log = [line for line in state["log_history"] if "train_runtime" not in line]
        budget = int(state["max_steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a trainer_state.json of Hugging Face: {error!r}") from error
    names = {key: name for line in log for key in line if (name := _name(key)) is not None}
    if not log:
        raise ValueError(f"{path} has logged nothing: its log_history is empty")
    table = pd.DataFrame({name: float_column([line.get(key) for line in log]) for key, name in names.items()})
    return table.assign(run_id=str(path), budget=budget)


def _name(key: str) -> str | None:
    """Name of the schema, None for what is not about the training."""
    if key.startswith("eval_"):
        return None if key.endswith(_SPEEDS) else f"val/{key.removeprefix('eval_')}"
    return _NAMES.get(key)
