"""Hugging Face Trainer: trainer_state.json, or the folder it lies in, such as `checkpoint-500`.

`eval_loss` becomes `val/loss`, any other `eval_NAME` `val/NAME`; `loss` is `train/loss`, the mean since the previous
log. `max_steps` is the budget. The logged rate is that of the update to come, one step late. The trainer replaces
losses that are not finite by averages in its log (`logging_nan_inf_filter`), so only `eval_loss` shows divergence.
An `evaluate()` after the training repeats the last step, perhaps with the weights of the best checkpoint: what the
training itself measured there counts.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench.results.schema import float_column

_NAMES = {"loss": "train/loss", "learning_rate": "lr", "step": "step"}
_SPEEDS = ("_runtime", "_samples_per_second", "_steps_per_second")


def parse(path: Path) -> pd.DataFrame:
    """Read one trainer_state.json.

    Raises:
        ValueError: it is not one, or the folder has none.
    """
    if path.is_dir():
        path = path / "trainer_state.json"
        if not path.is_file():
            known = sorted(str(file.parent) for file in path.parent.glob("*/trainer_state.json"))
            raise ValueError(
                f"{path.parent} has no trainer_state.json; below it have one: {', '.join(known) or 'none'}"
            )
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        log = _of_the_training(state["log_history"])
        budget = int(state["max_steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a trainer_state.json of Hugging Face: {error!r}") from error
    names = {key: name for line in log for key in line if (name := _name(key)) is not None}
    if not log:
        raise ValueError(f"{path} has logged nothing: its log_history is empty")
    table = pd.DataFrame({name: float_column([line.get(key) for line in log]) for key, name in names.items()})
    return table.assign(run_id=str(path), budget=budget)


def _of_the_training(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the summary, and what was measured after it that the training had measured at the same step."""
    ends = [i for i, line in enumerate(lines) if "train_runtime" in line]
    training = lines[: ends[-1]] if ends else lines
    known = {(line["step"], key) for line in training for key in line}
    after = lines[ends[-1] + 1 :] if ends else []
    return [line for line in training if "train_runtime" not in line] + [
        {key: value for key, value in line.items() if key == "step" or (line["step"], key) not in known}
        for line in after
    ]


def _name(key: str) -> str | None:
    """Name of the schema, None for what is not about the training."""
    for prefix, split in (("eval_", "val"), ("test_", "test")):
        if key.startswith(prefix):
            return None if key.endswith(_SPEEDS) else f"{split}/{key.removeprefix(prefix)}"
    return _NAMES.get(key)
