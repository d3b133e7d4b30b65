"""Schaipp et al., ICML 2025: 235 language-model trainings; runs.csv with curves.csv.gz beside it.

Runs that were resumed wrote some steps again, with slightly different losses; the last line written counts. Cooldowns
that started from a checkpoint of a constant run have no evaluations before it. `final_val_loss` is the authors' larger
evaluation after the last step, which their curves do not contain: a run that has it finished. Four runs have none; like
all, they were evaluated every 200 steps up to at most 200 before the end, so they count as finished too.

Source: github.com/fabian-sp/lr-scheduling, trained with epfml/schedules-and-scaling.
"""

import warnings
from pathlib import Path

import pandas as pd

from lrbench.results.schema import float_column

_METRICS = {"val_loss": "val/loss", "val_acc": "val/accuracy", "train_loss": "train/loss", "lr": "lr"}


def parse(path: Path) -> pd.DataFrame:
    """Read the whole collection.

    Args:
        path: its directory, or runs.csv in it.

    Raises:
        ValueError: a file is absent, or a curve belongs to no run.
    """
    folder = path if path.is_dir() else path.parent
    for name in ("runs.csv", "curves.csv.gz"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} must hold runs.csv and curves.csv.gz; there is no {name}")
    runs = pd.read_csv(folder / "runs.csv").set_index("run_id")
    lines = pd.read_csv(folder / "curves.csv.gz")
    strangers = sorted(set(lines["run_id"]) - set(runs.index))
    if strangers:
        raise ValueError(f"{folder}: curves.csv.gz has runs that runs.csv does not describe, e.g. {strangers[0]!r}")
    # No run logged a NaN here: an empty cell is a metric that this line did not repeat, which `last` passes over.
    curves = lines.groupby(["run_id", "iter"], sort=True).last().reset_index()
    warnings.warn(
        f"{folder.name}: {len(lines) - len(curves)} lines repeat a step of their run; the last written counts",
        stacklevel=2,
    )
    about = runs.loc[curves["run_id"]].reset_index(drop=True)
    model = about["parameters"].map(lambda number: f"llama-{number / 1e6:.0f}M")
    # Both GPUs together take batch_size * acc_steps sequences a step (epfml/schedules-and-scaling, distributed/ddp.py).
    batch_size = about["batch_size"] * about["acc_steps"]
    # The authors' side experiments repeat points of the main one: apart, so that no point counts twice.
    side = about["group"].map(lambda group: "" if group == "main" else f"-{group}")
    parts = zip(about["dataset"], model, about["opt"], batch_size, about["iterations"], side, strict=True)
    return pd.DataFrame(
        {
            "run_id": curves["run_id"],
            "workload": [
                f"{data}-{size}-{opt}-b{batch}-{steps}steps{group}" for data, size, opt, batch, steps, group in parts
            ],
            "scheduler": about["schedule_label"],
            "model": model,
            "dataset": about["dataset"],
            "optimizer": about["opt"],
            "seed": about["seed"].astype("Int64"),
            "budget": about["iterations"].astype("Int64"),
            "batch_size": batch_size.astype("Int64"),
            "status": about["final_val_loss"].notna().map({True: "FINISHED", False: pd.NA}),
            "step": curves["iter"].astype("Int64"),
            **{ours: _empty_is_missing(curves[theirs]) for theirs, ours in _METRICS.items()},
            "optimizer.lr": about["peak_lr"],
            "optimizer.weight_decay": about["weight_decay"],
            "warmup.steps": about["warmup_steps"].astype("Int64"),
            "experiment": about["group"],
            "final_val_loss": _empty_is_missing(about["final_val_loss"]),
        }
    )


def _empty_is_missing(column: pd.Series) -> pd.arrays.FloatingArray:
    return float_column(None if pd.isna(value) else value for value in column)
